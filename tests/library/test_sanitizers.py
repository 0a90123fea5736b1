"""libedgead under sanitizers: nothing beside the memory that is given, no race of nine threads.

OpenVINO is not instrumented. What its code does alone is no finding; each option below has its
reason.
"""

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
FLAGS = {
    # No vptr: the objects of OpenVINO were made without.
    "asan": "-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all",
    "tsan": "-fsanitize=thread",
}
ENVIRONMENT = {
    # OpenVINO's TBB asks to be told of sanitizers.
    "TBB_ENABLE_SANITIZERS": "1",
    # Leaks are not told from what OpenVINO keeps; tests/fuzz looks for them without it.
    "ASAN_OPTIONS": "detect_leaks=0",
    # What OpenVINO and TBB call (memcpy, free, ..) is left out, as how they take turns is not seen.
    # Accesses by libedgead and the program are all looked at.
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 exitcode=66",
}


@pytest.fixture(scope="module")
def checked(build: Any) -> Any:
    """``checked(kind)``: the folder of libedgead with the flags of a sanitizer."""

    def make(kind: str) -> Path:
        flags = f"-O1 -g1 -fno-omit-frame-pointer {FLAGS[kind]}"
        options = (f"-DCMAKE_CXX_FLAGS={flags}", f"-DCMAKE_C_FLAGS={flags}")
        return Path(build(ROOT / "build" / f"c-{kind}", kind.capitalize(), *options))

    return make


@pytest.fixture(scope="module")
def threads(checked: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``threads(kind, bundle, *words)``: threads.cpp on a bundle, under a sanitizer."""

    def run(kind: str, *words: object) -> subprocess.CompletedProcess[str]:
        folder = checked(kind)
        program = tmp_path_factory.mktemp("threads") / "threads"
        command = [
            *("c++", "-std=c++17", "-O1", "-g1", *FLAGS[kind].split()),
            *(Path(__file__).parent / "threads.cpp", "-o", program, f"-I{folder / 'include'}"),
            *(f"-L{folder / 'lib'}", "-ledgead", "-lpthread", f"-Wl,-rpath,{folder / 'lib'}"),
        ]
        subprocess.run(list(map(str, command)), check=True)
        environment = {**os.environ, **ENVIRONMENT}
        return subprocess.run(
            list(map(str, (program, *words))), capture_output=True, text=True, env=environment
        )

    return run


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", FLAGS)
@pytest.mark.parametrize("bundle", ["bundle_dir", "with_signals"])
def test_eight_threads_score_while_another_changes_what_it_may(
    threads: Any, request: Any, kind: str, bundle: str
) -> None:
    done = threads(kind, request.getfixturevalue(bundle))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-4000:]


@pytest.mark.exhaustive
def test_two_threads_that_share_a_heatmap_are_found(threads: Any, bundle_dir: Path) -> None:
    done = threads("tsan", bundle_dir, "shared")
    assert done.returncode != 0 and "ThreadSanitizer: data race" in done.stderr
    assert "edgead_session_heatmap" in done.stderr  # inside of libedgead


@pytest.mark.exhaustive
def test_no_access_beside_the_memory_that_is_given(
    checked: Any, bundle_dir: Path, with_signals: Path, tiled: Path, tmp_path: Path, make_frame: Any
) -> None:
    program = checked("asan") / "edgead-score"
    environment = {**os.environ, **ENVIRONMENT}

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
