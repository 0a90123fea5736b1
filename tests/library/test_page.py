"""docs/c.md: its program is compiled with its commands, and says of frames what Python says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import Detector
from edgead.images import encode_png

PAGE = (Path(__file__).resolve().parents[2] / "docs/c.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```", PAGE)


@pytest.fixture
def place(installed: Path, bundle_dir: Path, tmp_path: Path) -> Path:
    """A folder with what the page speaks of."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "c").symlink_to(installed)
    (tmp_path / "part.edgead").symlink_to(bundle_dir)
    (tmp_path / "verdict.c").write_text(blocks("c")[0])
    (tmp_path / "verdict.cpp").write_text(blocks("cpp")[0])
    return tmp_path


@pytest.mark.parametrize("compiler", ["cc", "c++"])
def test_the_program_says_what_python_says(place: Path, make_frame: Any, compiler: str) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    frames = [make_frame(seed, (480, 640)) for seed in range(2)]
    frames[1][100:200, 100:300] = 255
    (place / "frame.raw").write_bytes(b"".join(frame.tobytes() for frame in frames))
    commands = next(block for block in blocks("sh") if block.startswith(f"{compiler} "))
    done = subprocess.run(
        ["sh", "-ec", commands], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Detector(place / "part.edgead", device="cpu") as detector:
        results = [detector.score(frame) for frame in frames]
    expected = [
        f"{'anomalous' if r.is_anomalous else 'good'}, score {r.score:g}, p-value {r.p_value:g}"
        for r in results
    ]
    assert [line.rsplit(", ", 1)[0] for line in done.stdout.splitlines()] == expected


def test_the_command_for_images_runs(place: Path) -> None:
    (place / "part.png").write_bytes(encode_png(np.full((50, 60, 3), 90, np.uint8)))
    command = next(block for block in blocks("sh") if "edgead-score" in block)
    done = subprocess.run(["sh", "-ec", command], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0 and '"frames"' in done.stdout, done.stderr


def test_cmake_finds_the_package(build: Any, place: Path, installed: Path) -> None:
    lines = [
        "cmake_minimum_required(VERSION 3.24)",
        "project(verdict LANGUAGES C)",
        "add_executable(verdict verdict.c)",
    ]
    find, link = blocks("cmake")[0].splitlines()
    text = "\n".join([*lines[:2], find, lines[2], link])
    (place / "CMakeLists.txt").write_text(text + "\n")
    cmake = shutil.which("cmake") or str(Path(sys.executable).parent / "cmake")
    for command in (
        [cmake, "-S", ".", "-B", "made", f"-DCMAKE_PREFIX_PATH={installed}"],
        [cmake, "--build", "made"],
    ):
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "made" / "verdict").is_file()
