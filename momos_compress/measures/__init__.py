"""Measures of how complex weights are, by a table of them, and of the topology of what is not zero."""
