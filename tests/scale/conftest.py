"""Folders of images, and what starts servers; see ``make test-scale``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def bundle_named(tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``bundle_named(name, **changes)``: the tiny bundle at NAME.edgead."""

    def write(name: str, **changes: object) -> Path:
        path = tmp_path_factory.mktemp("named") / f"{name}.edgead"
        tiny.write(path, **changes)
        return path

    return write
