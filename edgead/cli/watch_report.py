"""What every watch does at its start and its end: the page, the summary, the exit code."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgead.cli.console import complain, count
from edgead.live.capture import Slot
from edgead.live.log import Log, Say
from edgead.live.output import Output
from edgead.live.tally import Tally
from edgead.records.evidence import Evidence
from edgead.records.store import Records

if TYPE_CHECKING:
    from edgead.live.server import PageServer


def serve(args: argparse.Namespace, log: Log, stack: ExitStack) -> PageServer | None:
    """The server of the page, with its port taken; None without ``--serve``."""
    if args.serve is None:
        return None
    # Loaded here: they need the extra "live".
    from edgead.live.access import allowed_hosts, parse_address
    from edgead.live.server import PageServer

    hosts = allowed_hosts(args.allow_host)
    server = PageServer(parse_address(args.serve), log.say, hosts)
    stack.callback(server.close)
    return server


def summary(slot: Slot, tally: Tally) -> str:
    """What became of the frames of a camera."""
    p50_ms, p99_ms = tally.percentile_ms(50), tally.percentile_ms(99)
    parts = [count(slot.frames, "frame"), count(tally.verdicts, "verdict")]
    parts += [f"{tally.anomalous} anomalous", f"{tally.dropped} dropped"]
    if tally.failed:
        parts.append(f"{tally.failed} not scored")
    if slot.waiting:
        parts.append(f"{slot.waiting} left when stopped")
    if p50_ms is not None and p99_ms is not None:
        parts.append(f"latency p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")
    return ", ".join(parts)


def say_saved(say: Say, evidence: Evidence | None) -> None:
    """Say how much evidence was saved."""
    if evidence is not None:
        saved, folder = count(evidence.saved, "verdict"), evidence.folder
        missing = f", {evidence.skipped} not saved" if evidence.skipped else ""
        say("wrote", f"evidence of {saved} to {folder}{missing}")


def say_recorded(say: Say, records: Records | None) -> None:
    """Say how many verdicts were recorded."""
    if records is not None:
        missing = f", {records.skipped} not saved" if records.skipped else ""
        say("wrote", f"{count(records.saved, 'record')} to {records.settings.folder}{missing}")


def end(code: int, output: Output, left: bool) -> int:
    """The exit code, 1 at least when lines were lost; ends the process when a driver holds it.

    Args:
        code: so far.
        output: that had the lines.
        left: whether all drivers came back.
    """
    if output.lost:
        complain(f"{count(output.lost, 'line')} not written to stdout: {output.trouble}")
        code = max(code, 1)
    if not left:  # a driver that does not come back; all that counts is written
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
