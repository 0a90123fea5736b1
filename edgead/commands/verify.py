"""Check a bundle's files against their digests, then qualify its engine on this machine.

Qualified means: every golden frame in the bundle gives the score and the map that the bundle
promises, within its tolerance. Exit code 2 when one does not. Detector and edgead score do the
same before they serve; this command shows the numbers.
"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from edgead.commands.options import add_engine
from edgead.console import Console, count, print_json, table

if TYPE_CHECKING:
    from edgead.qualification import GoldenCheck

EXAMPLE = """\
  edgead verify cell.edgead            after copying a bundle, or after an update of OpenVINO
  edgead verify cell.edgead --json     for programs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead verify``."""
    parser.add_argument("engine", metavar="NAME.edgead", help="the bundle")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Compare every golden frame; 2 when one is over the tolerance."""
    from edgead.bundle import open_bundle
    from edgead.engine import open_engine
    from edgead.qualification import CAUSES, measure

    bundle = open_bundle(args.engine)
    engine = open_engine(bundle, args.device, args.threads)
    checks = measure(bundle, engine)
    qualified = all(check.passed for check in checks)
    if args.json:
        about = {
            "device": engine.device,
            "precision": engine.precision,
            "version": engine.version,
            "bundle_sha256": bundle.sha256,
        }
        golden = [_check_json(check) for check in checks]
        print_json({"qualified": qualified, "golden": golden, "engine": about})
        return 0 if qualified else 2
    console = Console()
    console.say(f"read   {args.engine}, {count(len(bundle.manifest.files), 'file')}, all intact")
    console.say(f"engine {engine.device}, {engine.precision}, {engine.version}")
    _tell(console, checks)
    name = shlex.quote(str(args.engine))
    if qualified:
        console.say(console.paint(f"qualified on {count(len(checks), 'golden frame')}", "green"))
        console.next(f"edgead score {name} IMAGE")
        return 0
    console.say(console.paint("not qualified: what comes out is not what the bundle says", "red"))
    for cause in CAUSES:
        console.say(f"  {cause}")
    console.next(f"edgead verify {name}")
    return 2


def _tell(console: Console, checks: tuple[GoldenCheck, ...]) -> None:
    rows = [("golden frame", "score", "expected", "score off by", "map off by", "")]
    rows += [
        (
            check.image,
            f"{check.score:.6g}",
            f"{check.expected_score:.6g}",
            f"{check.score_difference:.2g}",
            f"{check.map_difference:.2g}",
            "ok" if check.passed else "over the tolerance",
        )
        for check in checks
    ]
    for line in table(rows, right=(1, 2, 3, 4)):
        console.say(line)
    tolerance = checks[0].tolerance
    console.say(f"tolerance: score {tolerance.score:.2g}, map {tolerance.map:.2g}")


def _check_json(check: GoldenCheck) -> dict[str, Any]:
    return {
        "image": check.image,
        "passed": check.passed,
        "score": check.score,
        "expected_score": check.expected_score,
        "score_difference": check.score_difference,
        "map_difference": check.map_difference,
        "tolerance": {"score": check.tolerance.score, "map": check.tolerance.map},
    }
