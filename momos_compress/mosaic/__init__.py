"""The mathematics of the form: blocks, motifs, scales of rows."""
