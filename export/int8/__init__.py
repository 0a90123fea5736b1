"""Export in int8: the graph, the images that its ranges come from, the judgement of its loss."""
