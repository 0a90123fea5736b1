"""What `make bench` runs, with a python that only says how it was called; what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"
KERNELS = "benchmarks/kernels.py --json benchmarks/results/kernels.json"
OVERHEAD = "benchmarks/overhead.py demo/cell.edgead --json benchmarks/results/overhead.json"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder in which make believes that everything is installed."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("pyproject.toml", "setup.py", "constraints.txt"):
        (tmp_path / name).touch()
    for name in ("csrc", "tests", "benchmarks", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text('#!/bin/sh\necho "called $*"\n')
    python.chmod(0o755)
    for stamp in (".made", ".installed"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


@pytest.fixture
def bench(installed: Path):
    """``bench()`` -> the calls that `make bench` makes, and what else it says."""

    def run() -> tuple[list[str], str]:
        command = ["make", "-f", str(MAKEFILE), "bench", "ARGS=--wrong"]
        done = subprocess.run(command, cwd=installed, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        return [line[7:] for line in lines if line.startswith("called ")], done.stdout

    return run


def test_bench_without_the_demo_times_the_kernels_and_says_what_is_missing(bench) -> None:
    calls, text = bench()
    assert calls == [KERNELS]
    assert "make demo first" in text


def test_bench_after_the_demo_times_both(bench, tmp_path: Path) -> None:
    (tmp_path / "demo" / "cell.edgead").mkdir(parents=True)
    calls, text = bench()
    assert calls == [KERNELS, OVERHEAD]
    assert "make demo first" not in text


@pytest.mark.parametrize(
    ("target", "packages"),
    [("test-aarch64", "g++-aarch64-linux-gnu"), ("fuzz", "clang libclang-rt-dev")],
)
def test_a_target_says_which_packages_it_misses(
    installed: Path, target: str, packages: str
) -> None:
    command = [str(shutil.which("make")), "-f", str(MAKEFILE), target]
    nowhere = {"PATH": str(installed / "nothing")}
    done = subprocess.run(command, cwd=installed, env=nowhere, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"apt-get install {packages}" in done.stderr
