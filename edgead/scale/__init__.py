"""Beyond one process and one machine: Triton, Ray, data sets of any size."""
