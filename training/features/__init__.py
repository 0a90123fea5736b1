"""Features of the backbone: scales, comparison, shared networks."""
