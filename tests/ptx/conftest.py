"""Compiles the kernels once, for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import compiled_kernels


@pytest.fixture(scope="session")
def compiled(once: Callable[..., Path]) -> Path:
    """The folder with the library and the PTX; skips where there is no nvcc."""
    compiled_kernels.nvcc()
    return once("ptx", compiled_kernels.build)


@pytest.fixture(scope="session")
def device(compiled: Path) -> compiled_kernels.Device:
    """The kernels as they are."""
    return compiled_kernels.Device.of(compiled)
