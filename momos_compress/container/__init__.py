"""The compressed file: its recipe and stored tensors, written, read and inspected."""
