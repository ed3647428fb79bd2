"""Blocks, motifs, scales of rows, and the mosaic they form."""
