"""Features of the backbone: scales, comparison, whitening, memory, shared networks."""
