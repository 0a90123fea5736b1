"""Two slots and a link: which bundle serves, which one was before, and which one is on trial.

    FOLDER/current -> a.edgead      what programs open; changed by one rename
    FOLDER/a.edgead, b.edgead       one serves, the other one is the one before, or absent
    FOLDER/incoming/                what is being fetched
    FOLDER/update.json              counter, trial, and bundles that failed here

Whatever the instant at which power goes, ``current`` leads to a whole bundle: a slot is filled and
synced before the link leads there, and only the slot that does not serve is ever replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgead.bundle.storage import SIGNATURES, Bundle, open_bundle
from edgead.errors import BundleError, EdgeadError, UpdateError
from edgead.files import hold, os_sentence, sync_directory, write_file, write_synced
from edgead.signing.trust import signatures_of

CURRENT, SLOTS = "current", ("a.edgead", "b.edgead")
STATE, INCOMING = "update.json", "incoming"
_NEW_LINK, _NEW_SIGNATURES, _OLD = ".current.new", ".signatures.new", ".old"
STARTS = 3
"""How often a service may start on a bundle on trial before it goes back."""
_MOST_FAILED = 20
_INSTEAD = "--from URL|DIR brings another one"


@dataclass(frozen=True)
class Trial:
    """A bundle that serves and is not confirmed yet.

    Args:
        slot: where it lies.
        bundle_sha256, counter: of it.
        starts_left: how often a service may still start on it.
        by_hand: it waits for ``--confirm``; else the update itself confirms it.
    """

    slot: str
    bundle_sha256: str
    counter: int
    starts_left: int = STARTS
    by_hand: bool = False


@dataclass(frozen=True)
class State:
    """What ``update.json`` holds.

    Args:
        counter: the highest of a bundle that was confirmed: no lower one is taken.
        trial: None: what serves is confirmed.
        failed: digest of a bundle to why it failed here.
    """

    counter: int = 0
    trial: Trial | None = None
    failed: dict[str, str] = field(default_factory=dict)


class InUseError(UpdateError):
    """Another process updates the folder."""


class Slots:
    """The folder, for one process: see ``opened``.

    Args:
        folder: which is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / INCOMING

    @property
    def current(self) -> Path:
        """The link that programs open."""
        return self.folder / CURRENT

    def serving(self) -> str | None:
        """Name of the slot that serves; None before the first update.

        Raises:
            UpdateError: ``current`` is something else than this makes it.
        """
        try:
            name = os.readlink(self.current)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UpdateError(
                f"{self.current} is not a link; expected a folder that edgead update made"
            ) from error
        if name not in SLOTS:
            raise UpdateError(
                f"{self.current} leads to {name}; expected {' or '.join(SLOTS)}, beside it"
            )
        return name

    def spare(self) -> str:
        """Name of the slot that does not serve."""
        return SLOTS[1] if self.serving() == SLOTS[0] else SLOTS[0]

    def bundle(self, slot: str | None) -> Bundle | None:
        """The bundle in a slot; None where there is none, or not a whole one."""
        if slot is None:
            return None
        try:
            return open_bundle(self.folder / slot)
        except BundleError:
            return None

    def state(self) -> State:
        """What is known; a state that was lost begins anew, with the counter of what serves."""
        try:
            state = _state_of(json.loads((self.folder / STATE).read_bytes()))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            state = State()
        if state.trial is None:
            state = replace(state, counter=max(state.counter, self._counter(self.serving())))
        return state

    def write(self, state: State) -> None:
        """Keep ``state``, whole or not at all."""
        kept = dict(list(state.failed.items())[-_MOST_FAILED:])
        text = json.dumps(asdict(replace(state, failed=kept)), indent=1) + "\n"
        write_file(self.folder / STATE, text.encode())

    def _counter(self, slot: str | None) -> int:
        bundle = self.bundle(slot)
        if bundle is None or bundle.read_signatures() is None:
            return 0
        with contextlib.suppress(EdgeadError):
            return signatures_of(bundle)[0]
        return 0

    def point_at(self, slot: str) -> None:
        """Let ``current`` lead to ``slot``, in one step that lasts."""
        link = self.folder / _NEW_LINK
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        os.symlink(slot, link)
        os.replace(link, self.current)
        sync_directory(self.folder)

    def sign_serving(self, signatures: bytes) -> None:
        """Put other signatures beside the manifest that serves, in one step that lasts.

        Args:
            signatures: of that manifest, and trusted.
        """
        slot = self.folder / str(self.serving())
        fresh = self.folder / _NEW_SIGNATURES  # not in the bundle: with another file it is damaged
        write_synced(fresh, signatures)
        os.replace(fresh, slot / SIGNATURES)
        sync_directory(slot)
        self.write(self.state())

    def fill_spare(self, bundle: Path) -> str:
        """Move the folder ``bundle``, which is synced, to the slot that does not serve.

        Returns: the slot's name.
        """
        slot = self.spare()
        if os.path.lexists(self.folder / slot):
            os.rename(self.folder / slot, self.folder / _OLD)
        os.rename(bundle, self.folder / slot)
        sync_directory(self.folder)
        shutil.rmtree(self.folder / _OLD, ignore_errors=True)
        shutil.rmtree(self.incoming, ignore_errors=True)
        return slot

    def recover(self) -> None:
        """Clean up after a process that was killed; an update that did not begin to serve ends."""
        for leftover in self.folder.glob(f".{STATE}.*.tmp"):
            leftover.unlink(missing_ok=True)
        for name in (_NEW_LINK, _NEW_SIGNATURES):
            (self.folder / name).unlink(missing_ok=True)
        old = self.folder / _OLD
        if old.is_dir():
            slot = self.folder / self.spare()
            if os.path.lexists(slot):
                shutil.rmtree(old, ignore_errors=True)
            else:  # killed between two renames: the bundle before is whole
                os.rename(old, slot)
        state = self.state()
        if state.trial is not None and state.trial.slot != self.serving():
            self.write(replace(state, trial=None))

    def confirm(self) -> State:
        """End the trial: what serves stays, and its counter is the lowest from now on.

        Raises:
            UpdateError: nothing is on trial.
        """
        state = self.state()
        if state.trial is None:
            raise UpdateError(f"{self.folder}: no bundle is on trial; nothing is to be confirmed")
        counter = max(state.counter, state.trial.counter)
        state = replace(state, counter=counter, trial=None)
        self.write(state)
        return state

    def back(self, why: str, *, at_fault: bool = True) -> str:
        """Let the bundle before serve again; what serves counts as failed, if it is at fault.

        Returns: the slot that serves now.

        Raises:
            UpdateError: no complete bundle is left to return to; what serves stays.
        """
        state, slot = self.state(), self.spare()
        if not os.path.lexists(self.folder / slot):
            raise UpdateError(
                f"{self.folder}: no way back: no bundle served before this one; {_INSTEAD}"
            )
        if self.bundle(slot) is None:
            raise UpdateError(f"{self.folder / slot} is damaged: no way back; {_INSTEAD}")
        serving = self.bundle(self.serving())
        if serving is not None and at_fault:
            state = replace(state, failed={**state.failed, serving.sha256: why})
        self.write(state)  # first: a bundle that failed is not taken again
        self.point_at(slot)
        self.write(replace(state, trial=None))
        return slot

    def count_start(self) -> Trial | None:
        """A service starts: count it, and go back where a trial has had its starts.

        Returns: the trial that goes on, also where there is nothing to go back to; None where what
            serves is confirmed, now or before.
        """
        state = self.state()
        if state.trial is None:
            return None
        if state.trial.starts_left <= 0:
            if self.bundle(self.spare()) is None:  # an error would keep the service from starting
                return state.trial
            self.back(f"not confirmed in {STARTS} starts")
            return None
        trial = replace(state.trial, starts_left=state.trial.starts_left - 1)
        self.write(replace(state, trial=trial))
        return trial


@contextlib.contextmanager
def opened(folder: Path, *, make: bool = False) -> Iterator[Slots]:
    """The slots in ``folder``, for this process alone, after ``recover``.

    Raises:
        UpdateError: the folder is missing, another process updates it (InUseError), or it holds
            something else.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = hold(folder)
    except OSError as error:
        raise UpdateError(f"--slots {folder}: {os_sentence(error)}") from error
    if descriptor is None:
        raise InUseError(f"--slots {folder}: another edgead update is at work there")
    try:
        slots = Slots(folder)
        slots.recover()
        yield slots
    finally:
        os.close(descriptor)


def _state_of(found: dict[str, Any]) -> State:
    trial = found["trial"]
    failed = {str(digest): str(why) for digest, why in found["failed"].items()}
    return State(int(found["counter"]), None if trial is None else Trial(**trial), failed)
