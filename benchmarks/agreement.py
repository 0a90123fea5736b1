"""Image AUROC and verdicts of the trained model, of its ONNX files and of the bundle.

    python benchmarks/agreement.py RUN NAME.edgead DATA [--check] [--json FILE]

Every test frame passes torch, onnxruntime on model.onnx and model.fp16.onnx (where the bundle has
it), and the engine that a Detector uses; the calibration images too, for their verdicts at the
bundle's false-reject rate. With --check, exit code 4 says that an AUROC is 0.002 or more from
torch's, or that a float32 path gives another verdict.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from edgead_export.paths import without_paths
from edgead_export.variants import engine_path, one_thread, onnx_path, torch_path
from edgead_training.data import Sample, open_dataset
from edgead_training.evaluation.metrics import auroc
from edgead_training.run import Run, load_run

from edgead import EdgeadError
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, open_bundle
from edgead.calibration import threshold
from edgead.errors import DataError
from edgead.files import write_file
from edgead.images import read_image
from edgead.serving.open_engine import open_engine

BOUND = 0.002


def main() -> int:
    """Parse, score, print; see the module's docstring for the exit code."""
    args = _arguments()
    try:
        samples = open_dataset(args.data, purpose="evaluate").test
        found = measure(load_run(args.run), open_bundle(args.bundle), samples)
    except EdgeadError as error:
        print(f"agreement: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{'path':<28} {'precision':<10} {'image AUROC':>11} {'largest difference':>19} "
        f"{'other verdicts':>15}"
    )
    for row in found["paths"]:
        print(
            f"{row['path']:<28} {row['precision']:<10} {row['image_auroc']:>11.4f} "
            f"{row['largest_score_difference']:>19.2e} {row['changed_verdicts']:>15}"
        )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_file(args.json, (json.dumps(found, indent=2) + "\n").encode())
    changed = any(r["changed_verdicts"] for r in found["paths"] if r["precision"] == "float32")
    return 4 if args.check and (found["auroc_spread"] >= BOUND or changed) else 0


def measure(run: Run, bundle: Bundle, samples: tuple[Sample, ...]) -> dict[str, Any]:
    """Every path on the test ``samples`` (AUROC, distance from torch's scores) and on the
    calibration images of ``run`` (how many verdicts are not torch's).

    Raises: DataError for a bundle of another run, or samples of one kind only.
    """
    manifest = bundle.manifest
    made_from = json.loads(json.dumps(without_paths(run.provenance)))
    if made_from != {key: manifest.provenance.get(key) for key in made_from}:
        raise DataError(f"{bundle.path} was not made from {run.path}; export that run first")
    defective = np.array([not sample.is_good for sample in samples])
    if defective.all() or not defective.any():
        raise DataError(
            "the test images are of one kind only; an AUROC wants good and defective ones"
        )
    paths = [torch_path(run.method), onnx_path(bundle.read("model.onnx"), "float32", bundle)]
    if "model.fp16.onnx" in manifest.files:
        paths.append(onnx_path(bundle.read("model.fp16.onnx"), "float16", bundle))
    paths.append(engine_path(open_engine(bundle), bundle))
    with one_thread():
        scores, held_out = (
            np.array([[p.run(read_image(s.path))[1] for s in part] for p in paths])
            for part in (samples, run.calibration)
        )
    verdicts = held_out > _threshold(manifest)
    rows = [
        {
            "path": path.name,
            "precision": path.precision,
            "image_auroc": auroc(row, defective),
            "largest_score_difference": float(np.abs(row - scores[0]).max()),
            "changed_verdicts": int((verdict != verdicts[0]).sum()),
        }
        for path, row, verdict in zip(paths, scores, verdicts, strict=True)
    ]
    areas = [row["image_auroc"] for row in rows]
    return {
        "paths": rows,
        "frames": len(samples),
        "calibration_images": len(run.calibration),
        "auroc_spread": max(abs(area - areas[0]) for area in areas),
    }


def _threshold(manifest: Manifest) -> float:
    """Above it a Detector calls a frame anomalous."""
    held = manifest.calibration
    ties = manifest.tolerance["float32"].score
    return threshold(held.scores, held.false_reject_rate, ties, held.parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("bundle", type=Path, metavar="NAME.edgead")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--check", action="store_true", help="exit code 4 over the bound")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
