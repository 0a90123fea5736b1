"""From a trained method to a bundle: graph, ONNX, FP16, comparison, golden frames."""
