"""What skips a run may have: those that ``EDGEAD_MAY_SKIP`` names, as .ci/run sets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest

def test_that_runs():
    pass

@pytest.mark.parametrize("reason", ["needs a GPU", "no such browser", "no such browser"])
def test_that_does_not(reason):
    pytest.skip(reason)
"""


@pytest.fixture
def run(tmp_path: Path):
    """``run(named)``: pytest with ``running.py`` on SKIPS; ``named`` may be skipped."""
    (tmp_path / "test_skips.py").write_text(SKIPS)

    def call(named: str | None, *words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # starts in half the time
        environment.pop("EDGEAD_MAY_SKIP", None)
        if named is not None:
            environment["EDGEAD_MAY_SKIP"] = named
        command = [sys.executable, "-m", "pytest", "-p", "running", "-p", "xdist", *words, "."]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return call


@pytest.mark.parametrize("words", [(), ("-n", "1")], ids=["one process", "a worker"])
def test_a_skip_that_is_not_named_fails_the_run_and_is_listed(run, words) -> None:
    done = run("a GPU|a camera", *words)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "2 tests were skipped, expected only those with 'a GPU|a camera'" in done.stdout
    assert "Install what the others need: ['Skipped: no such browser']" in done.stdout
    assert "1 passed, 3 skipped" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("named", ["a GPU|browser", None])
def test_a_run_whose_skips_are_named_passes_and_so_does_one_without_names(run, named) -> None:
    done = run(named)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped" in done.stdout.splitlines()[-1]
