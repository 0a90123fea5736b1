"""``edgead records learn``, ``swap`` and ``back``: what the page's view Learn does."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgead.bundle.storage import open_bundle
from edgead.cli.console import Console, progress_line, table
from edgead.errors import InputError
from edgead.live.relearning.comparison import shares_in_words
from edgead.live.relearning.job import Request, learn
from edgead.live.relearning.learning import back, swap
from edgead.live.relearning.state import FAILED, READY, State
from edgead.records.reviews import Reviews, reviewer_name

ACTIONS = ("learn", "swap", "back")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Do what was asked for; the state as JSON.

    Raises:
        InputError: an option is missing; nothing can be learnt, swapped or brought back.
    """
    for name in ("bundle", "by"):
        if getattr(args, name) is None:
            raise InputError(f"edgead records {args.action}: --{name} is missing")
    request = _request(args)
    if args.action != "learn":
        state = swap(request) if args.action == "swap" else back(request)
        console.say(f"wrote  {args.bundle}: the bundle {_which(state)}")
        console.next("kill -HUP the edgead watch that serves it, which then takes it")
        return state.to_json()
    state = learn(request, _Progress())
    if state.state == FAILED:
        raise InputError(state.why)
    _tell(args, state, console)
    return state.to_json()


def _request(args: argparse.Namespace) -> Request:
    bundle = open_bundle(args.bundle)
    rate = args.false_reject_rate
    if rate is None:
        rate = bundle.manifest.calibration.false_reject_rate
    cameras = [args.camera] if args.camera is not None else _cameras(args.folder)
    if args.action == "learn" and not cameras:
        raise InputError(
            f"no frame of {args.folder} is marked: review some first, on the page (--serve) or "
            "with edgead records queue and review"
        )
    if len(cameras) > 1 and args.action == "learn":
        raise InputError(
            f"the records are of {', '.join(cameras)}: choose with --camera NAME whose frames to "
            "learn from"
        )
    return Request(
        records=args.folder.resolve(),
        bundle=Path(args.bundle).resolve(),
        rates=dict.fromkeys(cameras, rate),
        by=reviewer_name(args.by),
        part_seconds=args.part_seconds,
        force=args.force,
    )


def _cameras(folder: Path) -> list[str]:
    reviews = Reviews(folder, writes=False)
    try:
        return sorted({entry.camera for entry in reviews.marked()})
    finally:
        reviews.close()


def _tell(args: argparse.Namespace, state: State, console: Console) -> None:
    assert state.before is not None and state.after is not None  # it was judged
    rows = [("held out", "before", "after")]
    rows += shares_in_words(state.before, state.after)
    for line in table(rows):
        console.say(line)
    if state.state != READY:
        console.say(f"worse  the new bundle is not kept: {state.why}")
        return
    words = ["edgead", "records", "swap", args.folder, "--bundle", args.bundle, "--by", args.by]
    console.next(shlex.join(map(str, words)))


def _which(state: State) -> str:
    return "that was learnt serves" if state.state == "swapped" else "before serves again"


class _Progress:
    """Shows each step on a line of its own."""

    def __init__(self) -> None:
        self._step = ""
        self._show: Callable[[int, int], None] = _silent

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != self._step:
            self._step, self._show = step, progress_line(step)
        if total:
            self._show(done, total)


def _silent(done: int, total: int) -> None:
    pass
