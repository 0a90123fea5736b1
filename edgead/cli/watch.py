"""Watch a camera, stream, video file or folder: one JSON line on stdout for each verdict.

SOURCE is a camera's number (0), an address (rtsp://…, http://…), a GStreamer pipeline
(… ! appsink), a video file or a folder in which images appear. The latest frame wins: frames that
came while another was scored are dropped, and the line says which. Messages go to stderr. A lost
signal is reconnected. Ctrl-C and kill finish the frame in work and exit with 0, as does the end of
a video file; 1 when a video stops before its end; 2 when the source does not open or stays lost.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from edgead.bundle.storage import check_outside
from edgead.cli.console import Console, complain, count
from edgead.cli.options import add, add_detector, detector_settings, file_path, number
from edgead.cli.signals import stopping
from edgead.detector import Detector
from edgead.errors import InputError, printable
from edgead.images import sentence
from edgead.live.board import Board
from edgead.live.capture import Capture, Slot
from edgead.live.checks import Checks
from edgead.live.folder import FolderReader
from edgead.live.log import Log, Say
from edgead.live.loop import Listener, Loop, Tally
from edgead.live.source import FOLDER, Source, parse_source
from edgead.live.video import VideoReader
from edgead.records.evidence import Evidence

if TYPE_CHECKING:
    from edgead.live.server import PageServer

EXAMPLE = """\
  edgead watch 0 --bundle cell.edgead                            the first camera
  edgead watch rtsp://10.0.0.7/main --bundle cell.edgead         a network camera
  edgead watch incoming/ --bundle cell.edgead --every-frame      images that another program saves
  edgead watch line.avi --bundle cell.edgead > verdicts.jsonl    a recording, at its own pace
  edgead watch 0 --bundle cell.edgead --evidence seen/ --serve 127.0.0.1:8080"""

MOST_S = 1e6  # eleven days: OpenCV counts milliseconds in 31 bits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead watch``."""
    add(parser, "source SOURCE", "what to watch")
    add(parser, "--bundle NAME.edgead", "the bundle", required=True)
    text = "score every frame, not only the latest; for video files and folders"
    add(parser, "--every-frame", text)
    text = "give up a lost signal after S seconds (default: never)"
    add(parser, "--reconnect-seconds S", text, number)
    text = "save frame, heatmap and line of anomalous frames in DIR"
    add(parser, "--evidence DIR", text, file_path)
    text = "size limit of DIR; the oldest files are removed (default: %(default)g)"
    add(parser, "--evidence-mb N", text, number, default=1000.0)
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
    log = Log(Console(json_on_stdout=True).say)
    source = parse_source(args.source)
    _check(args, source)
    listeners: list[Listener] = []
    with ExitStack() as stack:
        stack.callback(log.close)
        server = _serve(args, log, stack)
        evidence = _save_evidence(args, log, stack)
        if evidence is not None:
            listeners.append(evidence)
        detector = Detector(args.bundle, **detector_settings(args))
        info = detector.info()
        log.say("read", f"{args.bundle}; {info['device']}, {info['precision']}, qualified")
        checks = Checks(
            detector.bundle,
            drift=args.drift,
            say=log.say,
            precision=info["precision"],
            bit_depth=detector.bit_depth,
        )
        if detector.bundle.manifest.health is None:
            cure = "edgead calibrate gives the bundle its limits"
            log.say("note", f"the camera is not checked: {cure}")
        slot, tally = Slot(every_frame=args.every_frame), Tally()
        reader = _reader(args, source, log, detector.bit_depth)
        capture = Capture(source, reader, slot, log.say, give_up_s=args.reconnect_seconds)
        loop = Loop(detector, slot, tally, sys.stdout.buffer, log.say, listeners, checks)
        # While it opens, a camera may never answer: there one signal is enough.
        with stopping(patience=1) as early:
            capture.start()
            with stopping() as late:
                if server is not None:
                    board = Board(source, detector, slot, tally)
                    listeners.append(board)
                    server.start(board)
                try:
                    loop.run(lambda: early() or late(), log.tick)
                finally:
                    left = capture.stop()
                    stack.close()  # what waits is saved before it is counted
                    checks.doubt_depth()
                    _summarise(log.say, slot, tally, evidence)
                    _say_left_out(log.say, reader)
    code = 0
    if loop.output.lost:
        lost = count(loop.output.lost, "line")
        complain(f"{lost} not written to stdout: {loop.output.trouble}")
        code = 1
    if not left:  # a driver that does not come back; all that counts is written
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _serve(args: argparse.Namespace, log: Log, stack: ExitStack) -> PageServer | None:
    if args.serve is None:
        return None
    # Loaded here: they need the extra "live".
    from edgead.live.access import allowed_hosts, parse_address
    from edgead.live.server import PageServer

    hosts = allowed_hosts(args.allow_host)
    server = PageServer(parse_address(args.serve), log.say, hosts)
    stack.callback(server.close)
    return server


