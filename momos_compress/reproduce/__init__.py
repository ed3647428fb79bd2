"""Studies of a paper from one command: their runs, tables and figures."""
