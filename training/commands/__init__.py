"""The commands that belong to training and evaluation."""
