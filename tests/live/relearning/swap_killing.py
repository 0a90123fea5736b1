"""Kill -9 at every file operation of a swap, or of a way back, each in a process of its own.

    python swap_killing.py REQUEST ACTION [KILLS]

REQUEST is of ``to_text``, for a learning that is ready (``swap``) or swapped in (``back``). KILLS
of the operations are chosen evenly, with the first and the last one; all without it. Prints a
JSON object for each kill: ``operation``; ``bundle`` and ``state`` after it, as ``look`` gives them;
``known``; ``next``: the state, or the error, of the same action once more; ``left``: what is then
beside the bundle; ``after``: the bundle then.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgead.bundle.storage import open_bundle
from edgead.errors import EdgeadError
from edgead.live.relearning.job import Request, from_text
from edgead.live.relearning.learning import back, look, swap

ACTIONS: dict[str, Callable[[Request], Any]] = {"swap": swap, "back": back}


def digest(folder: Path) -> str:
    """Of all names and bytes in a folder."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def killed(work: Callable[[], Any], at: int) -> str:
    """Do ``work`` in a child that is killed before its file operation ``at``, from 1; which it
    was. How many there were, when they are fewer."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        calls = [0]

        def count(event: str, args: tuple[Any, ...]) -> None:
            if event != "open" and not event.startswith(("os.", "shutil.")):
                return
            calls[0] += 1
            if calls[0] == at:
                os.write(write, f"{event} {os.path.basename(str(args[0]))}".encode())
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os.write(write, str(calls[0]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        operation = stream.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) != operation.isdigit(), (operation, status)
    return operation


def again(work: Callable[[Request], Any], request: Request) -> str:
    """The state after one more call, or what it says."""
    try:
        return str(work(request).state)
    except EdgeadError as error:
        return str(error)


def chosen(count: int, kills: int) -> list[int]:
    """Numbers of operations, from 1 to ``count``: ``kills`` of them, or all (0)."""
    if not 1 < kills < count:
        return list(range(1, count + 1))
    return [1 + round(k * (count - 1) / (kills - 1)) for k in range(kills)]


def sweep(request: Request, action: str, kills: int) -> None:
    """Kill at the chosen operations, each from the same beginning; print what is left."""
    folder, kept = request.bundle.parent, request.bundle.parent / "kept"
    shutil.copytree(request.bundle, kept / "bundle")
    shutil.copytree(request.place, kept / "place")

    def from_the_beginning() -> None:
        for path, name in ((request.bundle, "bundle"), (request.place, "place")):
            shutil.rmtree(path)
            shutil.copytree(kept / name, path)

    work = ACTIONS[action]
    count = int(killed(lambda: work(request), sys.maxsize))
    for at in chosen(count, kills):
        from_the_beginning()
        operation = killed(lambda: work(request), at)
        state = look(request)
        open_bundle(request.bundle)
        found: dict[str, Any] = {
            "operation": operation,
            "bundle": digest(request.bundle),
            "state": state.state,
        }
        found |= {"known": state.known, "next": again(work, request)}
        found["left"] = sorted(p.name for p in folder.iterdir() if "writing" in p.name)
        print(json.dumps({**found, "after": digest(request.bundle)}), flush=True)
        for name in found["left"]:
            shutil.rmtree(folder / name)


if __name__ == "__main__":
    sweep(from_text(sys.argv[1]), sys.argv[2], int((sys.argv[3:] or ["0"])[0]))
