"""What float16, bfloat16 and int8 change beside float32: maps, AUROC, verdicts, time.

    python benchmarks/precisions.py RUN NAME.edgead DATA [--half] [--turns N] [--json FILE]

NAME.edgead is RUN exported with --precision int8. Every test frame and every calibration image
passes each precision that OpenVINO computes here, model.fp16.onnx in onnxruntime and, with --half,
the model in torch with a GPU's float16 arithmetic, which no engine on a CPU has and which is slow.
What does not qualify is named with the reason. The engine's time is measured in turns, frame by
frame, with one and with two threads. --json adds the result to the list in FILE, in place of one of
the same method and data.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from edgead_export.compare import ScoringPath
from edgead_export.graph import half
from edgead_export.half_arithmetic import HalfArithmetic
from edgead_export.variants import engine_path, half_path, one_thread, onnx_path
from edgead_training.data import Sample, open_dataset, read_mask
from edgead_training.evaluation import metrics
from edgead_training.run import Run, load_run
from numpy.typing import NDArray

from edgead import EdgeadError
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cpu.processor import processor_name
from edgead.engine.interface import PRECISIONS
from edgead.files import write_file
from edgead.images import read_image
from edgead.preprocess import preprocess
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import qualify

WARM_UP = 5


def main() -> int:
    """Parse, measure, print."""
    args = _arguments()
    try:
        run, bundle = load_run(args.run, args.data), open_bundle(args.bundle)
        samples = open_dataset(args.data, purpose="evaluate").test
        found = measure(run, bundle, samples, args.turns, args.half)
    except EdgeadError as error:
        print(f"precisions: {error}", file=sys.stderr)
        return error.exit_code
    found = {"data": args.data.name, **found}
    tell(found)
    if args.json:
        old = json.loads(args.json.read_text()) if args.json.exists() else []
        key = (found["method"], found["data"])
        kept = [one for one in old if (one["method"], one["data"]) != key]
        rows = sorted([*kept, found], key=lambda one: (one["data"], one["method"]))
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_file(args.json, (json.dumps(rows, indent=1) + "\n").encode())
    return 0


def measure(
    run: Run, bundle: Bundle, samples: tuple[Sample, ...], turns: int, with_half: bool
) -> dict[str, Any]:
    """Every way on every frame, float32 first, and the times of those that OpenVINO serves."""
    ways, refused = _ways(run, bundle, with_half)
    with one_thread():
        parts = {
            "test": [_score(way, samples) for way in ways],
            "calibration": [_score(way, run.calibration) for way in ways],
        }
    masks = [_mask(sample, parts["test"][0][0][i].shape) for i, sample in enumerate(samples)]
    served = [way.precision for way in ways if way.name.startswith("OpenVINO")]
    times = {str(n): _times(bundle, served, run.calibration, n, turns) for n in (1, 2)}
    rows = [
        _row(bundle, way, samples, masks, {key: (own[0], own[i]) for key, own in parts.items()})
        for i, way in enumerate(ways)
    ]
    for row in rows:
        if row["way"].startswith("OpenVINO"):
            row["engine_ms"] = {n: found[row["precision"]] for n, found in times.items()}
            row["faster"] = {
                n: {k: found["float32"][k] / ms for k, ms in found[row["precision"]].items()}
                for n, found in times.items()
            }
    return {
        "method": bundle.manifest.method,
        "steps": run.provenance["steps"],
        "processor": processor_name(),
        "test_images": len(samples),
        "calibration_images": len(run.calibration),
        "false_reject_rate": bundle.manifest.calibration.false_reject_rate,
        "rows": rows,
        "refused": refused,
    }


def _ways(run: Run, bundle: Bundle, with_half: bool) -> tuple[list[ScoringPath], dict[str, str]]:
    ways, refused = [], {}
    for precision in PRECISIONS:
        try:
            bundle.manifest.tolerance_of(precision)
            engine = open_engine(bundle, "cpu", 1, precision=precision)
            ways.append(engine_path(engine, bundle))
            qualify(bundle, engine)
        except EdgeadError as error:
            # What is kept goes into the repository: the name says enough there.
            refused[precision] = str(error).replace(str(bundle.path), bundle.path.name)
    if "float16" in bundle.manifest.models:
        data = bundle.read(bundle.manifest.models["float16"])
        ways.append(onnx_path(data, "float16", bundle))
    if with_half:
        ways.append(half_path(half(run.method), HalfArithmetic()))
    return ways, refused


Scored = tuple[list[NDArray[np.float32]], NDArray[np.float64]]


def _score(way: ScoringPath, samples: tuple[Sample, ...]) -> Scored:
    found = [way.run(read_image(sample.path)) for sample in samples]
    return [values.copy() for values, _ in found], np.array([score for _, score in found])


def _mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    if not sample.is_good and sample.mask is None:
        return None
    frame = read_image(sample.path)
    return metrics.resize_mask(read_mask(sample, frame.shape[:2]), size)


def _row(
    bundle: Bundle,
    way: ScoringPath,
    samples: tuple[Sample, ...],
    masks: list[NDArray[np.bool_] | None],
    parts: dict[str, tuple[Scored, Scored]],
) -> dict[str, Any]:
    """One way beside float32. Errors are shares of the spread of the calibration values."""
    held = bundle.manifest.calibration
    maps, scores = parts["test"][1]
    shown = [i for i, mask in enumerate(masks) if mask is not None]
    pixels = np.concatenate([masks[i].ravel() for i in shown])  # type: ignore[union-attr]
    defective = np.array([not sample.is_good for sample in samples])
    (exact_maps, exact), (held_maps, held_scores) = parts["calibration"]
    verdicts = []
    for values, precision in ((exact, "float32"), (held_scores, way.precision)):
        own = bundle.manifest.calibration_of(precision)
        verdicts.append(values > own.limit(held.false_reject_rate))
    gaps = [np.abs(a - b).max() for a, b in zip(exact_maps, held_maps, strict=True)]
    return {
        "way": way.name,
        "precision": way.precision,
        "image_auroc": metrics.auroc(scores, defective),
        "pixel_auroc": metrics.pixel_auroc(np.ravel([maps[i] for i in shown]), pixels),
        "score_error": float(np.abs(exact - held_scores).max() / np.ptp(held.scores)),
        "map_error": float(max(gaps) / np.ptp(held.peaks)),
        "verdicts_changed": int((verdicts[0] != verdicts[1]).sum()),  # as Detectors judge
    }


def _times(
    bundle: Bundle, precisions: list[str], samples: tuple[Sample, ...], threads: int, turns: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of the engine for one frame, every precision in turn on each frame.

    median and best tenth of the time that passes, and the median of the processor's time: what else
    the machine does stretches the first most and the last least.
    """
    sessions = {p: open_engine(bundle, "cpu", threads, precision=p).session() for p in precisions}
    params = bundle.manifest.preprocess_params()
    images = [preprocess(read_image(sample.path), params) for sample in samples[:8]]
    spent: dict[str, list[tuple[float, float]]] = {precision: [] for precision in precisions}
    for turn in range(-WARM_UP, turns):
        order = precisions if turn % 2 else precisions[::-1]
        for precision in order:
            sessions[precision].image[0] = images[turn % len(images)]
            started, busy = perf_counter(), process_time()
            sessions[precision].infer()
            if turn >= 0:
                spent[precision].append((perf_counter() - started, process_time() - busy))
    found = {}
    for precision, pairs in spent.items():
        passed, busy_for = 1e3 * np.array(pairs).T
        found[precision] = {
            "median": float(np.median(passed)),
            "best_tenth": float(np.quantile(passed, 0.1)),
            "processor": float(np.median(busy_for)),
        }
    return found


