"""The plan cache with other processes at work on it: who waits, and what is not a damage."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgead.errors import CancelledError, DeviceError
from edgead.nvidia.plans.cache import PlanCache

KEY = "0" * 32


@pytest.fixture
def plans(cache_directory: Path) -> PlanCache:
    return PlanCache()


def test_the_lock_is_held_by_one_and_its_file_goes(plans: PlanCache) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with plans.building(KEY, waiting=waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with plans.building(KEY):
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert list(plans.directory.iterdir()) == []


def test_waiting_for_a_lock_can_be_stopped(plans: PlanCache) -> None:
    with (
        plans.building(KEY),
        pytest.raises(CancelledError, match="another process"),
        plans.building(KEY, cancelled=lambda: True),
    ):
        pass


def meanwhile(monkeypatch: pytest.MonkeyPatch, change: Callable[[PlanCache], object]) -> None:
    """Let another process do ``change`` between the first look at a plan and its reading."""
    find, once = PlanCache.find, [change]

    def find_then(self: PlanCache, key: str):
        entry = find(self, key)
        if once:
            once.pop()(self)
        return entry

    monkeypatch.setattr(PlanCache, "find", find_then)


def test_a_plan_that_is_replaced_while_it_is_read_was_not_altered(plans, monkeypatch) -> None:
    plans.store(KEY, b"plan", {"version": "1"})

    def replace(others: PlanCache) -> None:
        with others.building(KEY):
            others.store(KEY, b"another", {"version": "2"})

    meanwhile(monkeypatch, replace)
    entry, data = plans.get(KEY)
    assert (data, entry.about) == (b"another", {"version": "2"})


def test_a_plan_that_is_pruned_while_it_is_read_is_not_there(plans, monkeypatch) -> None:
    plans.store(KEY, b"plan", {})
    meanwhile(monkeypatch, lambda others: others.prune(most_plans=0))
    assert plans.get(KEY) is None


def test_a_plan_that_was_altered_is_so_at_the_second_look_too(plans, monkeypatch) -> None:
    plans.store(KEY, b"plan", {}).path.write_bytes(b"plaN")
    with pytest.raises(DeviceError, match="truncated or altered"):
        plans.get(KEY)

    def unwritable(self: PlanCache, key: str, **others: object):
        raise DeviceError("read-only file system")

    monkeypatch.setattr(PlanCache, "building", unwritable)
    with pytest.raises(DeviceError, match="truncated or altered"):
        plans.get(KEY)


def test_who_builds_the_plan_is_waited_for_before_the_second_look(plans) -> None:
    plans.store(KEY, b"plan", {}).path.write_bytes(b"half of ano")
    waiting, found = threading.Event(), []
    thread = threading.Thread(
        target=lambda: found.append(plans.get(KEY, waiting=waiting.set)), daemon=True
    )
    with plans.building(KEY):
        thread.start()
        assert waiting.wait(30)
        plans.store(KEY, b"another", {})
    thread.join(30)
    assert found[0][1] == b"another"


def test_the_lock_of_a_killed_process_is_free(plans: PlanCache) -> None:
    code = (
        "import os, signal\nfrom edgead.nvidia.plans.cache import PlanCache\n"
        f"with PlanCache().building({KEY!r}):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (plans.directory / f"{KEY}.lock").exists()
    with plans.building(KEY):
        pass
    assert list(plans.directory.iterdir()) == []
