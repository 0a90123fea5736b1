"""The scripts of benchmarks/ as modules, and a data set that is trained on in a second."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = ("size=[64,64]", "width=0.0625", "batch_size=2")
QUICK = ("--methods", "arnet", "--datasets", "discs", "--steps", "3", "--rows", "trained")


@pytest.fixture(scope="session")
def script():
    """``script(name)`` -> the module benchmarks/NAME.py."""

    def load(name: str) -> ModuleType:
        if str(BENCHMARKS) not in sys.path:
            sys.path.insert(0, str(BENCHMARKS))
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA/discs in the MVTec layout: 10 to learn from, 3 good, 3 with a stain and its mask."""
    root, rng = tmp_path_factory.mktemp("DATA"), np.random.default_rng(0)
    for folder, count in (("train/good", 10), ("test/good", 3), ("test/stain", 3)):
        for number in range(count):
            image = np.full((64, 64, 3), 90, np.uint8)
            cv2.circle(image, (32, 32), 16, (60, 120, int(rng.integers(150, 220))), -1)
            image += rng.integers(0, 20, image.shape, dtype=np.uint8)
            if folder == "test/stain":
                image[20:28, 20:30] = 255
                mask = np.zeros((64, 64), np.uint8)
                mask[20:28, 20:30] = 255
                _write(root / f"discs/ground_truth/stain/{number}_mask.png", mask)
            _write(root / "discs" / folder / f"{number}.png", image)
    return root


@pytest.fixture
def methods(script, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path):
    """``methods(words…)``: the command methods.py on ``data``, small; returns the exit code."""
    module = script("methods")
    for name, value in (("REPEATS", 2), ("TURNS", 2), ("SIDE", 64)):  # the times are not looked at
        monkeypatch.setattr(script("runs"), name, value)

    def run(*words: object, defaults: bool = True) -> int:
        small = [w for s in SMALL for w in ("--set", f"arnet:{s}")]
        given = [*QUICK, *small] if defaults else []
        places = ["--results", tmp_path / "m.json", "--work", tmp_path / "work"]
        line = ["methods.py", data, *given, *places, *words]
        monkeypatch.setattr("sys.argv", list(map(str, line)))
        return int(script("edgead.cli.main").guard(module.main))

    return run


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
