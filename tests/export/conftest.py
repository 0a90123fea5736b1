"""Makes ``export_toy`` importable: tests are collected without touching sys.path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("torch", reason="export needs the extra edgead[train]")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small graphs on shared cores: torch's threads would mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
