"""Reports on studies: a self-contained page, figures and CSV."""
