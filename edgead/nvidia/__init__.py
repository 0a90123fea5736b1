"""The NVIDIA path: TensorRT plans built, kept and run. Imports neither TensorRT nor PyCUDA."""
