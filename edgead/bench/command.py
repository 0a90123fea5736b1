"""Measure how long bundles take on this machine, and say whether to believe the numbers.

Closed loop (the next frame comes when the last one is done), in turns when there are several; with
--hz also open loop, at a camera's cadence; cold starts in processes of their own. Exit code 4 over
the --budget-ms, 5 when --compare finds something slower.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from edgead.cli.main import Parser, guard, version

EXAMPLE = """\
example:
  edgead-bench cell.edgead --images parts/ --json now.json --html now.html
  edgead-bench cell.edgead --images parts/ --hz 30 --minutes 10
  edgead-bench cell.edgead --images parts/ --budget-ms 33 --percentile 99 || echo too slow
  edgead-bench cell.edgead --images parts/ --compare before.json
  edgead-bench new.edgead old.edgead --images parts/ --threads 1 --threads 2"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``edgead-bench``.

    :param argv: the arguments; those of the process when None
    :returns: the exit code
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return guard(lambda: _run(words))


def _run(words: list[str]) -> int:
    args = _parser().parse_args(words)
    from edgead.bench.run import run  # NumPy is loaded here, not by --help

    return run(args)


def _parser() -> Parser:
    parser = Parser(
        prog="edgead-bench",
        description=(__doc__ or "").strip(),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgead {version()}")
    parser.add_argument(
        "bundles", metavar="NAME.edgead", nargs="+", help="bundles, measured side by side"
    )
    parser.add_argument(
        "--images",
        metavar="IMAGE",
        nargs="+",
        default=[],
        help="image files or folders of them (default: the first bundle's golden frames)",
    )
    _add_loops(parser)
    _add_engine(parser)
    _add_results(parser)
    return parser


def _add_loops(parser: Parser) -> None:
    group = parser.add_argument_group("what is measured")
    group.add_argument(
        "--repeats", metavar="N", type=int, default=1000, help="turns (default: %(default)s)"
    )
    group.add_argument(
        "--minutes", metavar="M", type=float, help="a sustained run of M minutes, per loop"
    )
    group.add_argument("--hz", metavar="H", type=float, help="also open loop, H frames per second")
    group.add_argument(
        "--warm-up",
        metavar="N",
        type=int,
        default=20,
        help="calls of each bundle before the first sample (default: %(default)s)",
    )
    group.add_argument(
        "--cold-starts",
        metavar="N",
        type=int,
        default=3,
        help="fresh processes, each timed to its first verdict (default: %(default)s)",
    )


def _add_engine(parser: Parser) -> None:
    group = parser.add_argument_group("on what")
    group.add_argument(
        "--device",
        action="append",
        help="auto, cpu or cuda[:N]; may be given again, to measure side by side (default: auto)",
    )
    group.add_argument(
        "--precision",
        metavar="NAME",
        action="append",
        help="float32, float16, bfloat16 or int8; may be given again (default: the device's own)",
    )
    group.add_argument(
        "--threads",
        metavar="N",
        type=int,
        action="append",
        help="threads of the engine; may be given again (default: the engine's choice)",
    )
    group.add_argument(
        "--color", choices=("bgr", "rgb", "gray"), default="bgr", help="as edgead score"
    )


def _add_results(parser: Parser) -> None:
    group = parser.add_argument_group("what comes of it")
    group.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write all numbers and samples to FILE; without FILE, print one JSON object",
    )
    group.add_argument("--csv", metavar="FILE", help="write all samples to FILE")
    group.add_argument("--html", metavar="FILE", help="write a page with charts to FILE")
    group.add_argument(
        "--compare",
        metavar="OLD.json",
        help="exit with 5 when the first bundle became slower, beyond noise, since an older --json",
    )
    group.add_argument(
        "--budget-ms",
        metavar="MS",
        type=float,
        help="exit with 4 when the --percentile is above: of the open loop's latency with --hz, "
        "else of a frame end to end",
    )
    group.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        default=99.0,
        help="the percentile that counts (default: %(default)g)",
    )
