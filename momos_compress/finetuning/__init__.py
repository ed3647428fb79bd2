"""Training under the constraint, and the paper's scheme."""
