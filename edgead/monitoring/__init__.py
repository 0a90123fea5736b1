"""Camera health and drift of the scores, apart from the anomaly score; percentiles of latencies."""
