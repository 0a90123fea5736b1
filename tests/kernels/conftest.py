"""Frames and features made up for the kernels, and the tolerance that their answers get."""

from __future__ import annotations

import numpy as np
import pytest

from edgead import _cpu


@pytest.fixture(params=_cpu.simd_paths())
def simd(request):
    """Every instruction set of this machine: each is compiled code of its own."""
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20240)


@pytest.fixture
def make_frame(rng):
    """Random frames [height, width(, channels)]; black, white and single pixels happen too."""

    def make(height, width, channels=3, dtype=np.uint8, fill="noise"):
        top = np.iinfo(dtype).max
        shape = (height, width) if channels == 0 else (height, width, channels)
        if fill == "white":
            return np.full(shape, top, dtype)
        return rng.integers(0, top, shape, dtype, endpoint=True)

    return make


@pytest.fixture
def make_pairs(rng):
    """Random features for each (channels, height, width); restored is the reference plus noise."""

    def make(shapes, batch=1, noise=0.5):
        pairs = []
        for shape in shapes:
            a = rng.standard_normal((batch, *shape)).astype(np.float32)
            b = a + noise * rng.standard_normal((batch, *shape)).astype(np.float32)
            pairs.append((a, b.astype(np.float32)))
        return pairs

    return make
