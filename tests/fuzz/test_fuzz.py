"""The fuzzers of what reads a bundle: they find what is planted, and nothing else. Exhaustive.

``make fuzz`` runs them for longer, with those of the kernels (tests/native).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "native"))

import building  # type: ignore[import-not-found]
import fuzz_seeds  # type: ignore[import-not-found]
import fuzzing  # type: ignore[import-not-found]

SECONDS = 60
"""Of all fuzzers together, shared out as by ``make fuzz``; the kernels' are in tests/native."""

TARGETS = [target for target in fuzzing.TARGETS if target != "kernels"]

KINDS = ("plain", "signals", "tiled", "memory")
"""Of fuzz_seeds.write_bundles."""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fuzzers."""
    return Path(building.built("Fuzz", tmp_path_factory.mktemp("probes")))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What they begin with."""
    folder = tmp_path_factory.mktemp("fuzz") / "seeds"
    fuzz_seeds.write(folder)
    return folder


def called(command: list[str], seeds: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGEAD_SEEDS": str(seeds)}
    return subprocess.run(
        command, env=environment, cwd=seeds, capture_output=True, text=True, errors="replace"
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_finds_nothing(build: Path, seeds: Path, target: str) -> None:
    seconds = fuzzing.share_of(target, SECONDS, TARGETS)
    limit = f"-max_total_time={seconds}"
    done = called(fuzzing.command(target, build, seeds, limit, "-seed=1"), seeds)
    assert done.returncode == 0, done.stderr[-4000:]
    (runs,) = re.findall(r"Done (\d+) runs", done.stderr)
    assert int(runs) > len(list((seeds / target).iterdir()))  # it has changed some of them


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_the_bundles_that_are_changed_are_served(build: Path, seeds: Path, kind: str) -> None:
    at = KINDS.index(kind)
    done = called([str(fuzzing.program("bundle", build)), f"bundle/{at}-0"], seeds)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"whole: {at} served" in done.stderr  # or nothing behind its opening was ever run


PLANTED = {
    "read past a file": ("heap-buffer-overflow", "ERROR: AddressSanitizer"),
    "leak": ("LeakSanitizer", "100 byte"),
    "defect": ("deadly signal", "terminate"),
    "sentence": ("DEFECT: a refusal without a sentence", ""),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_is_found(build: Path, seeds: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "input").write_text(kind)
    done = called([str(fuzzing.program("planted", build)), str(tmp_path / "input")], seeds)
    assert done.returncode != 0
    assert all(words in done.stderr for words in PLANTED[kind]), done.stderr[-4000:]


@pytest.mark.exhaustive
def test_memory_that_is_not_there_is_no_defect(build: Path, seeds: Path, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("much")
    done = called([str(fuzzing.program("planted", build)), str(tmp_path / "input")], seeds)
    assert done.returncode == 0, done.stderr[-4000:]
