"""Runs PTX, as nvcc makes it of edgead's kernels, with NumPy: an operation on all threads at once.

``text`` reads PTX, ``machine`` runs the threads of many blocks side by side, ``opcodes`` has the
arithmetic, ``memory`` checks bounds, alignment and what was never written, ``races`` finds threads
that touch one place without a barrier between. What it does not know is an error that names it.
"""
