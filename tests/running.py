"""How tests run: in several processes, which share what is built, and with skips that are named."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

# Before torch is imported, here and in processes that tests start: what tests compute is so small
# that more threads only wait for each other, and sums come in the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def once(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """``once(name, make)``: a folder that ``make(folder)`` fills, once for all of xdist's workers.

    The worker that comes second waits, and makes it again where the first one failed.
    """
    base = tmp_path_factory.getbasetemp()
    root = base.parent if hasattr(pytestconfig, "workerinput") else base  # a worker has its own

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        path, made = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                path.mkdir(exist_ok=True)
                make(path)
                made.touch()
        return path

    return folder


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collections that tests ask for need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run with a skip for whose reason ``EDGEAD_MAY_SKIP``, set in .ci/run, has no words."""
    named = os.environ.get("EDGEAD_MAY_SKIP")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if named is None or reporter is None:  # no terminal: a worker, whose skips reach the other one
        return
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())]
    others = [reason for reason in reasons if not re.search(named, reason)]
    if others:
        reporter.write_line(
            f"\n{len(others)} tests were skipped, expected only those with {named!r} in their "
            f"reason. Install what the others need: {sorted(set(others))}"
        )
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
