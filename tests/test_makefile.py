"""What targets and .ci/run call, with programs that only say how they were called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = ROOT / "Makefile"
PYTEST = "-m pytest -n logical --maxprocesses 8 --dist loadfile"
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
def called(installed: Path):
    """``called(target, arguments)`` -> the calls of Python, and all that make prints."""

    def run(target: str, arguments: str = "") -> tuple[list[str], str]:
        command = ["make", "-f", str(MAKEFILE), target, f"ARGS={arguments}"]
        # Without what a `make test` around this one would hand down.
        clean = {
            name: v for name, v in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
        }
        done = subprocess.run(command, cwd=installed, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        return [line[7:] for line in lines if line.startswith("called ")], done.stdout

    return run


@pytest.mark.parametrize(
    ("target", "call"),
    [
        ("test", f"{PYTEST} -k some"),
        ("test-all", f"{PYTEST} -m exhaustive -k some"),
        ("house", "tests/house.py"),
    ],
)
def test_a_target_calls_python_once_and_says_nothing_else(called, target: str, call: str) -> None:
    assert called(target, "-k some") == ([call], f"called {call}\n")


def test_ci_installs_what_tests_need_and_runs_each_of_them_once(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, says in (("id", "0"), ("apt-get", "apt-get $*"), ("make", "$* $EDGEAD_MAY_SKIP")):
        (programs / name).write_text(f'#!/bin/sh\necho "{says}"\n')
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=True
    )
    _, installation, *targets = done.stdout.splitlines()
    assert {"chromium", "clang", "g++-aarch64-linux-gnu", "qemu-user-static"} <= {
        *installation.split()
    }
    names, reasons = zip(*(line.split(" ", 1) for line in targets), strict=True)
    assert names == ("lint", "test", "test-all", "test-scale", "test-aarch64")
    assert len(set(reasons)) == 1
    assert re.search(reasons[0], "Skipped: root may write everywhere")
    assert not re.search(reasons[0], "Skipped: no chromium on this machine")


def test_bench_without_the_demo_times_the_kernels_and_says_what_is_missing(called) -> None:
    calls, text = called("bench", "--wrong")
    assert calls == [KERNELS]
    assert "make demo first" in text


def test_bench_after_the_demo_times_both(called, tmp_path: Path) -> None:
    (tmp_path / "demo" / "cell.edgead").mkdir(parents=True)
    calls, text = called("bench", "--wrong")
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
