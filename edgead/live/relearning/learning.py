"""Learning as the page, the command line and Python ask for it: start, look, swap, go back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edgead.bundle.storage import Bundle, open_bundle, write_again
from edgead.errors import BundleError, InputError
from edgead.files import LET_GO_S
from edgead.learning.adding import options_of
from edgead.learning.lineage import forget
from edgead.live.relearning.choice import RelearningError
from edgead.live.relearning.job import Request, chosen, to_text
from edgead.live.relearning.state import (
    CANDIDATE,
    FAILED,
    LOG,
    READY,
    RUNNING,
    SWAPPED,
    State,
    at_work,
    begun_after,
    brought_back,
    read_state,
    serving,
    settled,
    swapped,
    take_place,
    write_state,
)

INTERRUPTED = (
    "it was interrupted, as edgead or the machine ended: start it again; the bundle that serves "
    "is as it was"
)
STOP_S = 10.0


def look(request: Request) -> State:
    """Where the learning for a bundle stands, whatever became of the process that did it.

    Raises:
        DeviceError: its file is damaged.
        BundleError: the bundle cannot be read.
    """
    state = read_state(request.place)
    if state.state == RUNNING and not at_work(request.place):
        return _at_rest(request)  # it may have ended between the two
    return settled(state, request.bundle)


def _at_rest(request: Request) -> State:
    """Where it stands while no process learns."""
    state = read_state(request.place)
    if state.state == RUNNING:
        state = replace(state, state=FAILED, why=INTERRUPTED)
    return settled(state, request.bundle)


@contextmanager
def _held(request: Request) -> Iterator[State]:
    """Where it stands, while no other process learns, swaps or goes back.

    Raises:
        RelearningError: one does.
    """
    if not request.place.exists():  # nothing was learnt; a wrong path is not made
        yield State()
        return
    held = take_place(request.place, LET_GO_S)  # a look at the state has it for a moment
    if held is None:
        raise RelearningError(
            f"another process learns for {request.bundle.name}, or replaces it: wait for it"
        )
    try:
        yield _at_rest(request)
    finally:
        os.close(held)


def swap(request: Request) -> State:
    """Put the new bundle in the place of the one that serves, in one step.

    Raises:
        RelearningError: nothing is ready, or the bundle was changed since.
        BundleError: the bundle cannot be written.
    """
    with _held(request) as state:
        if state.state != READY:
            raise RelearningError(f"no new bundle to swap in: {_stands(state)}")
        old, new = open_bundle(request.bundle), open_bundle(request.place / CANDIDATE)
        if old.sha256 != state.sha256_before:
            raise RelearningError(
                f"{request.bundle.name} was changed since it was learnt from: learn again"
            )
        if new.sha256 != state.sha256_after:
            raise BundleError("the new bundle is not the one that was judged: learn again")
        check_same_size(old, new)
        files = {name: new.read(name) for name in new.manifest.files}
        write_again(request.bundle, new.read_manifest(), files)
        return write_state(request.place, swapped(state), swapped_by=request.by)


def back(request: Request) -> State:
    """Bring back the bundle from before the last swap, byte by byte, whatever came after it.

    Raises:
        RelearningError: nothing was swapped in.
        BundleError: the bundle cannot be written.
    """
    with _held(request) as state:
        if not can_go_back(state, request):
            raise RelearningError(
                f"{request.bundle.name} is not one that was swapped in here: there is nothing to "
                "go back to"
            )
        forget(open_bundle(request.bundle), request.bundle)
        return write_state(request.place, brought_back(state), swapped_by=request.by)


def can_go_back(state: State, request: Request) -> bool:
    """Whether the bundle that serves was made of the one from before the last swap; not while it
    is learnt from."""
    if state.state == RUNNING or not state.swapped_from:
        return False
    return serving(request.bundle)[1] == state.swapped_from


def check_learnable(request: Request) -> None:
    """Refuse a bundle that was trained: nothing can be added to it.

    Raises:
        InputError: it was.
        BundleError: it cannot be read.
    """
    options_of(open_bundle(request.bundle))


def check_same_size(serving: Bundle, new: Bundle) -> None:
    """Refuse a bundle that sees frames in another way.

    Raises:
        RelearningError: its size, tiles or mask are another's.
    """
    seen = [(b.manifest.preprocess.size, b.manifest.tiling) for b in (serving, new)]
    if seen[0] != seen[1]:
        sizes = [" x ".join(map(str, size)) for size, _ in seen]
        raise RelearningError(
            f"the new bundle sees frames as {sizes[1]}, {serving.path.name} as {sizes[0]} (height "
            "x width), or other tiles: expected the same"
        )


def _end(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a child and to the one that learns for it, which would go on alone."""
    if not hasattr(os, "killpg"):
        child.terminate()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)  # it was started in a session of its own


