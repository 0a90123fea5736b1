"""Write a backbone file: a frozen network as ONNX, with all that is needed to learn with it.

lite0, lite1 and lite2 are EfficientNet-Lite with ImageNet weights. Any ONNX graph that gives
feature maps can be used as well: name the values that are features, and how its images are
normalised.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from edgead.cli.console import Console, print_json
from edgead.errors import ExportError, MissingExtraError
from edgead.installation import cure, missing

if TYPE_CHECKING:
    from edgead.learning.backbone import Backbone

EXAMPLE = """\
  edgead backbone lite0 --out lite0.onnx
  edgead backbone lite0 --strides 4,8,16 --out fine.onnx
  edgead backbone mine.onnx --outputs layer2,layer3 --mean 0.485,0.456,0.406 \\
      --std 0.229,0.224,0.225 --licence MIT --out backbone.onnx"""

_NEEDED = ("torch", "onnx", "onnxsim", "onnxruntime")
_FOR_A_FILE = ("outputs", "mean", "std", "licence")


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead backbone``."""
    add = parser.add_argument
    add("network", metavar="NETWORK", help="lite0, lite1, lite2, or an ONNX file")
    add("--out", metavar="FILE.onnx", required=True, help="the backbone file to write")
    add("--strides", metavar="S,S",
        help="of lite0, lite1 and lite2: the levels that are used, of 4, 8 and 16 (default 8,16)")
    add("--outputs", metavar="NAME,NAME",
        help="of an ONNX file: the values that are features, [N, C, H / stride, W / stride]")
    add("--mean", metavar="R,G,B", help="of an ONNX file: mean it was trained with, white is 1")
    add("--std", metavar="R,G,B", help="of an ONNX file: standard deviation, likewise")
    add("--licence", metavar="TEXT", help="of an ONNX file: of its weights")
    add("--json", action="store_true", help="one JSON object on stdout")
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
            raise ExportError(f"--{given[0]} is of an ONNX file, and {args.network} is not one")
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
        raise ExportError(f"{option} {text}: expected three numbers, of R, G and B")
    return values[0], values[1], values[2]


def _numbers(option: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise ExportError(f"{option} {text}: expected finite numbers with commas between them")
    return values
