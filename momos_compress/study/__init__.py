"""Studies: many models measured, a process and a small file for each."""
