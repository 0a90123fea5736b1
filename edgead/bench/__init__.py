"""``edgead-bench``: how long bundles take on this machine, and whether to believe the numbers.

``closed_loop``, ``open_loop`` and ``cold_start`` measure ``subjects``, in Python and ``native``;
``samples`` has the percentiles and the bootstrap; ``monitor`` watches the machine meanwhile;
``trust`` says what speaks against a number; ``results`` and ``page`` write it down; ``compare``
reads it again.
"""
