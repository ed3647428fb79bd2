"""The main job, from a checkpoint to a compact file and a report of it."""
