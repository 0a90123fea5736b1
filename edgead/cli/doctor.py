"""Say what edgead finds on this machine: what was built, what can serve, what is not installed.

Exit code 2 when frames cannot be scored here; something optional that is missing is only said.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from edgead.cli.console import Console, count, print_json
from edgead.cli.machine import Finding, findings

EXAMPLE = """\
  edgead doctor            for people
  edgead doctor --json     for programs"""

STYLES = {"ok": "green", "missing": "yellow", "broken": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead doctor``."""
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 2 when something that is needed is broken."""
    found = findings()
    can_score = all(finding.state != "broken" for finding in found)
    if args.json:
        print_json({"can_score": can_score, "findings": [asdict(finding) for finding in found]})
    else:
        _tell(Console(), found, can_score)
    return 0 if can_score else 2


def _tell(console: Console, found: list[Finding], can_score: bool) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        state = console.paint(f"{finding.state:<7}", STYLES[finding.state])
        console.say(f"{state}  {finding.name:<{width}}  {finding.detail}")
        if finding.cure:
            console.say(f"{'':<9}{'':<{width}}  cure: {finding.cure}")
    missing = sum(finding.state == "missing" for finding in found)
    console.say()
    if can_score:
        console.say(f"This machine can score frames; {count(missing, 'optional part')} not usable.")
        console.next("edgead verify NAME.edgead")
    else:
        console.say("This machine cannot score frames: cure what is broken above.")
        console.next("edgead doctor")
