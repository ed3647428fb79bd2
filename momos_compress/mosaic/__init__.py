"""Blocks, motifs, scales of rows and columns, and the mosaic they form."""
