"""What a run will do and take, decided before any weight is read."""
