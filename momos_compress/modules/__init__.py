"""Layers whose weights are motifs[mosaic] times scales."""
