"""What is kept of a verdict: its JSON, the evidence, the replay."""
