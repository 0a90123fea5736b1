"""Options that several commands have in common."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.errors import InputError, shortened
from edgead.files import os_sentence, read_file

if TYPE_CHECKING:
    from edgead.tiling import Tiling

MOST = 10**9
"""Of any number: what is more overflows a timeout, a counter of C or a sum of milliseconds."""

COLOR, DEVICE = "bgr", "auto"  # defaults
MOST_NOTES = 2**16  # bytes


def word(text: str) -> str:
    """A text that can be the name of something; for argparse, as the types below.

    Raises:
        argparse.ArgumentTypeError: it is empty, holds a zero byte, or half a character.
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty text, expected a value")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise argparse.ArgumentTypeError(f"{_quoted(text)} holds what no name can hold")
    return text


def file_path(text: str) -> Path:
    """A path of a file or folder; see ``word``."""
    return Path(word(text))


def whole(text: str) -> int:
    """A whole number in digits of ASCII, from -MOST to MOST: ``int`` would take 1_0 and ٣ too."""
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError(f"{_quoted(text)}: expected a whole number, as 12")
    return int(_bounded(text, int(text)))


def number(text: str) -> float:
    """A number in digits of ASCII, from -MOST to MOST, neither infinite nor NaN."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{_quoted(text)}: expected a number, as 0.05")
    return _bounded(text, float(text))


def _bounded(text: str, value: float) -> float:
    if not abs(value) <= MOST:
        raise argparse.ArgumentTypeError(f"{_quoted(text)}: expected at most {MOST:g}")
    return value


def _quoted(text: str) -> str:
    return repr(shortened(text, 60))


def add(
    parser: argparse._ActionsContainer, words: str, text: str, kind: Any = word, **more: Any
) -> None:
    """Add an argument: ``add(parser, "--threads N", "threads of the engine", whole)``.

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
    add(parser, "--threads N", "threads of the engine", whole)


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
    add(parser, "--bit-depth N", f"{text}{default})", whole)


def add_false_reject_rate(parser: argparse.ArgumentParser) -> None:
    """--false-reject-rate."""
    text = "share of good frames that may be called anomalous (default: the bundle's)"
    add(parser, "--false-reject-rate RATE", text, number)


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """--tile and --tile-overlap, as ``tiling`` reads them."""
    add(
        parser,
        "--tile PIXELS",
        "learn from square tiles of the images, and let the bundle see "
        "frames in tiles: for defects much smaller than the frame",
        whole,
    )
    add(
        parser,
        "--tile-overlap PIXELS",
        "of neighbouring tiles, at least (default: an eighth of the tile)",
        whole,
    )


def tiling(args: argparse.Namespace) -> Tiling | None:
    """What ``add_tiles`` asked for; None for frames that are seen whole.

    Raises:
        InputError: an overlap without a tile, or one that does not fit.
    """
    if args.tile is None:
        if args.tile_overlap is not None:
            raise InputError("--tile-overlap without --tile: give the size of the tiles too")
        return None
    from edgead.tiling import Tiling

    overlap = args.tile // 8 if args.tile_overlap is None else args.tile_overlap
    return Tiling((args.tile, args.tile), overlap)


def add_card(parser: argparse._ActionsContainer) -> None:
    """--data-licence and --card, as ``told_for_card`` reads them."""
    text = "of the images, for the bundle's card.md"
    add(parser, "--data-licence TEXT", text)
    add(parser, "--card FILE", "your own words for card.md, in Markdown: use, limits", file_path)


def told_for_card(args: argparse.Namespace) -> dict[str, Any]:
    """What ``add_card`` asked for, as an entry of the provenance; nothing where it was not given.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has more than 64 KiB.
    """
    told = {} if args.data_licence is None else {"data_licence": args.data_licence}
    if args.card is not None:
        try:
            data = read_file(args.card)
        except OSError as error:
            raise InputError(f"--card {args.card}: {os_sentence(error)}") from error
        try:
            told["notes"] = data[: MOST_NOTES + 1].decode()
        except UnicodeDecodeError as error:
            raise InputError(f"--card {args.card} is not text in UTF-8") from error
        if len(data) > MOST_NOTES:
            raise InputError(f"--card {args.card} has {len(data)} bytes; at most 64 KiB are kept")
    return {"card": told} if told else {}


def add_trust(parser: argparse.ArgumentParser) -> None:
    """--trust, the argument ``trusted_keys`` of ``Detector``."""
    add(parser, "--trust KEYS", "a list of keys, one of which has to have signed the bundle")


def add_detector(parser: argparse.ArgumentParser) -> None:
    """What ``detector_settings`` reads."""
    add_false_reject_rate(parser)
    add_color(parser)
    add_bit_depth(parser)
    add_engine(parser)
    add_trust(parser)
    add(parser, "--digests", "add digests of each stage to the JSON, for edgead replay")


def detector_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``Detector`` that the options of ``add_detector`` ask for."""
    names = ("device", "color", "bit_depth", "false_reject_rate", "threads", "precision", "digests")
    return {"trusted_keys": args.trust, **{name: getattr(args, name) for name in names}}


def detector_words(args: argparse.Namespace) -> list[str]:
    """The options of ``add_detector`` that were given, for a command that scores as this one."""
    given = {
        "--false-reject-rate": args.false_reject_rate,
        "--color": None if args.color == COLOR else args.color,
        "--bit-depth": args.bit_depth,
        "--device": None if args.device == DEVICE else args.device,
        "--precision": args.precision,
        "--threads": args.threads,
        "--trust": args.trust,
    }
    return [
        word for name, value in given.items() if value is not None for word in (name, str(value))
    ]


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
