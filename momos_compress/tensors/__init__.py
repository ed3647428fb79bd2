"""Named tensors in files, read and written one at a time."""
