"""Check a bundle's files against their digests, then qualify its engines on this machine.

Qualified means: every golden frame in the bundle gives the score and the map that the bundle
promises, within the tolerance of the engine's precision. All engines are tried for which the bundle
has a graph and this machine a device, or the one that --device and --precision ask for. Exit code 2
when one is not qualified. Detector and edgead score do the same before they serve; this command
shows the numbers. With --trust, the bundle has to be signed by a key of that list; without it,
signatures that are there have to fit.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from edgead._cpu import GoldenCheck, Signed
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cli.console import Console, count, print_json, table
from edgead.cli.options import DEVICE, add, add_engine, add_trust
from edgead.engine.interface import Engine
from edgead.errors import DeviceError
from edgead.nvidia.kernels import PRECISION
from edgead.serving.choice import obstacle
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import causes, changed_verdicts, check_golden
from edgead.signing.trust import check_signature, read_trusted_keys

EXAMPLE = """\
  edgead verify cell.edgead            after copying a bundle, or after an update of OpenVINO
  edgead verify cell.edgead --precision bfloat16
  edgead verify cell.edgead --json     for programs"""

# Of a check, in --json.
CHECK = ("image", "passed", "score", "expected_score", "score_difference", "map_difference")


@dataclass(frozen=True)
class Verified:
    """What the golden frames say of one engine; ``seconds`` to open it and to score them."""

    engine: Engine
    checks: tuple[GoldenCheck, ...]
    changed: int  # verdicts
    seconds: float

    @property
    def qualified(self) -> bool:
        """Whether every golden frame is within the tolerance."""
        return all(check.passed for check in self.checks)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead verify``."""
    add(parser, "engine NAME.edgead", "the bundle")
    add(parser, "--json", "one JSON object a line, per engine")
    add_engine(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Compare every golden frame on every engine; 2 when one is over the tolerance."""
    console = Console(json_on_stdout=args.json)
    bundle = open_bundle(args.engine)
    console.say(f"read   {args.engine}, {count(len(bundle.manifest.files), 'file')}, all intact")
    signed = check_signature(bundle, read_trusted_keys(args.trust) if args.trust else None)
    _tell_signature(console, signed)
    failed = False
    for one in _verify(bundle, args, console):
        failed |= not one.qualified
        if args.json:
            print_json({**_to_json(bundle, one), "signature": _signature(signed)}, indent=None)
        else:
            _tell(console, one)
        del one  # and its engine, before the next plan is built: a Jetson's memory is small
    name = shlex.quote(args.engine)
    console.next(f"edgead verify {name}" if failed else f"edgead score {name} IMAGE")
    return 2 if failed else 0


def _tell_signature(console: Console, signed: Signed | None) -> None:
    if signed is None:
        console.say("not signed")
        return
    name = f" ({signed.name})" if signed.name else ""
    trusted = "trusted" if signed.trusted else "fits; --trust KEYS says whether it is trusted"
    console.say(f"signed by {signed.by}{name}, counter {signed.counter}: {trusted}")


def _signature(signed: Signed | None) -> dict[str, Any]:
    """``signature`` of ``--json``: no signer is trusted without a list."""
    if signed is None:
        return {"signed_by": None, "trusted": False, "counter": None, "keys": []}
    found = {"signed_by": signed.by, "trusted": signed.trusted, "counter": signed.counter}
    return {**found, "keys": list(signed.keys)}


def _verify(bundle: Bundle, args: argparse.Namespace, console: Console) -> Iterator[Verified]:
    """One engine after the other; what this machine cannot run is named and left out."""
    if args.device != DEVICE or args.precision is not None:
        yield _verify_engine(bundle, args.device, args.precision, args.threads)
        return
    yield _verify_engine(bundle, "cpu", "float32", args.threads)  # there is always this one
    for precision in bundle.manifest.models:
        if precision != "float32":
            try:
                yield _verify_engine(bundle, "cpu", precision, args.threads)
            except DeviceError as error:
                console.say(f"not here: {error}")
    absent = obstacle(bundle)
    if absent is not None:
        console.say(f"not here: a GPU: {absent}")
        return
    failed: DeviceError | None = None
    for precision in sorted(bundle.manifest.models, key=lambda one: one != PRECISION):
        try:
            yield _verify_engine(bundle, "cuda", precision, args.threads)
        except DeviceError as error:
            said = f"the GPU in {precision}: {error}"
            if precision == PRECISION:  # what device="auto" takes: raised when all were tried
                failed = DeviceError(said)
            else:
                console.say(f"not here: {said}")
    if failed is not None:
        raise failed


def _verify_engine(
    bundle: Bundle, device: str, precision: str | None, threads: int | None
) -> Verified:
    started = perf_counter()
    engine = open_engine(bundle, device, threads, precision=precision)
    checks = check_golden(bundle, engine)
    spent = perf_counter() - started
    return Verified(engine, checks, changed_verdicts(bundle, engine.precision, checks), spent)


def _tell(console: Console, one: Verified) -> None:
    engine, checks, tolerance = one.engine, one.checks, one.checks[0].tolerance
    console.say(f"engine {engine.device}, {engine.precision}, {engine.version}")
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
    console.say(
        f"tolerance: score {tolerance.score:.2g}, map {tolerance.map:.2g}; "
        f"{count(one.changed, 'verdict')} changed"
    )
    if one.qualified:
        console.say(console.paint(f"qualified on {count(len(checks), 'golden frame')}", "green"))
        return
    said = "not qualified: the output differs from what the bundle promises"
    console.say(console.paint(said, "red"))
    for cause in causes(engine.precision):
        console.say(f"  {cause}")


def _to_json(bundle: Bundle, one: Verified) -> dict[str, Any]:
    """A line of ``--json``."""
    tolerance = one.checks[0].tolerance
    return {
        "engine": one.engine.version.split()[0],
        "precision": one.engine.precision,
        "golden": len(one.checks),
        "max_score_error": max(check.score_difference for check in one.checks),
        "verdicts_changed": one.changed,
        "qualified": one.qualified,
        "device": one.engine.device,
        "version": one.engine.version,
        "bundle_sha256": bundle.sha256,
        "max_map_error": max(check.map_difference for check in one.checks),
        "tolerance": {"score": tolerance.score, "map": tolerance.map},
        "seconds": one.seconds,
        "checks": [{key: getattr(check, key) for key in CHECK} for check in one.checks],
    }
