"""Motifs fitted to what a network's layers compute on calibration inputs, instead of to the weights alone."""
