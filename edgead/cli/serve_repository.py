"""Write bundles as a model repository that NVIDIA's Triton Inference Server serves.

--form python serves a Detector in Triton's Python backend, on any machine. The other forms are
ensembles: Triton's own backend runs the graph, and edgead what comes before and after it. --check
asks a running server whether it reproduces the golden frames of the bundles.
"""

from __future__ import annotations

import argparse
import shlex

from edgead.bundle.storage import check_outside, open_bundle
from edgead.cli.console import Console, count, print_json
from edgead.cli.options import (
    add,
    add_bit_depth,
    add_color,
    add_false_reject_rate,
    file_path,
    whole,
)
from edgead.errors import InputError
from edgead.files import os_sentence, read_file

EXAMPLE = """\
  edgead serve-repository cell.edgead --out models/
  edgead serve-repository cell.edgead bottle.edgead --out models/ --device cuda --instances 2
  edgead serve-repository cell.edgead --out models/ --form onnx
  edgead serve-repository cell.edgead --check localhost:8001    is it served as it was learnt?"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead serve-repository``."""
    add(parser, "bundles NAME.edgead", "bundles, a model each, called NAME", nargs="+")
    what = parser.add_mutually_exclusive_group(required=True)
    add(what, "--out DIR", "the model repository to write or add to", file_path)
    text = "instead ask a running server (gRPC) to score the golden frames, and compare"
    add(what, "--check HOST:PORT", text)
    parser.add_argument(
        "--form",
        choices=("python", "onnx", "openvino", "tensorrt"),
        default="python",
        help="a Detector in Python, or an ensemble around the graph (default: %(default)s)",
    )
    add(parser, "--plan FILE", "the TensorRT plan, of edgead build --out, for --form tensorrt")
    text = "cpu, cuda (Triton deals the GPUs out) or cuda:N, of --form python (default: cpu)"
    add(parser, "--device DEVICE", text, default="cpu")
    add(parser, "--precision NAME", "float32, float16, bfloat16 or int8 (default: the device's)")
    add(parser, "--threads N", "threads of each engine", whole)
    add(parser, "--instances N", "processes that work side by side (default: 1)", whole, default=1)
    text = "frames that Triton puts together at most (default: %(default)s)"
    add(parser, "--batch N", text, whole, default=8)
    add_color(parser)
    add_bit_depth(parser)
    add_false_reject_rate(parser)
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Write the repository, or check a server."""
    console = Console(json_on_stdout=args.json)
    bundles = [open_bundle(name) for name in args.bundles]
    if args.check is not None:
        from edgead.scale.triton.check import check_server

        checked = check_server(args.check, bundles)
        for name, found in checked.items():
            console.say(
                f"golden {name}: {count(found['frames'], 'frame')} reproduced, scores at most "
                f"{found['score_difference']:.3g} apart (tolerance {found['tolerance']:.3g})"
            )
        if args.json:
            print_json({"checked": checked})
        console.next(f"python examples/triton_client.py {args.check} {next(iter(checked))} IMAGE")
        return 0
    return _write(args, bundles, console)


def _write(args: argparse.Namespace, bundles: list, console: Console) -> int:  # type: ignore[type-arg]
    from edgead.scale.triton.repository import RepositoryOptions, write_repository

    check_outside(args.out, "--out")
    plan = None
    if args.plan is not None:
        if len(bundles) > 1:
            raise InputError("--plan with several bundles: a plan is of one; write them in turns")
        try:
            plan = read_file(args.plan)
        except OSError as error:
            raise InputError(f"--plan: {os_sentence(error)}") from error
    options = RepositoryOptions(
        form=args.form,
        device=args.device,
        precision=args.precision,
        color=args.color,
        bit_depth=args.bit_depth,
        false_reject_rate=args.false_reject_rate,
        threads=args.threads,
        instances=args.instances,
        batch=args.batch,
        plan=plan,
    )
    written = write_repository(bundles, args.out, options)
    for name, folders in written.items():
        console.say(f"wrote  {name}: {count(len(folders), 'model')}, form {args.form}")
    backends = {"python": "python", "onnx": "onnxruntime"}
    needs = ["python"] + ([] if args.form == "python" else [backends.get(args.form, args.form)])
    console.say(
        f"needs  a Triton with {' and '.join(f'its backend {one}' for one in needs)}, whose Python "
        "has edgead: install it there"
    )
    if args.json:
        models = {name: [str(folder) for folder in all_] for name, all_ in written.items()}
        print_json({"models": models, "form": args.form, "backends": needs})
    console.next(f"tritonserver --model-repository {shlex.quote(str(args.out.resolve()))}")
    return 0
