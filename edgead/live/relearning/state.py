"""Where learning from reviewed frames stands: a file, so that it survives the process."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgead.bundle.storage import MANIFEST
from edgead.errors import BundleError, DeviceError
from edgead.files import hold, os_sentence, read_file, write_file

FILE, CANDIDATE, FRAMES, LOG = "state.json", "learnt.edgead", "frames", "log"
IDLE, RUNNING, READY, WORSE, FAILED, SWAPPED, BACK = (
    *("idle", "running", "ready", "worse"),
    *("failed", "swapped", "back"),
)
"""``ready``: the new bundle may be swapped in; ``worse``: it was judged and is not kept; ``back``:
the bundle before serves again."""


@dataclass(frozen=True)
class State:
    """What became of the latest learning.

    Args:
        state: one of the words above.
        cameras: whose frames it learns from.
        by: who started it; ``swapped_by``: who swapped last, in or back.
        started, ended: moments, as in lines.
        step, done, total: what is done now, and how much of it.
        why: what failed, or what is worse.
        frames: how many there are of each kind, of ``Choice.counts``.
        before, after: what both bundles say of the frames that are held out, of ``Judged``.
        sha256_before, sha256_after: of the bundles.
        learnt: ids of the frames that it adds; ``known``: of those that earlier ones added.
        swapped_from: digest of the bundle before the last swap, which ``back`` brings back, also
            after later learnings; ``swapped_in``: ids of the frames that this swap added.
    """

    state: str = IDLE
    cameras: tuple[str, ...] = ()
    by: str = ""
    swapped_by: str = ""
    started: str = ""
    ended: str = ""
    step: str = ""
    done: int = 0
    total: int = 0
    why: str = ""
    frames: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    sha256_before: str = ""
    sha256_after: str = ""
    learnt: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    swapped_from: str = ""
    swapped_in: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return asdict(self)


def place_of(records: Path, bundle: Path) -> Path:
    """The folder of the learning of ``bundle``, within those of the records.

    No camera has a name that begins with a dot.
    """
    digest = hashlib.sha256(os.fsencode(os.path.realpath(bundle))).hexdigest()
    return records / ".learning" / f"{bundle.stem}-{digest[:8]}"


def read_state(place: Path) -> State:
    """What the file says; idle where there is none.

    Raises:
        DeviceError: it is damaged.
    """
    path = place / FILE
    try:
        found = json.loads(path.read_bytes())
        for key in ("cameras", "learnt", "known", "swapped_in"):
            found[key] = tuple(found.get(key, ()))
        return State(**found)
    except FileNotFoundError:
        return State()
    except (ValueError, TypeError, KeyError) as error:
        raise DeviceError(
            f"{path} is damaged ({error}): remove it; the bundle that serves is not touched by it"
        ) from error


def write_state(place: Path, state: State, /, **changes: Any) -> State:
    """Keep ``state`` with ``changes``; the old one or the new one is there, never half of it."""
    state = replace(state, **changes)
    write_file(place / FILE, (json.dumps(state.to_json(), indent=1) + "\n").encode())
    return state


def serving(bundle: Path) -> tuple[str, str | None]:
    """The digests of the bundle that serves and of the one it was made of, by its manifest alone:
    the page asks every second, which is too often to read every file.

    Raises:
        BundleError: it cannot be read.
    """
    path = bundle / MANIFEST
    try:
        data = read_file(path)
        parent = json.loads(data)["provenance"].get("parent")
    except OSError as error:
        raise BundleError(os_sentence(error)) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BundleError(
            f"{path} is not the manifest of a bundle: copy the bundle again"
        ) from error
    made_of = parent.get("bundle_sha256") if isinstance(parent, dict) else None
    return hashlib.sha256(data).hexdigest(), made_of


def settled(state: State, bundle: Path) -> State:
    """``state`` as it has to be with the bundle that serves.

    A bundle is replaced before its state is written: a process killed in between leaves the state
    of the previous bundle.

    Raises:
        BundleError: the bundle cannot be read.
    """
    if state.state == READY and serving(bundle)[0] == state.sha256_after:
        return swapped(state)
    back = state.state != RUNNING and state.swapped_from
    return brought_back(state) if back and serving(bundle)[0] == back else state


def begun_after(state: State, cameras: tuple[str, ...], by: str, **more: str) -> State:
    """A learning that begins: what was swapped before it stays known, and can be undone."""
    return State(
        RUNNING,
        cameras,
        by,
        known=state.known,
        swapped_from=state.swapped_from,
        swapped_in=state.swapped_in,
        **more,  # type: ignore[arg-type]
    )


def swapped(state: State) -> State:
    """``state`` once its new bundle serves."""
    return replace(
        state,
        state=SWAPPED,
        known=(*state.known, *state.learnt),
        swapped_from=state.sha256_before,
        swapped_in=state.learnt,
    )


def brought_back(state: State) -> State:
    """``state`` once the bundle from before the last swap serves again."""
    known = tuple(one for one in state.known if one not in state.swapped_in)
    return replace(state, state=BACK, known=known, swapped_from="", swapped_in=())


def take_place(place: Path, wait_s: float = 0.0) -> int | None:
    """Lock the folder for a learning; what to close at its end. None where one is at work."""
    place.mkdir(parents=True, exist_ok=True)
    return hold(place, wait_s)


def at_work(place: Path) -> bool:
    """Whether a learning has the folder."""
    if not place.exists():
        return False
    if (held := take_place(place)) is None:
        return True
    os.close(held)
    return False
