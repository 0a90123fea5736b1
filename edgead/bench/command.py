"""Measure how long bundles take on this machine, and say whether to believe the numbers.

Closed loop (the next frame comes when the last one is done), in turns when there are several; with
--hz also open loop, at a camera's cadence; cold starts in processes of their own. Exit code 4 over
the --budget-ms, 5 when --compare finds something slower. --throughput measures frames per second
instead: of one Detector, of several, and in batches.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from edgead.cli.main import Parser, guard
from edgead.cli.options import COLOR, add, add_bit_depth, number, whole
from edgead.installation import __version__

EXAMPLE = """\
example:
  edgead-bench cell.edgead --images parts/ --json now.json --html now.html
  edgead-bench cell.edgead --images parts/ --hz 30 --minutes 10
  edgead-bench cell.edgead --images parts/ --budget-ms 33 --percentile 99 || echo too slow
  edgead-bench cell.edgead --images parts/ --compare before.json
  edgead-bench new.edgead old.edgead --images parts/ --threads 1 --threads 2
  edgead-bench cell.edgead --images parts/ --hz 30 --native
  edgead-bench cell.edgead --images parts/ --throughput --detectors 2 --detectors 4"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``edgead-bench`` and return its exit code.

    Args:
        argv: the arguments; None for those of the process
    """
    return guard(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(words: list[str]) -> int:
    args = _parser().parse_args(words)
    if args.throughput:
        from edgead.bench import throughput

        return throughput.run(args)
    from edgead.bench.run import run  # NumPy is loaded here, not by --help

    return run(args)


def _parser() -> Parser:
    parser = Parser("edgead-bench", __doc__ or "", EXAMPLE)
    parser.add_argument("--version", action="version", version=f"edgead {__version__}")
    add(parser, "bundles NAME.edgead", "bundles, measured side by side", nargs="+")
    text = "image files or folders of them (default: the first bundle's golden frames)"
    add(parser, "--images IMAGE", text, nargs="+", default=[])
    _add_loops(parser.add_argument_group("what is measured"))
    _add_throughput(parser.add_argument_group("throughput"))
    _add_engine(parser.add_argument_group("on what"))
    _add_results(parser.add_argument_group("what comes of it"))
    return parser


def _add_loops(group: argparse._ArgumentGroup) -> None:
    add(group, "--repeats N", "turns (default: %(default)s)", whole, default=1000)
    add(group, "--minutes M", "a sustained run of M minutes, per loop", number)
    add(group, "--hz H", "also open loop, H frames per second", number)
    text = "calls of each bundle before the first sample (default: %(default)s)"
    add(group, "--warm-up N", text, whole, default=20)
    text = "fresh processes, each timed to its first verdict (default: %(default)s)"
    add(group, "--cold-starts N", text, whole, default=3)


def _add_throughput(group: argparse._ArgumentGroup) -> None:
    text = "measure frames per second instead, 10 s or --minutes each way; --hz: cameras of that"
    add(group, "--throughput", text)
    text = "Detectors side by side; may be given again (default: one for each core)"
    add(group, "--detectors N", text, whole, action="append")
    text = "threads that share a Detector; may be given again (default: one for each core)"
    add(group, "--callers N", text, whole, action="append")
    text = "frames of one call of the graph alone; may be given again (default: 4)"
    add(group, "--batch N", text, whole, action="append")


def _add_engine(group: argparse._ArgumentGroup) -> None:
    text = "auto, cpu or cuda[:N]; may be given again, to measure side by side (default: auto)"
    add(group, "--device DEVICE", text, action="append")
    text = "float32, float16, bfloat16 or int8; may be given again (default: the device's own)"
    add(group, "--precision NAME", text, action="append")
    text = "threads of the engine; may be given again (default: the engine's choice)"
    add(group, "--threads N", text, whole, action="append")
    colors = ("bgr", "rgb", "gray")
    group.add_argument("--color", choices=colors, default=COLOR, help="as edgead score")
    add_bit_depth(group, "the first bundle's, else 16")
    text = (
        "beside each, libedgead: the same in C, as built by make c-library or installed in FOLDER "
        "(default: build/c, else those on PATH)"
    )
    add(group, "--native FOLDER", text, nargs="?", const="build/c")


def _add_results(group: argparse._ArgumentGroup) -> None:
    text = "write all numbers and samples to FILE; without FILE, print one JSON object"
    add(group, "--json FILE", text, nargs="?", const="-")
    add(group, "--csv FILE", "write all samples to FILE")
    add(group, "--html FILE", "write a page with charts to FILE")
    add(
        group,
        "--compare OLD.json",
        "exit with 5 when the first bundle became slower, beyond noise, since an older --json",
    )
    add(
        group,
        "--budget-ms MS",
        "exit with 4 when the --percentile is above: of the open loop's latency with --hz, else of "
        "a frame end to end",
        number,
    )
    text = "the percentile that counts (default: %(default)g)"
    add(group, "--percentile P", text, number, default=99.0)
