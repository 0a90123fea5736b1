"""Tiny defects in large frames: are 6 x 6 pixels found in 4096 x 3000?

    python benchmarks/tiling.py WORK [--materials weave brushed cast] [--frame 3000x4096] …

Makes good frames of made-up materials (benchmarks/tiling_frames.py), trains on tiles of some, takes
the others to calibrate, and exports a tiled bundle of each material. Then it scores frames that it
has not seen: good ones, and as many with one defect each, of every contrast in turn. WORK keeps
runs and bundles for the next time; --table writes the section of docs/notes/tiling.md.

A defect counts as found when the frame is anomalous and a region holds the defect's centre.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs_table import NOTES, markdown, write_section
from tiling_frames import MATERIALS, make_frame, with_defect

from edgead import Detector
from edgead.cli.main import guard
from edgead.files import write_file
from edgead.images import write_png

RESULTS = Path(__file__).parent / "results" / "tiling.json"
PAGE = NOTES / "tiling.md"
UNSEEN = 1000  # seeds of the frames to test with begin here


def make_bundle(args: argparse.Namespace, material: str) -> tuple[Path, list[str]]:
    """Train and export below WORK, unless it was done before; and the command that trains."""
    good, out = args.work / f"{material}-good", args.work / f"{material}-run"
    bundle = args.work / f"{material}.edgead"
    settings = [f"size=[{args.size},{args.size}]", "pooling=max", f"blur_sigma={args.blur:g}"]
    words = ["train", args.method, str(good), "--out", str(out), "--tile", str(args.tile)]
    words += ["--tile-overlap", str(args.overlap), "--steps", str(args.steps)]
    words += ["--calibration", f"{args.calibration / (args.calibration + args.learn):.6f}"]
    words += [word for each in settings + args.settings for word in ("--set", each)]
    if not bundle.is_dir():
        good.mkdir(parents=True, exist_ok=True)
        for seed in range(args.learn + args.calibration):
            path = good / f"{seed:03}.png"
            if not path.exists():
                write_png(path, make_frame(material, seed, *args.frame))
        _edgead(words)
        _edgead(["export", str(out), "--out", str(bundle), "--float32-only"])
    return bundle, words


def _edgead(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "edgead", *words], check=True)


def measure(detector: Detector, material: str, args: argparse.Namespace) -> dict[str, Any]:
    """Good frames and frames with a defect, each another draw, unseen in training."""
    good, defects, times = [], [], []
    for number in range(args.test):
        result = detector.score(make_frame(material, UNSEEN + number, *args.frame))
        times.append(result.timings_ms)
        good.append({"score": result.score, "rejected": result.is_anomalous})
        print(f"{material} good {result.score:.4g} {'REJECTED' * result.is_anomalous}", flush=True)
    for number in range(args.test):
        seed, contrast = UNSEEN + args.test + number, args.contrasts[number % len(args.contrasts)]
        frame = make_frame(material, seed, *args.frame)
        shown, (x, y), change = with_defect(frame, seed, args.defect, contrast)
        result = detector.score(shown)
        times.append(result.timings_ms)
        hits = [r for r in result.regions
                if r.x <= x < r.x + r.width and r.y <= y < r.y + r.height]  # fmt: skip
        found = result.is_anomalous and bool(hits)
        defects.append({
            "score": result.score, "contrast": contrast, "change": change, "centre": [y, x],
            "anomalous": result.is_anomalous, "found": found, "regions": len(result.regions),
            "region": [hits[0].height, hits[0].width] if hits else None,
        })  # fmt: skip
        print(f"{material} {change:+.0f} {result.score:.4g} found {found}", flush=True)
    median_ms = {key: statistics.median(t[key] for t in times) for key in times[0]}
    return {"good": good, "defects": defects, "median_ms": median_ms}


def entry(args: argparse.Namespace, material: str) -> dict[str, Any]:
    """All that was found on one material."""
    bundle, words = make_bundle(args, material)
    detector = Detector(bundle, threads=args.threads)
    manifest = detector.bundle.manifest
    assert manifest.tiling is not None  # trained with --tile
    place = words.index("--out")
    command = ["edgead", *words[:2], "GOOD", "--out", "RUN", *words[place + 2 :]]
    return {
        "material": material,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": " ".join(command),
        "method": args.method,
        "frame": list(args.frame),
        "tile": list(manifest.tiling.size),
        "overlap": manifest.tiling.overlap,
        "defect": args.defect,
        "learnt_from": args.learn,
        "calibration_images": len(manifest.calibration.scores),
        "false_reject_rate": detector.false_reject_rate,
        "threshold": detector.threshold,
        "device": detector.info()["device"],
        "threads": args.threads,
        **measure(detector, material, args),
    }


def table(entries: Sequence[dict[str, Any]]) -> str:
    """The section of the docs."""
    contrasts = sorted({d["contrast"] for e in entries for d in e["defects"]}, reverse=True)
    head = ("material", "good frames rejected", *(f"found at ±{c:g}" for c in contrasts),
            "median region")  # fmt: skip
    rows = []
    for each in entries:
        rejected, of = sum(g["rejected"] for g in each["good"]), len(each["good"])
        cells = [f"{rejected} of {of}"]
        for contrast in contrasts:
            tried = [d for d in each["defects"] if d["contrast"] == contrast]
            cells.append(f"{sum(d['found'] for d in tried)} of {len(tried)}")
        sizes = [d["region"] for d in each["defects"] if d["region"]]
        middle = [f"{statistics.median(s[k] for s in sizes):.0f}" for k in (0, 1)] if sizes else []
        cells.append(" x ".join(middle) or "none")
        rows.append((each["material"], *cells))
    first = entries[0]
    return markdown(head, rows) + (
        f"\n{first['date']}, {first['device']}; frames of "
        f"{first['frame'][0]} x {first['frame'][1]}, defects of {first['defect']} x "
        f"{first['defect']}, {first['learnt_from']} frames to learn from, "
        f"{first['calibration_images']} to calibrate, at most "
        f"{100 * first['false_reject_rate']:g} % false rejects promised. Trained with "
        f"`{first['command']}`.\n"
    )


def main() -> int:
    """Make, measure, keep after each material; or write the table."""
    args = _arguments()
    entries = json.loads(args.json.read_text()) if args.json.exists() else []
    if not args.table:
        for material in args.materials:
            entries = [e for e in entries if e["material"] != material] + [entry(args, material)]
            entries.sort(key=lambda e: sorted(MATERIALS).index(e["material"]))
            write_file(args.json, (json.dumps(entries, indent=1) + "\n").encode())
    print(table(entries))
    if args.table:
        write_section(PAGE, "tiling", table(entries))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, nargs="?", default=Path("runs/tiling"))
    parser.add_argument("--materials", nargs="+", choices=list(MATERIALS), default=list(MATERIALS))
    parser.add_argument("--frame", type=_size, default=(3000, 4096), help="height x width")
    parser.add_argument("--tile", type=int, default=256, help="side in pixels of the frame")
    parser.add_argument("--overlap", type=int, default=32)
    parser.add_argument("--size", type=int, default=128, help="side of the network's image")
    parser.add_argument("--method", default="agpnet")
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--blur", type=float, default=2.0, help="sigma in pixels of the map")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--learn", type=int, default=4, help="good frames to learn from")
    parser.add_argument("--calibration", type=int, default=24, help="good frames to calibrate with")
    parser.add_argument(
        "--test", type=int, default=20, help="good frames, and frames with a defect"
    )
    parser.add_argument("--defect", type=int, default=6, help="side of the defect in pixels")
    parser.add_argument("--contrasts", type=float, nargs="+", default=[90.0, 60.0, 40.0, 25.0],
                        help="grey values that a defect is darker or lighter")  # fmt: skip
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only write the table into the docs")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(guard(main))