def _save_evidence(args: argparse.Namespace, log: Log, stack: ExitStack) -> Evidence | None:
    if args.evidence is None:
        return None
    check_outside(args.evidence, "--evidence")
    evidence = Evidence(args.evidence, args.evidence_mb, partial(log.say, kind="evidence"))
    stack.callback(evidence.close)
    return evidence


def _reader(
    args: argparse.Namespace, source: Source, log: Log, bit_depth: int | None
) -> FolderReader | VideoReader:
    if source.kind == FOLDER:
        return FolderReader(source, log.say, bit_depth=bit_depth)
    return VideoReader(source, stall_s=args.stall_seconds, at_once=args.every_frame)


def _check(args: argparse.Namespace, source: Source) -> None:
    if args.every_frame and not source.waits:
        raise InputError(
            f"--every-frame with {source.label}: not supported for live sources, only for video "
            f"files and folders; remove the option"
        )
    seconds = args.reconnect_seconds
    if seconds is not None and not 0 <= seconds < MOST_S:
        raise InputError(f"--reconnect-seconds {seconds}: expected 0 or more seconds")
    if not 0 < args.stall_seconds < MOST_S:
        raise InputError(f"--stall-seconds {args.stall_seconds}: expected more than 0 seconds")
    if args.allow_host and args.serve is None:
        raise InputError("--allow-host without --serve: there is no page; add --serve HOST:PORT")
    with suppress(OSError):  # one that does not exist yet is another folder
        if source.kind == FOLDER and args.evidence and os.path.samefile(args.evidence, args.source):
            raise InputError(
                f"--evidence {printable(args.evidence)} is the watched folder itself, under the "
                "same or another name: what is saved there would be watched; choose another folder"
            )


def _summarise(say: Say, slot: Slot, tally: Tally, evidence: Evidence | None) -> None:
    p50_ms, p99_ms = tally.percentile_ms(50), tally.percentile_ms(99)
    parts = [count(slot.frames, "frame"), count(tally.verdicts, "verdict")]
    parts += [f"{tally.anomalous} anomalous", f"{tally.dropped} dropped"]
    if tally.failed:
        parts.append(f"{tally.failed} not scored")
    if slot.waiting:
        parts.append(f"{slot.waiting} left when stopped")
    if p50_ms is not None and p99_ms is not None:
        parts.append(f"latency p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")
    say("done", ", ".join(parts))
    if evidence is not None:
        saved, folder = count(evidence.saved, "verdict"), evidence.folder
        missing = f", {evidence.skipped} not saved" if evidence.skipped else ""
        say("wrote", f"evidence of {saved} to {folder}{missing}")


def _say_left_out(say: Say, reader: FolderReader | VideoReader) -> None:
    if isinstance(reader, FolderReader) and (text := sentence(reader.left_out)):
        say("note", text)
