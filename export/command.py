"""Turn a training run into a bundle NAME.edgead.

Writes the graph as ONNX in float32 and float16, compares both with the trained model on the
calibration images, and writes nothing unless map, score and verdicts agree. With --precision int8
an int8 graph goes in too, which is faster on a CPU, unless it costs too much: what it costs is
measured on the calibration images and on synthetic defects.
"""

from __future__ import annotations

import argparse
import shlex

from edgead.bundle.storage import Bundle
from edgead.cli.console import Console, count, percent, print_json
from edgead.cli.options import add, add_card, number, told_for_card, whole
from edgead.errors import MissingExtraError
from edgead.installation import cure, missing

from .options import OPSET, ExportOptions

EXAMPLE = """\
  edgead export runs/cell --out cell.edgead
  edgead export runs/cell --out cell.edgead --false-reject-rate 0.01
  edgead export runs/cell --out cell.edgead --with instant
  edgead export runs/cell --out cell.edgead --precision int8
  edgead export runs/cell --out cell.edgead --data /new/place/cell"""

WARNING = "warning: "  # how a line begins that goes to the JSON too
_NEEDED = ("torch", "onnx", "onnxsim", "onnxruntime", "safetensors", "tqdm")


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead export``."""
    add(parser, "run RUN", "folder that edgead train wrote")
    add(parser, "--out NAME.edgead", "the bundle to write", required=True)
    parser.add_argument("--with", choices=("instant",), dest="joined",
        help="join the method with the statistics of edgead learn, learnt from the images of the "
        "run, in one bundle")
    add(parser, "--data DIR", "where the images of the run are, if they moved since")
    add(parser, "--false-reject-rate RATE",
        "share of good parts that may be called anomalous (default 0.05, or the best that "
        "the calibration images can promise); can be changed later, in Python and in score", number)
    add(parser, "--opset OPSET",
        f"ONNX opset, 16 to 20 (default {OPSET}, which TensorRT 8.5 and later read)",
        whole, default=OPSET)
    add(parser, "--float32-only", "omit the float16 graph")
    parser.add_argument("--precision", choices=("int8",),
        help="add an int8 graph, which edgead score --precision int8 serves")
    add(parser, "--calibration DIR",
        "images of good parts that set the ranges of int8 (default: training images)")
    add_card(parser)
    add(parser, "--json", "one JSON object on stdout")
# fmt: on


def run(args: argparse.Namespace) -> int:
    """Export a run, and say what was read, written and comes next; returns the exit code.

    Raises:
        MissingExtraError: a package of the extra ``train`` is not installed.
        EdgeadError: as ``ExportOptions`` and ``export_run``.
    """
    absent = [name for name in missing("train") if name in _NEEDED]
    if absent:
        raise MissingExtraError(
            f"edgead export needs {', '.join(absent)}, not installed here: {cure('train')}"
        )
    from .exporter import export_run

    console = Console(json_on_stdout=args.json)
    options = ExportOptions(
        false_reject_rate=args.false_reject_rate,
        opset=args.opset,
        float16=not args.float32_only,
        int8=args.precision == "int8",
        calibration=args.calibration,
        data=args.data,
        joined=args.joined == "instant",
        card=told_for_card(args),
    )
    warnings: list[str] = []

    def log(line: str) -> None:
        console.say(line)
        if line.startswith(WARNING):
            warnings.append(line.removeprefix(WARNING))

    bundle = export_run(args.run, args.out, options, log=log)
    calibration, export = bundle.manifest.calibration, bundle.manifest.provenance["export"]
    counted, unit = calibration.counted()
    of_parts = f" of {count(counted, 'part')}" if unit == "parts" else ""
    console.say(
        f"       {count(len(calibration.scores), 'calibration score')}{of_parts}, "
        f"false-reject rate {percent(calibration.false_reject_rate)}, "
        f"digest {bundle.sha256[:12]}"
    )
    if args.json:
        summary = {
            "path": str(bundle.path),
            "bundle_sha256": bundle.sha256,
            "calibration_images": len(calibration.scores),
            "false_reject_rate": calibration.false_reject_rate,
            "warnings": warnings,
        }
        kept = ("opset", "comparison", "half_peak", "int8")
        print_json(summary | {key: export[key] for key in kept if key in export})
    console.next(_next_command(bundle, args.out))
    return 0


def _next_command(bundle: Bundle, out: str) -> str:
    """Evaluation, where the data has a place for a test set; a plain folder of images has none."""
    data = bundle.manifest.provenance.get("data", {})
    if data.get("layout") == "folder":
        return f"edgead score {shlex.quote(out)} IMAGE"
    category = data.get("category")
    chosen = "" if category is None else f" --category {shlex.quote(category)}"
    return f"edgead evaluate {shlex.quote(out)} DATA{chosen}"
