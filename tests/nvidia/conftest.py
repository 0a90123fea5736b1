"""The plan tests: a cache of their own, the real TensorRT-RTX where it is, tiny graphs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graphs import half_graph

from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import Bundle, open_bundle
from edgead.nvidia.plans.library import Library, find_library, installed


@pytest.fixture(autouse=True)
def cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where plans go in this test: never to the user's own cache."""
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "plans"


@pytest.fixture(scope="session")
def rtx() -> Library:
    """The real TensorRT-RTX, which builds without a GPU."""
    if not installed("rtx"):
        pytest.skip("TensorRT-RTX is not installed: it comes with the extra edgead[rtx]")
    return find_library("rtx")


@pytest.fixture(scope="session")
def plan_bundle(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with a float16 graph beside the float32 one; not to be changed."""
    path = tmp_path_factory.mktemp("plans") / "tiny.edgead"
    files = {**tiny.files, "model.fp16.onnx": half_graph(tiny.files["model.onnx"])}
    loose = Tolerance(1e-2, 1e-2)
    replace(tiny, files=files).write(
        path,
        models={"float32": "model.onnx", "float16": "model.fp16.onnx"},
        tolerance={**tiny.manifest.tolerance, "float16": loose},
    )
    return open_bundle(path)


@pytest.fixture
def plan_bundle_copy(plan_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    import shutil

    path = tmp_path / "copy.edgead"
    shutil.copytree(plan_bundle.path, path)
    return path
