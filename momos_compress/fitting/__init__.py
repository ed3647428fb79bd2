"""Motifs for blocks, and the nearest motif of each."""
