"""Write a backbone file: a frozen network as ONNX, with all that is needed to learn with it.

lite0, lite1 and lite2 are EfficientNet-Lite with ImageNet weights. Any ONNX graph that gives
feature maps can be used as well: name the values that are features, and how its images are
normalised.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgead.bundle.storage import check_outside
from edgead.cli.console import Console, print_json
from edgead.cli.options import add, number
from edgead.errors import ExportError, MissingExtraError, shortened
from edgead.installation import cure, missing

if TYPE_CHECKING:
    from edgead.learning.backbone import Backbone

EXAMPLE = """\
  edgead backbone lite0 --out lite0.onnx
  edgead backbone lite0 --strides 4,8,16 --out fine.onnx
  edgead backbone mine.onnx --outputs a,b --mean 0,0,0 --std 1,1,1 --licence MIT --out b.onnx"""

_NEEDED = ("torch", "onnx", "onnxsim", "onnxruntime")
_FOR_A_FILE = ("outputs", "mean", "std", "licence")


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead backbone``."""
    add(parser, "network NETWORK", "lite0, lite1, lite2, or an ONNX file")
    add(parser, "--out FILE.onnx", "the backbone file to write", required=True)
    add(parser, "--strides S,S",
        "of lite0, lite1 and lite2: the levels that are used, of 4, 8 and 16 (default: 8,16)")
    add(parser, "--outputs NAME,NAME",
        "of an ONNX file: the values that are features, [N, C, H / stride, W / stride]")
    add(parser, "--mean R,G,B", "of an ONNX file: mean it was trained with, white is 1")
    add(parser, "--std R,G,B", "of an ONNX file: standard deviation, likewise")
    add(parser, "--licence TEXT", "of an ONNX file: of its weights")
    add(parser, "--json", "one JSON object on stdout")
# fmt: on


def run(args: argparse.Namespace) -> int:
    """Write the file and say what is in it; returns the exit code.

    Raises:
        MissingExtraError: a package of the extra ``train``, or weights, are not installed.
        ExportError: options that contradict each other, or a graph that cannot be used.
    """
    absent = [name for name in missing("train") if name in _NEEDED]
    if absent:
        raise MissingExtraError(
            f"edgead backbone needs {', '.join(absent)}, not installed here: {cure('train')}"
        )
    from . import backbone

    check_outside(args.out, "--out")
    given = [name for name in _FOR_A_FILE if getattr(args, name) is not None]
    if args.network.endswith(".onnx"):
        absent = [f"--{name}" for name in _FOR_A_FILE if name not in given]
        if absent or args.strides is not None:
            wrong = f"lacks {', '.join(absent)}" if absent else "takes --outputs, not --strides"
            raise ExportError(
                f"{args.network} {wrong}: an ONNX file does not say which values are features, how "
                "its images are normalised and what its licence is"
            )
        mean, std = (_triple(f"--{name}", getattr(args, name)) for name in ("mean", "std"))
        name = args.network.replace("\\", "/").rpartition("/")[2].removesuffix(".onnx")
        described = backbone.Described(name, mean, std, args.licence, f"{name}.onnx")
        found = backbone.write_onnx(args.network, args.outputs.split(","), args.out, described)
    else:
        if given:
            raise ExportError(
                f"--{given[0]} describes an ONNX file, and {args.network} is not one; leave it out"
            )
        strides = _numbers("--strides", args.strides or "8,16")
        found = backbone.write_lite(args.network, args.out, [int(stride) for stride in strides])
    _say(args, found)
    return 0


def _say(args: argparse.Namespace, found: Backbone) -> None:
    console, facts = Console(json_on_stdout=args.json), found.facts
    levels = ", ".join(f"{level.channels} at stride {level.stride}" for level in facts.levels)
    console.say(
        f"wrote  {args.out} ({len(found.model) / 1e6:.1f} MB): {facts.name}, channels {levels}; "
        f"images in multiples of {facts.multiple}; licence {facts.licence}"
    )
    if args.json:
        print_json({"path": args.out, "bytes": len(found.model), **facts.to_json()})


def _triple(option: str, text: str) -> tuple[float, float, float]:
    values = _numbers(option, text)
    if len(values) != 3:
        raise ExportError(f"{option} {shortened(text)}: expected three numbers, of R, G and B")
    return values[0], values[1], values[2]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [number(part) for part in text.split(",")]
    except argparse.ArgumentTypeError as error:
        raise ExportError(
            f"{option} {shortened(text)}: expected finite numbers with commas between them"
        ) from error