def tell(found: dict[str, Any]) -> None:
    """A table for people."""
    print(
        f"{found['method']} on {found['data']}, {found['steps']} steps, "
        f"{found['test_images']} test images, {found['calibration_images']} calibration images"
    )
    print(
        f"{'way':<26}{'precision':<10}{'image':>8}{'pixel':>8}{'score off':>11}{'map off':>9}"
        f"{'verdicts':>10}  ms and times faster (median, best tenth, processor), 1 and 2 threads"
    )
    for row in found["rows"]:
        line = (
            f"{row['way']:<26}{row['precision']:<10}{row['image_auroc']:>8.4f}"
            f"{row['pixel_auroc']:>8.4f}{row['score_error']:>11.2%}{row['map_error']:>9.2%}"
            f"{row['verdicts_changed']:>10}"
        )
        for threads in row.get("engine_ms", ()):
            line += f"{row['engine_ms'][threads]['median']:>9.2f} "
            line += " ".join(f"{ratio:.2f}" for ratio in row["faster"][threads].values())
        print(line)
    for precision, reason in found["refused"].items():
        print(f"refused {precision}: {reason}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("bundle", type=Path, metavar="NAME.edgead")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--half", action="store_true", help="also a GPU's arithmetic, in torch")
    parser.add_argument("--turns", type=int, default=60, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
