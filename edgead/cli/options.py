"""Options that several commands have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgead.errors import InputError

if TYPE_CHECKING:
    from edgead.detector import Detector

COLOR, DEVICE = "bgr", "auto"  # defaults


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--device, --precision and --threads."""
    add_device(parser)
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="float32, float16, bfloat16 or int8 (default: the device's own, float32 on the CPU)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    parser.add_argument(
        "--device", default=DEVICE, help="auto, cpu or cuda[:N] (default: %(default)s)"
    )
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the engine")


def add_color(parser: argparse.ArgumentParser) -> None:
    """--color."""
    parser.add_argument(
        "--color",
        choices=("bgr", "rgb", "gray"),
        default=COLOR,
        help="order of the channels after decoding: bgr is right for every usual source; rgb where "
        "red and blue were swapped; gray refuses colour (default: %(default)s)",
    )


def add_false_reject_rate(parser: argparse.ArgumentParser) -> None:
    """--false-reject-rate."""
    parser.add_argument(
        "--false-reject-rate",
        metavar="RATE",
        type=float,
        help="share of good frames that may be called anomalous (default: the bundle's)",
    )


def add_detector(parser: argparse.ArgumentParser) -> None:
    """What ``open_detector`` asks for."""
    add_false_reject_rate(parser)
    add_color(parser)
    add_engine(parser)
    parser.add_argument(
        "--digests",
        action="store_true",
        help="add digests of each stage to the JSON, for edgead replay",
    )


def open_detector(args: argparse.Namespace, bundle: str) -> Detector:
    """The Detector of ``bundle`` that the options of ``add_detector`` ask for."""
    from edgead.detector import Detector

    return Detector(
        bundle,
        device=args.device,
        color=args.color,
        false_reject_rate=args.false_reject_rate,
        threads=args.threads,
        precision=args.precision,
        digests=args.digests,
    )


def target_file(given: str, option: str) -> None:
    """Refuse a file that cannot be written, before minutes of work are spent on what it is to hold.

    Args:
        given: the path behind `option`; a pipe or a device, as /dev/stdout, is fine
    Raises: InputError: a folder, a file in a folder that does not exist or cannot be written to.
    """
    path = Path(given)
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; give a file in it")
    if path.exists() and not path.is_file():
        return
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path}: no permission to write into {path.parent}; use another")
