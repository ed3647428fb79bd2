"""Indices of motifs as bytes: bit-packed, or entropy-coded."""
