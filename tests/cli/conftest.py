"""Images for the commands: good ones, a scratched one, broken ones, each in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, np.ndarray], Path]:
    """``save(name, frame)`` writes an image below tmp_path and gives its path."""

    def write(name: str, frame: np.ndarray) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), frame)
        return path

    return write


@pytest.fixture
def good(save, make_frame) -> Path:
    """A frame like those of the calibration set."""
    return save("good.png", make_frame(100))


@pytest.fixture
def scratched(save, make_frame) -> Path:
    """The same with black and white rows from 20 to 31 in columns 15 to 64.

    The random graph of the tiny bundle feels vertical change; a plain white patch it does not see.
    """
    frame = make_frame(100).copy()
    frame[20:32:2, 15:65], frame[21:32:2, 15:65] = 255, 0
    return save("scratched.png", frame)


@pytest.fixture
def truncated(good, tmp_path) -> Path:
    """The first half of a PNG file."""
    path = tmp_path / "truncated.png"
    data = good.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.fixture
def run_json(run) -> Callable[..., tuple[int, dict]]:
    """``run_json(*words)`` -> (exit code, the one JSON object that is all of stdout)."""

    def call(*words: object) -> tuple[int, dict]:
        code, out, _ = run(*words, "--json")
        return code, json.loads(out)

    return call
