"""Indices of motifs as bytes: packed in bits or in words, or entropy-coded."""
