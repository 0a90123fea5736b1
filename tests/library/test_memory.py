"""Scoring takes no memory after opening, and nothing is read or written beside what is given."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.images import encode_png

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["bundle_dir", "with_signals", "tiled"])
def test_scoring_allocates_nothing(compiled: Any, kind: str, request: Any) -> None:
    bundle = request.getfixturevalue(kind)
    program = compiled("allocations.cpp", "-rdynamic", "-std=c++17", "-Wno-mismatched-new-delete")
    done = subprocess.run([program, bundle], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opening, *formats = done.stdout.splitlines()
    assert int(opening) > 100  # or it does not see them
    assert len(formats) == 11
    preparing, scoring, regions = zip(*(map(int, line.split()) for line in formats), strict=True)
    assert min(preparing) >= 3  # likewise
    assert kind != "bundle_dir" or min(regions) > 0
    assert scoring == (0,) * 11


def test_only_what_the_header_declares_is_exported(installed: Path) -> None:
    nm = shutil.which("nm")
    assert nm is not None  # of binutils, as strip is
    command = [nm, "-D", "--defined-only", installed / "lib" / "libedgead.so"]
    listed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    names = {line.split()[2].split("@")[0] for line in listed.stdout.splitlines()} - {"EDGEAD_1"}
    header = (ROOT / "csrc/include/edgead.h").read_text()
    assert names and all(f"{name}(" in header for name in names)
    declared = {word.split("(")[0] for word in header.split() if word.startswith("edgead_")}
    assert {n for n in declared if f"{n}(" in header and n in names} == names


@pytest.mark.exhaustive
def test_no_access_beside_the_memory_that_is_given(
    build: Any, bundle_dir: Path, with_signals: Path, tiled: Path, tmp_path: Path, make_frame: Any
) -> None:
    # No vptr: the objects of OpenVINO were made without.
    flags = (
        "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=vptr "
        "-fno-sanitize-recover=all"
    )
    options = (f"-DCMAKE_CXX_FLAGS={flags}", f"-DCMAKE_C_FLAGS={flags}")
    program = build(ROOT / "build" / "c-asan", "Asan", *options) / "edgead-score"
    # Leaks are not told from what OpenVINO keeps; its TBB asks to be told of sanitizers.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "TBB_ENABLE_SANITIZERS": "1"}

    def run(bundle: Path, *images: Path) -> subprocess.CompletedProcess[str]:
        command = [program, bundle, *images, "--json", "--threads", "1"]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment
        )
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done

    rng, images = np.random.default_rng(5), []
    for i, shape in enumerate([(1, 1, 3), (17, 31), (90, 61, 3), (64, 48)]):
        kind = np.uint16 if i == 2 else np.uint8
        images.append(tmp_path / f"{i}.png")
        images[-1].write_bytes(encode_png(make_frame(i, shape, kind)))
    assert run(bundle_dir, *images).returncode == 0
    assert run(with_signals, *images).returncode == 0
    assert run(tiled, images[2]).returncode == 0
    whole, damaged = images[2].read_bytes(), []
    for i in range(60):
        data = bytearray(whole[: int(rng.integers(1, len(whole)))] if i % 2 else whole)
        data[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
        damaged.append(tmp_path / f"damaged{i}.png")
        damaged[-1].write_bytes(data)
    assert run(bundle_dir, *damaged).returncode in (0, 1)
    manifest = (with_signals / "manifest.json").read_bytes()
    broken = tmp_path / "broken.edgead"
    shutil.copytree(with_signals, broken)
    for _ in range(60):
        data = bytearray(manifest)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
        (broken / "manifest.json").write_bytes(data)
        assert run(broken, images[0]).returncode in (0, 1, 2)
