"""The simulated GPU, built once, and a bundle with a float16 graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "cuda_on_cpu"))
sys.path.insert(0, str(Path(__file__).parents[2] / "nvidia"))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from graphs import halved  # type: ignore[import-not-found]
from harness import Build, Program  # type: ignore[import-not-found]
from simulated_gpu import Builder, Machine  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def simulated(once: Callable[..., Path], installed: Path) -> Builder:
    """The simulation's builder, whose objects are there."""
    import openvino

    build = Build("g++", "plain")
    cuda = once(f"cuda_on_cpu-{build}", lambda folder: Program(build, folder).compile())
    openvino_folder = Path(openvino.__file__).parent

    def builder(folder: Path) -> Builder:
        return Builder(folder, installed, cuda, openvino_folder)

    def make(folder: Path) -> None:
        made = builder(folder)
        made.compile_all()
        made.link(folder / "libedgead_simulated.so")

    made = builder(once("libedgead_simulated", make))
    made.find()
    return made


@pytest.fixture(scope="session")
def gpu_library(simulated: Builder, library_class: Any) -> Any:
    """libedgead with the TensorRT engine, on the simulated GPU."""
    return library_class(simulated.folder / "libedgead_simulated.so")


@pytest.fixture
def machine(gpu_library: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """The simulated machine with an empty plan cache; at the end no rule of CUDA may be broken, and
    nothing may be left on it."""
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    found = Machine(gpu_library.c)
    found.reset()
    before = found.alive()
    yield found
    assert found.faults() == ""
    assert found.alive() == before


@pytest.fixture(scope="session")
def half(tiny: Any, make_frame: Callable[..., np.ndarray]) -> Any:
    """See ``halved``."""
    return halved(tiny, make_frame)


@pytest.fixture(scope="session")
def half_path(half: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``half`` on disk."""
    path = tmp_path_factory.mktemp("half") / "half.edgead"
    half.write(path)
    return path
