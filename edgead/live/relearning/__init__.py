"""Learn from reviewed frames: choose, learn, compare, swap the bundle, and go back."""
