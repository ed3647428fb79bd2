"""The compressed file: its recipe, what is stored in it, how it is written, read and inspected."""
