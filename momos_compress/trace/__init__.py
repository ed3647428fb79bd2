"""Traces: how complexity follows the loss along training."""
