"""Inputs: images and texts, with labels or without, from folders, tars and data sets."""