def _stands(state: State) -> str:
    said = {
        SWAPPED: "it was swapped in already",
        FAILED: f"learning failed: {state.why}",
    }
    return said.get(state.state, state.why or "start learning first")


class Learning:
    """The learnings that one process started; all else is in their files.

    Args:
        request_of: what would be learnt for a camera, by whom, now.
        say: for what belongs in the log.
        changed: called when a bundle was replaced.
    """

    def __init__(
        self,
        request_of: Callable[[str, str], Request],
        say: Callable[..., None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._request_of, self._say, self._changed = request_of, say, changed
        self._guard = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._learnable: set[str] = set()  # digests of bundles

    def state(self, camera: str) -> dict[str, Any]:
        """Where it stands, as JSON values, and whether learning could be started now."""
        request = self._request_of(camera, "")
        with self._guard:
            state = self._look(request)
        told = state.to_json() | {"bundle": request.bundle.name}
        told["can_go_back"] = can_go_back(state, request)
        told["would_learn"], told["refusal"] = None, None
        try:
            self._check(request)
            told["would_learn"] = chosen(request, state.known).counts()
        except InputError as error:
            told["refusal"] = str(error)
        return told

    def start(self, camera: str, by: str, *, force: bool = False) -> dict[str, Any]:
        """Start a learning in a child process; the state, as of ``state``.

        Raises:
            RelearningError: one is going on, or nothing can be learnt; says why.
        """
        request = replace(self._request_of(camera, by), force=force)
        with self._guard:
            state = self._look(request)
            if state.state == RUNNING:
                raise RelearningError("learning is going on already: wait for it")
            self._check(request)
            choice = chosen(request, state.known)
            request.place.mkdir(parents=True, exist_ok=True)
            with _held(request) as state:  # of now: another process may have swapped
                begun = write_state(
                    request.place,
                    begun_after(state, tuple(request.rates), by, step="starting"),
                )
            words = [sys.executable, "-m", "edgead.live.relearning.job", to_text(request)]
            with open(request.place / LOG, "wb") as log:
                child = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            self._children[str(request.place)] = child
            told = begun.to_json() | {"bundle": request.bundle.name, "frames": choice.counts()}
        self._say("learn", f"from {len(choice.add)} frames for {request.bundle}, asked by {by}")
        return told

    def swap(self, camera: str, by: str) -> dict[str, Any]:
        """Swap the new bundle in; the state. Raises: as ``swap`` of this module."""
        return self._replace(swap, "a new bundle in", camera, by)

    def back(self, camera: str, by: str) -> dict[str, Any]:
        """Bring the bundle before back; the state. Raises: as ``back`` of this module."""
        return self._replace(back, "the bundle before back", camera, by)

    def close(self) -> None:
        """End what this process started."""
        for child in self._children.values():
            if child.poll() is None:
                _end(child, signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _end(child, getattr(signal, "SIGKILL", signal.SIGTERM))
                child.wait()

    def _check(self, request: Request) -> None:
        """``check_learnable``, once for each bundle: it reads all of its files."""
        digest = serving(request.bundle)[0]
        if digest not in self._learnable:
            check_learnable(request)
            self._learnable.add(digest)

    def _replace(
        self, work: Callable[[Request], State], what: str, camera: str, by: str
    ) -> dict[str, Any]:
        request = self._request_of(camera, by)
        with self._guard:
            work(request)
        self._say("learn", f"{what}: {request.bundle}, asked by {by}")
        self._changed()
        return self.state(camera)

    def _look(self, request: Request) -> State:
        """As ``look``; a child that has not begun is running, one that died says how."""
        child = self._children.get(str(request.place))
        state, code = look(request), None if child is None else child.poll()
        if child is None or state.why != INTERRUPTED:
            return state
        if code is None:
            return replace(state, state=RUNNING, why="")
        del self._children[str(request.place)]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        why = f"its process {how}; {request.place / LOG} has what it said. {INTERRUPTED}"
        return write_state(request.place, state, why=why)
