"""Power goes at any step of an update: a bundle serves, and the same command ends the update."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgead.bundle.storage import open_bundle
from edgead.signing.ed25519 import new_key
from edgead.signing.sign import sign
from edgead.signing.trust import open_trusted, read_trusted_keys
from edgead.updating.slots import State, opened
from edgead.updating.sources import FolderSource
from edgead.updating.update import STEPS, Options, update

KILLING = Path(__file__).with_name("killing.py")


class Device:
    """Slots that are restored before each run; ``run`` updates them in a process of its own."""

    def __init__(self, first: Path, folder: Path, source: Path, keys: Path) -> None:
        self.first, self.slots = first, folder / "slots"
        self.config = {"slots": str(self.slots), "source": str(source), "keys": str(keys)}
        self.file = folder / "config.json"

    def restore(self) -> None:
        shutil.rmtree(self.slots, ignore_errors=True)
        shutil.copytree(self.first, self.slots, symlinks=True)

    def run(self, **more: Any) -> int:
        self.file.write_text(json.dumps({**self.config, **more}))
        command = [sys.executable, KILLING, self.file]
        return subprocess.run(command, capture_output=True).returncode

    def serves(self) -> str:
        """The name of the bundle, every file of which has its digest."""
        return open_bundle(self.slots / "current").manifest.name


@pytest.fixture
def device(first_slots: Path, tmp_path: Path, versions: dict[str, Path], keys: Path) -> Device:
    return Device(first_slots, tmp_path, versions["new"], keys)


@pytest.mark.parametrize("step", [step for step in STEPS if step != "shadow"])
def test_killed_at_a_step(device: Device, step: str, run: Any, keys: Path) -> None:
    device.restore()
    assert device.run(step=step) == -signal.SIGKILL
    served = "new" if step in ("health", "confirm", "done") else "old"
    assert device.serves() == served
    source, slots = device.config["source"], device.slots
    code, _, err = run("--from", source, "--slots", slots, "--trust", keys, "--device", "cpu")
    assert code == 0, err
    assert device.serves() == "new"
    state = json.loads((slots / "update.json").read_text())
    assert state == {"counter": 6, "trial": None, "failed": {}}
    assert {p.name for p in slots.iterdir()} == {"a.edgead", "b.edgead", "current", "update.json"}


def test_killed_while_it_goes_back(device: Device, run: Any, keys: Path) -> None:
    """After the switch, where a bad health was about to be found: the next run finds it."""
    device.restore()
    assert device.run(step="health", health=["false"]) == -signal.SIGKILL
    assert device.serves() == "new"
    given = ["--from", device.config["source"], "--slots", device.slots, "--trust", keys]
    code, _, err = run(*given, "--device", "cpu", "--health", "false")
    assert code == 2 and "one before serves again" in err and device.serves() == "old"


def killed_at_each(device: Device, **more: Any) -> tuple[int, set[str]]:
    """(number of calls, names of what served) with a kill before every call of the system.

    Forks of one process, which has loaded everything and not opened an engine yet.
    """
    context = multiprocessing.get_context("fork")
    sys.path.insert(0, str(KILLING.parent))
    import killing  # type: ignore[import-not-found]

    import edgead.cpu.engine
    import edgead.detector  # noqa: F401

    def child(at: int) -> int:
        device.restore()
        process = context.Process(target=quiet, args=(killing.main, {**config, "at": at}))
        process.start()
        process.join()
        return process.exitcode or 0

    count = device.file.with_name("count")
    config = {**device.config, **more}
    config["count"] = str(count)
    child(0)
    calls = int(count.read_text()) if count.exists() else 0
    names = set()
    for at in range(1, (calls or 200) + 1):
        ended = child(at)
        name = device.serves()  # raises where nothing serves
        names.add(name)
        if ended != -signal.SIGKILL:
            assert not calls
            return at - 1, names
    return calls, names


def quiet(work: Any, config: dict[str, Any]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    work(config)


@pytest.mark.exhaustive
def test_killed_at_every_call_of_the_system(device: Device) -> None:
    calls, names = killed_at_each(device)
    assert calls > 40 and names == {"old", "new"}


@pytest.mark.exhaustive
def test_killed_at_every_call_of_an_update_that_goes_back(device: Device) -> None:
    calls, names = killed_at_each(device, health=["false"])
    assert calls > 40 and names == {"old", "new"}


class SignedAnew(Device):
    """The bundle that serves is offered with the signatures of another key, named ``new``."""

    new = ""

    def serves(self) -> str:
        """Whose signatures verify; then the same command brings those that are offered."""
        signed = open_trusted(self.slots / "current", self.config["keys"])[1]
        assert signed is not None
        keys = read_trusted_keys(self.config["keys"])
        source = FolderSource(Path(self.config["source"]))
        with opened(self.slots) as slots:
            assert not update(slots, source, keys, Options({})).updated
            assert slots.state() == State(counter=9)
        brought = open_trusted(self.slots / "current", self.config["keys"])[1]
        assert brought is not None and (brought.by, brought.counter) == (self.new, 9)
        assert {p.name for p in self.slots.iterdir()} == {"a.edgead", "current", "update.json"}
        return str(signed.by)


def test_killed_at_every_call_of_the_system_while_new_signatures_are_taken(
    first_slots: Path, tmp_path: Path, versions: dict[str, Path], keys: Path
) -> None:
    again, key = tmp_path / "again.edgead", new_key(tmp_path / "next.key")
    shutil.copytree(versions["old"], again)
    sign(open_bundle(again), key, 9, again=True)
    both = tmp_path / "both.keys"
    both.write_text(f"{keys.read_text()}trust {key.public} next\n")
    device = SignedAnew(first_slots, tmp_path, again, both)
    signed = open_trusted(again, both)[1]
    assert signed is not None
    device.new = signed.by
    calls, signers = killed_at_each(device)
    assert calls > 5 and len(signers) == 2 and device.new in signers


def test_an_order_that_loses_a_device_is_found(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: without syncing, or with the link made before the slot is filled."""
    device.restore()
    bundle = device.slots / "b.edgead"
    shutil.copytree(device.config["source"], bundle)
    code = (
        "import sys, pathlib; sys.path.insert(0, {here!r}); import killing\n"
        "folder = pathlib.Path({slots!r}); power = killing.Power(0, folder)\n"
        "from edgead.updating.slots import Slots\n"
        "open(folder / 'b.edgead/model.onnx', 'wb').write(open({model!r}, 'rb').read())\n"
        "Slots(folder).point_at('b.edgead'); power.go()\n"
    ).format(
        here=str(KILLING.parent),
        slots=str(device.slots),
        model=str(Path(device.config["source"]) / "model.onnx"),
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with pytest.raises(Exception, match=r"model\.onnx was truncated or altered \(0 bytes"):
        device.serves()
