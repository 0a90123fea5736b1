"""Watch a camera, stream, video file or folder: one JSON line on stdout for each verdict.

SOURCE is a camera's number (0), an address (rtsp://…, http://…), a GStreamer pipeline
(… ! appsink), an industrial camera (pylon:SERIAL), a video file or a folder in which images appear;
--config names several, each with its bundle. The latest frame wins: frames that came while another
was scored are dropped, and the line says which. Messages go to stderr. A lost signal is
reconnected. Ctrl-C and kill finish the frame in work and exit with 0, as does the end of a video
file; 1 when a video stops before its end; 2 when the source does not open or stays lost.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from edgead.cli.options import add, add_detector, detector_settings, file_path, number
from edgead.errors import InputError, shortened
from edgead.live.camera_settings import MOST_S, USUAL, CameraSettings
from edgead.live.region import parse_region

EXAMPLE = """\
  edgead watch 0 --bundle cell.edgead                            the first camera
  edgead watch rtsp://10.0.0.7/main --bundle cell.edgead         a network camera
  edgead watch incoming/ --bundle cell.edgead --every-frame      images that another program saves
  edgead watch line.avi --bundle cell.edgead > verdicts.jsonl    a recording, at its own pace
  edgead watch 0 --bundle cell.edgead --records seen/ --serve 127.0.0.1:8080
  edgead watch --config line.toml --serve 127.0.0.1:8080         several cameras
  edgead watch --config line.toml --check                        what of it can be reached"""


_OF_ONE: dict[str, object] = {  # what --config says for each camera; the option without it
    "source": None, "bundle": None, "options": [], "roi": None, "every_frame": False,
    "reconnect_seconds": None, "evidence": None, "evidence_mb": 1000.0, "drift": False,
    "records": None,
    "stall_seconds": 10.0, "false_reject_rate": None, "color": "bgr", "bit_depth": None,
    "device": "auto", "threads": None, "precision": None, "digests": False, "trust": None,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead watch``."""
    add(parser, "source SOURCE", "what to watch", nargs="?")
    add(parser, "--bundle NAME.edgead", "the bundle")
    text = "cameras, their bundles and where verdicts go, in a file; SIGHUP has it read again"
    add(parser, "--config FILE.toml", text, file_path)
    text = "open every camera and sink once, say which can be reached, and end"
    add(parser, "--check", text)
    add(parser, "--json", "with --check: print JSON")
    text = "an option of the source, as exposure_us=5000; may be given again"
    add(parser, "--set KEY=VALUE", text, action="append", default=[], dest="options")
    text = "score only this rectangle of each frame, in pixels from its left upper corner"
    add(parser, "--roi X,Y,WIDTH,HEIGHT", text)
    text = "score every frame, not only the latest; for video files and folders"
    add(parser, "--every-frame", text)
    text = "give up a lost signal after S seconds (default: never)"
    add(parser, "--reconnect-seconds S", text, number)
    text = "save frame, heatmap and line of anomalous frames in DIR"
    add(parser, "--evidence DIR", text, file_path)
    text = "size limit of DIR; the oldest files are removed (default: %(default)g)"
    add(parser, "--evidence-mb N", text, number, default=1000.0)
    text = "record every verdict in DIR, with frames to be reviewed on the page; lines get an id"
    add(parser, "--records DIR", text, file_path)
    text = "serve a live page (extra live); outside this machine it requires a token"
    add(parser, "--serve HOST:PORT", text)
    text = "a further name of this machine under which the page may be opened; may be given again"
    add(parser, "--allow-host NAME", text, action="append", default=[])
    add(
        parser,
        "--drift",
        "test whether the scores drift from the calibration; every frame must show another part",
    )
    text = "a stream without a frame for S seconds counts as lost (default: %(default)g)"
    add(parser, "--stall-seconds S", text, number, default=10.0)
    add_detector(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until the source ends or a signal comes; see the module's docstring."""
    if args.allow_host and args.serve is None:
        raise InputError("--allow-host without --serve: there is no page; add --serve HOST:PORT")
    if args.json and not args.check:
        raise InputError("--json without --check: the lines of edgead watch are JSON anyway")
    # Loaded here, as far as they are needed: a start should be quick.
    if args.config is not None:
        _refuse_for_one(args)
        if args.check:
            from edgead.cli import watch_check
            from edgead.live.line_file import read_line_file

            file = read_line_file(args.config)
            return watch_check.run(file.cameras, file.sinks, as_json=args.json, file=file)
        from edgead.cli import watch_line

        return watch_line.run(args)
    settings = settings_of(args)
    if args.check:
        from edgead.cli import watch_check

        return watch_check.run([settings], [], as_json=args.json)
    from edgead.cli import watch_one

    return watch_one.run(args, settings)


def _refuse_for_one(args: argparse.Namespace) -> None:
    for name, usual in _OF_ONE.items():
        if getattr(args, name) != usual:
            word = "SOURCE" if name == "source" else f"--{name.replace('_', '-')}"
            word = "--set" if name == "options" else word
            raise InputError(
                f"{word} beside --config: {args.config} says it for each camera; leave it out here"
            )


def settings_of(args: argparse.Namespace) -> CameraSettings:
    """What the command line says of its one camera.

    Raises:
        InputError: something is missing, or out of its range.
    """
    for option, given in (("SOURCE", args.source), ("--bundle", args.bundle)):
        if given is None:
            raise InputError(f"{option} is missing: give SOURCE and --bundle, or --config FILE")
    seconds = args.reconnect_seconds
    if seconds is not None and not 0 <= seconds < MOST_S:
        raise InputError(f"--reconnect-seconds {seconds}: expected 0 or more seconds")
    if not 0 < args.stall_seconds < MOST_S:
        raise InputError(f"--stall-seconds {args.stall_seconds}: expected more than 0 seconds")
    return CameraSettings(
        name=USUAL,
        source=args.source,
        bundle=args.bundle,
        roi=None if args.roi is None else parse_region(args.roi),
        options=dict(map(_option, args.options)),
        every_frame=args.every_frame,
        stall_seconds=args.stall_seconds,
        reconnect_seconds=seconds,
        evidence=None if args.evidence is None else str(args.evidence),
        evidence_mb=args.evidence_mb,
        drift=args.drift,
        **detector_settings(args),
    )


def _option(text: str) -> tuple[str, Any]:
    """KEY=VALUE: a number, true, false or a text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"--set {shortened(text, 60)}: expected KEY=VALUE, as exposure_us=5000")
    if value in ("true", "false"):
        return key, value == "true"
    if re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        return key, int(value)
    try:
        return key, number(value)
    except argparse.ArgumentTypeError:
        return key, value
