"""How long TensorRT-RTX builds each method's float16 graph ahead of time, and what is in it.

    python benchmarks/plans.py [--methods redi ssae] [--opset 16] [--json FILE]

Each method is exported untrained at its default size, with the batch 1 to 8: training changes
weights, not operators. Seconds are those of the build alone, the export not counted: on the clock,
which other work on the machine lengthens, and of the processor. No GPU is needed or used. A compute
capability that a graph does not build for is named with the reason.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import process_time
from typing import Any

import torch
from edgead_export.graph import half
from edgead_export.onnx import to_onnx
from edgead_training.methods import METHODS

from edgead.cpu.processor import cores, processor_name
from edgead.errors import DeviceError
from edgead.files import write_file
from edgead.nvidia.plans.builder import OnnxGraph, build_plan
from edgead.nvidia.plans.library import Library, find_library

GENERATIONS = (75, 80, 86, 89, 120)


def main() -> None:
    """Parse, build, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=sorted(METHODS))
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    library = find_library("rtx")
    print(f"{library} on {processor_name()}, {cores()} cores")
    found = []
    for name in args.methods:
        found.append(measure(library, name, args.opset))
        tell(found[-1])
    if args.json:
        text = json.dumps({"library": str(library), "plans": found}, indent=1)
        write_file(args.json, text.encode())


def measure(library: Library, name: str, opset: int) -> dict[str, Any]:
    """One graph: built for all that RTX covers by itself, then for each generation alone."""
    graph = export(name, opset)
    began = process_time()
    built = build_plan(graph, library, "float16")
    processor = process_time() - began
    generations: dict[str, Any] = {}
    for capability in GENERATIONS:
        try:
            one = build_plan(graph, library, "float16", capabilities=(capability,))
            generations[f"sm_{capability}"] = round(one.seconds, 2)
        except DeviceError as error:
            generations[f"sm_{capability}"] = str(error)
    return {
        "method": name,
        "opset": opset,
        "image": list(graph.image[1]),
        "seconds": round(built.seconds, 2),
        "processor_seconds": round(processor, 2),
        "plan_bytes": len(built.plan),
        "tensors": built.census.tensors,
        "products": built.census.products,
        "float32_products": list(built.census.float32_products),
        "generations": generations,
    }


def export(name: str, opset: int) -> OnnxGraph:
    """The float16 graph of an untrained method, as edgead export writes it."""
    torch.manual_seed(0)
    method = METHODS[name].from_settings({}, 16).eval()
    image = ("image", (3, *method.preprocess_params().size))
    return OnnxGraph(to_onnx(half(method), opset), image, method.tensors())


def tell(found: dict[str, Any]) -> None:
    """Some lines for people."""
    height, width = found["image"][1:]
    print(
        f"\n{found['method']}, opset {found['opset']}, {height} x {width}: {found['seconds']} s "
        f"({found['processor_seconds']} s of the processor), plan of "
        f"{found['plan_bytes'] / 1e6:.1f} MB"
    )
    print(f"  tensors   {found['tensors']}")
    print(f"  products  {found['products']}, in float32: {found['float32_products'] or 'none'}")
    for capability, seconds in found["generations"].items():
        print(f"  {capability:<9} {seconds if isinstance(seconds, str) else f'{seconds} s'}")


if __name__ == "__main__":
    main()
