"""Learning from images of good parts: data, backbone, the methods, the fit and the metrics."""
