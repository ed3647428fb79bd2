"""A network with its weights: loaded, run, evaluated, exported."""
