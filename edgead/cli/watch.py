"""Watch a camera, stream, video file or folder: one JSON line on stdout for each verdict.

SOURCE is a camera's number (0), an address (rtsp://…, http://…), a GStreamer pipeline
(… ! appsink), a video file or a folder in which images appear. The latest frame wins: frames that
came while another was scored are dropped, and the line says which. Messages go to stderr. A lost
signal is reconnected. Ctrl-C and kill finish the frame in work and exit with 0, as does the end of
a video file; 2 when the source does not open or stays lost.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgead.cli.console import Console, count
from edgead.cli.options import add_detector, open_detector
from edgead.errors import InputError

if TYPE_CHECKING:
    from edgead.live.capture import Slot
    from edgead.live.loop import Listener, Tally
    from edgead.live.server import PageServer
    from edgead.live.source import Reader, Source
    from edgead.records.evidence import Evidence

EXAMPLE = """\
  edgead watch 0 --bundle cell.edgead                            the first camera
  edgead watch rtsp://10.0.0.7/main --bundle cell.edgead         a network camera
  edgead watch incoming/ --bundle cell.edgead --every-frame      images that another program saves
  edgead watch line.avi --bundle cell.edgead > verdicts.jsonl    a recording, at its own pace
  edgead watch 0 --bundle cell.edgead --evidence seen/ --serve 127.0.0.1:8080"""

EVIDENCE_MB = 1000.0
STALL_S = 10.0
MOST_S = 1e6  # eleven days: OpenCV counts milliseconds in 31 bits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead watch``."""
    parser.add_argument("source", metavar="SOURCE", help="what to watch")
    parser.add_argument("--bundle", metavar="NAME.edgead", required=True, help="the bundle")
    parser.add_argument(
        "--every-frame",
        action="store_true",
        help="score every frame, not only the latest; for video files and folders",
    )
    parser.add_argument(
        "--reconnect-seconds",
        metavar="S",
        type=float,
        help="give up a lost signal after S seconds (default: never)",
    )
    parser.add_argument(
        "--evidence",
        metavar="DIR",
        type=Path,
        help="save frame, heatmap and line of anomalous frames in DIR",
    )
    parser.add_argument(
        "--evidence-mb",
        metavar="N",
        type=float,
        default=EVIDENCE_MB,
        help="size limit of DIR; the oldest files are removed (default: %(default)g)",
    )
    parser.add_argument(
        "--serve",
        metavar="HOST:PORT",
        help="serve a live page (extra live); outside this machine it requires a token",
    )
    parser.add_argument(
        "--drift",
        action="store_true",
        help="test whether the scores drift from the calibration; every frame must show another "
        "part",
    )
    parser.add_argument(
        "--stall-seconds",
        metavar="S",
        type=float,
        default=STALL_S,
        help="a stream without a frame for S seconds counts as lost (default: %(default)g)",
    )
    add_detector(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until the source ends or a signal comes; see the module's docstring."""
    from edgead.cli.signals import stopping
    from edgead.live.board import Board
    from edgead.live.capture import Capture, Slot
    from edgead.live.checks import Checks
    from edgead.live.loop import Loop, Tally
    from edgead.live.source import parse_source

    console = Console(json_on_stdout=True)
    say = _sayer(console)
    source = parse_source(args.source)
    _check(args, source)
    with stopping() as came, ExitStack() as stack:
        server, evidence = _server(args, say, stack), _evidence(args, say, stack)
        detector = open_detector(args, args.bundle)
        info = detector.info()
        say("read", f"{args.bundle}; {info['device']}, {info['precision']}, qualified")
        checks = Checks(detector.bundle, drift=args.drift, say=say, precision=info["precision"])
        if detector.bundle.manifest.health is None:
            say("note", "the camera is not checked: edgead calibrate gives the bundle its limits")
        slot, tally = Slot(every_frame=args.every_frame), Tally()
        reader = _reader(args, source)
        capture = Capture(source, reader, slot, say, give_up_s=args.reconnect_seconds)
        capture.start()
        listeners: list[Listener] = [evidence] if evidence is not None else []
        if server is not None:
            board = Board(source, detector, slot, tally)
            listeners.append(board)
            server.start(board)
        try:
            Loop(detector, slot, tally, sys.stdout.buffer, say, listeners, checks).run(came)
        finally:
            left = capture.stop()
            stack.close()  # what waits is saved before it is counted
            _summarise(say, slot, tally, evidence)
    if not left:
        _leave_at_once()
    return 0


def _server(
    args: argparse.Namespace, say: Callable[[str, str], None], stack: ExitStack
) -> PageServer | None:
    if args.serve is None:
        return None
    from edgead.live.access import parse_address
    from edgead.live.server import PageServer

    server = PageServer(parse_address(args.serve), say)
    stack.callback(server.close)
    return server


def _evidence(
    args: argparse.Namespace, say: Callable[[str, str], None], stack: ExitStack
) -> Evidence | None:
    from edgead.records.evidence import Evidence

    if args.evidence is None:
        return None
    evidence = Evidence(args.evidence, args.evidence_mb, say)
    stack.callback(evidence.close)
    return evidence


def _check(args: argparse.Namespace, source: Source) -> None:
    if args.every_frame and not source.waits:
        raise InputError(
            f"--every-frame with {source.label}: not supported for live sources, only for video "
            f"files and folders; remove the option"
        )
    if args.reconnect_seconds is not None and not 0 <= args.reconnect_seconds < MOST_S:
        raise InputError(
            f"--reconnect-seconds {args.reconnect_seconds}: expected 0 or more seconds"
        )
    if not 0 < args.stall_seconds < MOST_S:
        raise InputError(f"--stall-seconds {args.stall_seconds}: expected more than 0 seconds")


def _reader(args: argparse.Namespace, source: Source) -> Reader:
    from edgead.live.folder import FolderReader
    from edgead.live.source import FOLDER
    from edgead.live.video import VideoReader

    if source.kind == FOLDER:
        return FolderReader(source)
    return VideoReader(source, stall_s=args.stall_seconds, at_once=args.every_frame)


def _leave_at_once() -> NoReturn:
    """End the process under a driver that does not come back; all that counts is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _sayer(console: Console) -> Callable[[str, str], None]:
    return lambda word, text: console.say(f"{word:<7}{text}")


def _summarise(
    say: Callable[[str, str], None], slot: Slot, tally: Tally, evidence: Evidence | None
) -> None:
    p50_ms, p99_ms = tally.percentile_ms(50), tally.percentile_ms(99)
    parts = [
        count(slot.frames, "frame"),
        count(tally.verdicts, "verdict"),
        f"{tally.anomalous} anomalous",
        f"{tally.dropped} dropped",
    ]
    if tally.failed:
        parts.append(f"{tally.failed} not scored")
    if slot.waiting:
        parts.append(f"{slot.waiting} left when stopped")
    if p50_ms is not None and p99_ms is not None:
        parts.append(f"latency p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")
    say("done", ", ".join(parts))
    if evidence is not None:
        missing = f", {evidence.skipped} not saved" if evidence.skipped else ""
        say(
            "wrote", f"evidence of {count(evidence.saved, 'verdict')} to {evidence.folder}{missing}"
        )
