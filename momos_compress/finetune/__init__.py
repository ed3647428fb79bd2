"""Training a network that stays a mosaic of motifs: the mosaic is fixed, and motifs, scales, norms and biases learn."""
