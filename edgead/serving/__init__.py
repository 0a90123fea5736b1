"""From a bundle to an engine that may serve: choice, opening, qualification, warm start."""
