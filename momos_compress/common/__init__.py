"""Small things that any room may use: units, stages of a run, files written whole, JSON and CSV fields."""
