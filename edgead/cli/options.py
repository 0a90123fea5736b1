"""Options that several commands have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from edgead.errors import InputError

COLOR, DEVICE = "bgr", "auto"  # defaults


def add(
    parser: argparse._ActionsContainer, words: str, text: str, kind: Any = str, **more: Any
) -> None:
    """Add an argument: ``add(parser, "--threads N", "threads of the engine", int)``.

    Args:
        parser: of a command, or one of its groups
        words: name and metavar; an option without a metavar is a flag
        text: the help
        kind: converts the value
        more: of ``add_argument``
    """
    name, *metavar = words.split(maxsplit=1)
    given = {"metavar": metavar[0], "type": kind} if metavar else {"action": "store_true"}
    parser.add_argument(name, help=text, **{**given, **more})


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--device, --precision and --threads."""
    add_device(parser)
    text = "float32, float16, bfloat16 or int8 (default: the device's own, float32 on the CPU)"
    add(parser, "--precision NAME", text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    text = "auto, cpu or cuda[:N] (default: %(default)s)"
    add(parser, "--device DEVICE", text, default=DEVICE)
    add(parser, "--threads N", "threads of the engine", int)


def add_color(parser: argparse.ArgumentParser) -> None:
    """--color."""
    parser.add_argument(
        "--color",
        choices=("bgr", "rgb", "gray"),
        default=COLOR,
        help="order of the channels after decoding: bgr is right for every usual source; rgb where "
        "red and blue were swapped; gray refuses colour (default: %(default)s)",
    )


def add_bit_depth(
    parser: argparse._ActionsContainer, default: str = "the bundle's, else 16"
) -> None:
    """--bit-depth."""
    text = "bits that the camera gives in uint16, 9 to 16; with 12, white is 4095 (default: "
    add(parser, "--bit-depth N", f"{text}{default})", int)


def add_false_reject_rate(parser: argparse.ArgumentParser) -> None:
    """--false-reject-rate."""
    text = "share of good frames that may be called anomalous (default: the bundle's)"
    add(parser, "--false-reject-rate RATE", text, float)


def add_detector(parser: argparse.ArgumentParser) -> None:
    """What ``detector_settings`` reads."""
    add_false_reject_rate(parser)
    add_color(parser)
    add_bit_depth(parser)
    add_engine(parser)
    add(parser, "--digests", "add digests of each stage to the JSON, for edgead replay")


def detector_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``Detector`` that the options of ``add_detector`` ask for."""
    names = ("device", "color", "bit_depth", "false_reject_rate", "threads", "precision", "digests")
    return {name: getattr(args, name) for name in names}


def target_file(given: str, option: str) -> None:
    """Refuse a file that cannot be written, before minutes of work are spent on its content.

    Args:
        given: the path behind `option`; a pipe or a device, as /dev/stdout, is fine

    Raises:
        InputError: a folder, a file in a folder that does not exist or cannot be written to.
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
