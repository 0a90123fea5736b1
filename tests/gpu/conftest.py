"""A real CUDA device for the tests of this folder; without one they are skipped with the reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from on_device import OnDevice, open_device

from edgead.errors import DeviceError


@pytest.fixture(scope="session")
def device() -> Iterator[OnDevice]:
    """cuda:0, its kernels and a stream."""
    try:
        opened = open_device()
    except DeviceError as error:
        pytest.skip(f"no device to run on: {error}")
    with opened.memory.current():
        yield opened
