"""``edgead watch SOURCE``: one camera, scored in the main thread."""

from __future__ import annotations

import argparse
import secrets
import sys
from contextlib import ExitStack
from functools import partial

from edgead.bundle.storage import check_outside, open_bundle
from edgead.cli.console import Console
from edgead.cli.signals import stopping
from edgead.cli.watch_report import end, say_recorded, say_saved, serve, summary
from edgead.errors import InputError
from edgead.images import sentence
from edgead.live.board import Board
from edgead.live.camera_settings import USUAL, CameraSettings
from edgead.live.capture import Capture, Slot
from edgead.live.checks import Checks
from edgead.live.clock import Clock
from edgead.live.engines import Engines, View
from edgead.live.log import Log, Say
from edgead.live.loop import Identity, Listener, Loop
from edgead.live.source import Reader
from edgead.live.sources import open_reader
from edgead.live.sources.folder import FolderReader
from edgead.live.tally import Tally
from edgead.records.evidence import Evidence
from edgead.records.store import Records, RecordsSettings, has_frames_of


def run(args: argparse.Namespace, settings: CameraSettings) -> int:
    """Watch until the source ends or a signal comes; the exit code."""
    log = Log(Console(json_on_stdout=True).say)
    source = settings.check()
    # Its options are read before anything is opened; so is its kind's package.
    open_reader(source, settings.setup(None, log.say))
    listeners: list[Listener] = []
    with ExitStack() as stack:
        stack.callback(log.close)
        server = serve(args, log, stack)
        evidence = _save_evidence(args, log, stack)
        if evidence is not None:
            listeners.append(evidence)
        detector = View(Engines(), open_bundle(args.bundle), settings.detector)
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
        records = _keep_records(args, log, stack)
        if records is not None:
            listeners.append(records)
        slot, tally = Slot(every_frame=args.every_frame), Tally()
        board = Board(source, detector, slot, tally)
        reader = open_reader(source, settings.setup(detector.bit_depth, log.say))
        tell = partial(_tell, log.say, board)
        capture = Capture(source, reader, slot, tell, give_up_s=args.reconnect_seconds)
        out = sys.stdout.buffer
        loop = Loop(detector, slot, tally, out, log.say, listeners, checks, region=settings.roi)
        if records is not None:
            loop.sinks, loop.identity = [records], Identity(settings.name, secrets.token_hex(8))
        clock = Clock(log.say)
        # While it opens, a camera may never answer: there one signal is enough.
        with stopping(patience=1) as early:
            capture.start()
            with stopping() as late:
                if server is not None:
                    listeners.append(board)
                    server.start(board, folder=args.records)
                try:
                    loop.run(lambda: early() or late(), partial(_tick, log, clock))
                finally:
                    left = capture.stop()
                    stack.close()  # what waits is saved before it is counted
                    checks.doubt_depth()
                    log.say("done", summary(slot, tally))
                    say_saved(log.say, evidence)
                    say_recorded(log.say, records)
                    _say_left_out(log.say, reader)
    return end(0, loop.output, left)


def _tick(log: Log, clock: Clock) -> None:
    log.tick()
    clock.tick()


def _save_evidence(args: argparse.Namespace, log: Log, stack: ExitStack) -> Evidence | None:
    if args.evidence is None:
        return None
    check_outside(args.evidence, "--evidence")
    if args.records is not None and has_frames_of(args.records, [USUAL], args.evidence):
        raise InputError(
            f"--evidence {args.evidence} is where --records keeps frames: choose another folder"
        )
    evidence = Evidence(args.evidence, args.evidence_mb, partial(log.say, kind="evidence"))
    stack.callback(evidence.close)
    return evidence


def _keep_records(args: argparse.Namespace, log: Log, stack: ExitStack) -> Records | None:
    if args.records is None:
        return None
    check_outside(args.records, "--records")
    records = Records(RecordsSettings(args.records), partial(log.say, kind="records"))
    stack.callback(records.close)
    return records


def _tell(say: Say, board: Board, word: str, text: str, kind: str = "") -> None:
    """Say what a camera's signal does, and show on the page that it is lost."""
    say(word, text, kind)
    board.note(word, text)


def _say_left_out(say: Say, reader: Reader) -> None:
    if isinstance(reader, FolderReader) and (text := sentence(reader.left_out)):
        say("note", text)
