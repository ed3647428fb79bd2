"""Charts and how they become SVG and PNG."""
