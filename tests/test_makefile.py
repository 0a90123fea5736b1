"""`make bench`: what it runs, with a python that only says how it was called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"
KERNELS = "benchmarks/kernels.py --json benchmarks/results/kernels.json"
OVERHEAD = "benchmarks/overhead.py demo/cell.edgead --json benchmarks/results/overhead.json"


@pytest.fixture
def bench(tmp_path: Path):
    """``bench()`` -> the calls that `make bench` makes in tmp_path, and what else it says."""
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

    def run() -> tuple[list[str], str]:
        command = ["make", "-f", str(MAKEFILE), "bench", "ARGS=--wrong"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
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
