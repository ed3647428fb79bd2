"""Many runs for one goal: the best file of a size, and every combination side by side."""
