"""Compiled inner loops of the fit on the CPU; they give what the torch code beside them gives, sooner."""
