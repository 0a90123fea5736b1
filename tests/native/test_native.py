"""The CPU kernels without Python: C++ tests, under sanitizers, with threads and under a fuzzer.

`make test` runs the build of the wheel; the sanitizers and the fuzzer are exhaustive.

What they claim is in ``main.cpp``; here they are built and run. ``planted.cpp`` has bugs that each
of the ways to look must find.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from building import built, run  # type: ignore[import-not-found]

Native = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """``native(kind, *arguments)`` runs the program of a build type."""
    folder = tmp_path_factory.mktemp("native")
    return lambda kind, *arguments: run(built(kind, folder) / "edgead_native", *arguments)


def assert_silent(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0 and not done.stderr, done.stderr[-4000:]


def test_all_cases_follow_float64(native: Native) -> None:
    assert_silent(native("Release", "all"))


@pytest.mark.exhaustive
def test_nothing_beside_the_arrays_is_touched(native: Native) -> None:
    assert_silent(native("Asan", "all"))


@pytest.mark.exhaustive
def test_threads_with_workspaces_of_their_own_share_a_plan(native: Native) -> None:
    assert_silent(native("Tsan", "threads"))


@pytest.mark.exhaustive
def test_the_fuzzer_finds_nothing(native: Native) -> None:
    done = native("Fuzz", "-runs=1500", "-seed=1", "-max_len=96", "-len_control=0")
    assert done.returncode == 0 and "Done 1500 runs" in done.stderr, done.stderr[-4000:]


TIGHT_BOUNDS = ["tight_stretch", "tight_length", "tight_radius", "wrong_code"]
WRONG_INDICES = [f"whiten_{what}" for what in ("mean", "region", "place", "panel")]
SHORT_OF_WHITEN = [f"whiten_{what}" for what in ("distance", "workspace", "index")]
WRONG = ["wrong_weight", "wrong_sample", "wrong_row", *TIGHT_BOUNDS, *WRONG_INDICES]
WRITTEN = ["map", "score", "image", "plan", "workspace", "distance", "guess", "index", "search"]
WRITTEN += SHORT_OF_WHITEN


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_result_is_found(native: Native, bug: str) -> None:
    done = native("Release", "planted", bug)
    assert done.returncode == 1 and "expected" in done.stderr


@pytest.mark.parametrize("bug", WRITTEN)
def test_a_write_beside_an_array_is_found_without_sanitizers(native: Native, bug: str) -> None:
    done = native("Release", "planted", bug)
    assert done.returncode == 1 and "memory beside" in done.stderr


SHORT_ARRAYS = ["feature", "frame", "map", "score", "image", "plan", "workspace", "scratch"]
SHORT_ARRAYS += ["query", "rows", "distance", "guess", "index", "search"]
SHORT_ARRAYS += ["whiten_feature", *SHORT_OF_WHITEN]


@pytest.mark.exhaustive
@pytest.mark.parametrize("bug", SHORT_ARRAYS)
def test_an_access_beside_an_array_is_found(native: Native, bug: str) -> None:
    done = native("Asan", "planted", bug)
    assert done.returncode != 0 and "ERROR: AddressSanitizer" in done.stderr


@pytest.mark.exhaustive
def test_a_workspace_of_two_threads_is_found(native: Native) -> None:
    done = native("Tsan", "planted", "shared_workspace")
    assert done.returncode != 0 and "ThreadSanitizer: data race" in done.stderr
