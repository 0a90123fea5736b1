"""Bring a new bundle to this device: fetch, check, try, switch, and go back if it is not healthy.

--slots is a folder with two slots and a link `current`, which programs open. Of the bundle of
--from, what is not here yet is fetched (after an interruption, from where it stopped). It has to be
signed by a key of --trust, with a counter that is not lower than before, and has to reproduce its
golden frames on this device. With --shadow, both bundles judge the same frames, and other verdicts
are reported. Then `current` leads to it, in one step; if it cannot be opened there, or the command
of --health fails, the bundle before serves again. Power may go at any instant.

With --trial it serves until --confirm or --back; a service that calls --start before it opens the
bundle goes back by itself when nothing confirms it in three starts. Exit code 2 where the device
refused the bundle or went back.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgead.cli.console import Console, count, print_json, progress_line
from edgead.cli.options import add, add_device, add_trust, file_path, number, whole
from edgead.errors import InputError
from edgead.images.listing import look_below
from edgead.signing.trust import read_trusted_keys
from edgead.updating.slots import CURRENT, STARTS, InUseError, Slots, opened
from edgead.updating.sources import source_of
from edgead.updating.update import Options, Report, update

EXAMPLE = """\
  edgead update --from https://example.com/cell.edgead --slots /var/lib/cell --trust trusted.keys
  edgead update --from usb/cell.edgead --slots slots/ --trust trusted.keys --shadow frames/
  edgead update --slots /var/lib/cell               what serves
  edgead update --slots /var/lib/cell --back        let the bundle before serve again"""

_MODES = ("confirm", "back", "start")
_OF_FROM = {
    "trust": None, "shadow": None, "most_changed": None, "health": None, "trial": False,
    "again": False, "most_mb": 4096, "precision": None, "health_seconds": 60.0,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead update``."""
    add(parser, "--slots DIR", "the folder with the slots and the link", file_path, required=True)
    add(parser, "--from URL|DIR", "the bundle: a folder, or its http(s) address", dest="source")
    add_trust(parser)
    add(parser, "--shadow DIR", "frames, or records, that both bundles judge", file_path)
    text = "share of the verdicts on them that may differ (default: all are only reported)"
    add(parser, "--most-changed SHARE", text, number)
    text = "run, by no shell, when it serves, with EDGEAD_BUNDLE set; not 0: it goes back"
    add(parser, "--health COMMAND", text)
    add(parser, "--health-seconds S", "that it may take (default: 60)", number, default=60.0)
    add(parser, "--trial", "leave it on trial until --confirm")
    add(parser, "--again", "take a bundle that failed here before")
    add(parser, "--most-mb N", "of a bundle (default: 4096)", whole, default=4096)
    add_device(parser)
    add(parser, "--precision NAME", "that it has to qualify in, as for score")
    modes = parser.add_mutually_exclusive_group()
    add(modes, "--confirm", "what is on trial stays")
    add(modes, "--back", "the bundle before serves again")
    text = f"count a start of a service; after {STARTS} without --confirm it goes back"
    add(modes, "--start", text)
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Update, or say or change which bundle serves."""
    console = Console(json_on_stdout=args.json)
    mode = next((name for name in _MODES if getattr(args, name)), None)
    if args.source is None:
        given = [name for name, usual in _OF_FROM.items() if getattr(args, name) != usual]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} goes with --from URL|DIR")
        try:
            with opened(args.slots) as slots:
                return _change(slots, mode, args, console)
        except InUseError:
            if mode != "start":
                raise
        # The update itself may start the service, by --health; an error would keep it from that.
        console.warn("an update is at work, which judges for itself: this start is not counted")
        return _change(Slots(args.slots), None, args, console)
    if mode is not None:
        raise InputError(f"--from and --{mode} do not go together: leave one out")
    if args.trust is None:
        raise InputError("--trust KEYS is missing: an update has to be signed (edgead sign)")
    options = _options(args)
    trusted, source = read_trusted_keys(args.trust), source_of(args.source)
    with opened(args.slots, make=True) as slots:
        report = update(slots, source, trusted, options)
        _tell(report, slots, args, console)
    return 0


def _options(args: argparse.Namespace) -> Options:
    share = args.most_changed
    try:
        words = tuple(shlex.split(args.health or ""))
    except ValueError as error:  # a quote, or a backslash, that nothing ends
        raise InputError(
            f"--health {args.health}: {error}; expected words as in a shell"
        ) from error
    if share is not None and (args.shadow is None or not 0 <= share <= 1):
        raise InputError(f"--most-changed {share:g}: expected 0 to 1, beside --shadow DIR")
    if args.health is not None and not words:
        raise InputError("--health is empty; expected a command")
    if args.most_mb < 1 or args.health_seconds <= 0:
        raise InputError("--most-mb and --health-seconds are more than 0")
    frames: list[Path] = []
    if args.shadow is not None:
        if not args.shadow.is_dir():
            raise InputError(f"--shadow {args.shadow}: no such folder; expected one of frames")
        frames = look_below(args.shadow).images
        if not frames:
            raise InputError(f"--shadow {args.shadow} has no images")
    lines: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        if done:
            lines.setdefault(what, progress_line(what))(done, total)

    engine = {name: getattr(args, name) for name in ("device", "threads", "precision")}
    return Options(
        engine, frames, share, words, args.health_seconds, args.trial, args.again,
        args.most_mb * 2**20, progress=progress,
    )  # fmt: skip


def _tell(report: Report, slots: Slots, args: argparse.Namespace, console: Console) -> None:
    if args.json:
        print_json(_to_json(report, slots))
        return
    console.say(f"signed by {report.signed_by}, counter {report.counter}: trusted")
    if not report.updated:
        console.say(f"serves {slots.current} -> {report.slot}: that bundle serves already")
        console.next(f"edgead verify {shlex.quote(str(slots.current))}")
        return
    if (found := report.fetched) is not None:
        console.say(
            f"fetch  {count(found.files, 'file')}, {found.bytes / 1e6:.1f} MB; {found.here} here"
        )
    console.say(f"qualified on {report.device}, {report.precision}")
    if (shown := report.shadow) is not None:
        told = shown.to_json()
        console.say(
            f"shadow {count(shown.frames, 'frame')}: {count(len(shown.changed), 'verdict')} "
            f"changed ({told['newly_anomalous']} newly anomalous, "
            f"{told['no_longer_anomalous']} no longer)"
        )
        for one in shown.changed[:10]:
            was, now = ("anomalous", "good") if one.was_anomalous else ("good", "anomalous")
            old, new = one.p_value
            console.say(f"       {one.image}: {was} -> {now}, p-value {old:.3g} -> {new:.3g}")
        if shown.unreadable:
            name, why = shown.unreadable[0]
            console.warn(f"{count(len(shown.unreadable), 'image')} not scored; {name}: {why}")
    state = "on trial" if report.on_trial else "confirmed"
    console.say(f"serves {slots.current} -> {report.slot}: {report.name}, {state}")
    if (slots.folder / slots.spare()).exists():
        console.say("       programs that run serve the one before until they open it again")
    _tell_next(slots, console, on_trial=report.on_trial)


def _to_json(report: Report, slots: Slots) -> dict[str, Any]:
    shown = None if report.shadow is None else report.shadow.to_json()
    told = {key: value for key, value in asdict(report).items() if key != "shadow"}
    return {**told, "current": str(slots.current), "shadow": shown}


def _change(slots: Slots, mode: str | None, args: argparse.Namespace, console: Console) -> int:
    """Confirm, go back, count a start, or say what serves."""
    said = ""
    if mode == "confirm":
        slots.confirm()
        said = "confirmed: "
    elif mode == "back":
        slots.back("taken back by hand")
        said = "went back: "
    elif mode == "start":
        before = slots.state().trial
        if slots.count_start() is None and before is not None:
            console.warn(f"nothing confirmed the bundle on trial in {STARTS} starts: went back")
    state, serving = slots.state(), slots.serving()
    bundle = slots.bundle(serving)
    if args.json:
        print_json(
            {
                "current": str(slots.current),
                "slot": serving,
                "bundle_sha256": None if bundle is None else bundle.sha256,
                **asdict(state),
            }
        )
        return 0
    if bundle is None:
        raise InputError(f"{slots.folder} has no bundle that serves: --from URL|DIR brings one")
    name = f"{bundle.manifest.name}, {bundle.sha256[:12]}"
    console.say(f"{said or 'serves '}{slots.current} -> {serving}: {name}")
    trial = state.trial
    console.say(
        f"counter {state.counter}"
        + (f"; on trial, {count(trial.starts_left, 'start')} left" if trial else "; confirmed")
    )
    for digest, why in state.failed.items():
        now = "; it serves again" if digest == bundle.sha256 else ""
        console.say(f"failed {digest[:12]}: {why}{now}")
    _tell_next(slots, console, on_trial=trial is not None)
    return 0


def _tell_next(slots: Slots, console: Console, *, on_trial: bool) -> None:
    folder = shlex.quote(str(slots.folder))
    console.next(
        f"edgead update --slots {folder} --confirm"
        if on_trial
        else f"edgead score {folder}/{CURRENT} IMAGE"
    )
