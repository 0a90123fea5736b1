"""TensorRT plans: built, inspected, kept in the cache of the user."""
