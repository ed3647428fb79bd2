"""The main job: measure, fit, write, verify, report."""
