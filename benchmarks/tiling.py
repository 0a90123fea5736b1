"""Tiny defects in large frames: are 6 x 6 pixels found in 4096 x 3000?

    python benchmarks/tiling.py WORK [--frame 3000x4096] [--tile 256] [--minutes M] [--json FILE]

Makes good frames of procedural texture (a coarse weave, grain and uneven light, each frame another
draw), trains SSAE on tiles of them, exports a tiled bundle, and scores frames that training did not
see: good ones and the same with one defect each. Then the time of a frame, stage by stage.

A defect counts as found when the frame is anomalous and a region holds its centre.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Detector
from edgead.images import write_png


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """A grey frame of a woven material, [height, width] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
    period = 11 + 0.3 * rng.uniform(-1, 1)
    bend = cv2.resize(rng.normal(0, 1.5, (6, 8)).astype(np.float32), (width, height))
    weave = np.sin(2 * np.pi * (x + bend) / period + phase[0])
    weave *= np.sin(2 * np.pi * (y + bend) / period + phase[1])
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.0)
    light = cv2.resize(rng.normal(0, 6, (3, 4)).astype(np.float32), (width, height))
    return np.clip(128 + 22 * weave + 14 * grain + light, 0, 255).astype(np.uint8)


def with_defect(frame: np.ndarray, seed: int, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A copy with a square of ``side`` pixels made darker or lighter, and its centre (x, y)."""
    rng = np.random.default_rng(10_000 + seed)
    top, left = (int(rng.integers(8, n - side - 8)) for n in frame.shape)
    shown = frame.copy()
    window = shown[top : top + side, left : left + side].astype(np.float32)
    shift = 90 if rng.random() < 0.5 else -90
    shown[top : top + side, left : left + side] = np.clip(window + shift, 0, 255)
    return shown, (left + side // 2, top + side // 2)


def run(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "edgead", *words], check=True)


def make_bundle(args: argparse.Namespace, height: int, width: int) -> Path:
    """Train and export below WORK, unless it was done before."""
    good, bundle = args.work / "good", args.work / "weave.edgead"
    if bundle.is_dir():
        return bundle
    good.mkdir(parents=True, exist_ok=True)
    for seed in range(args.good):
        path = good / f"{seed:03}.png"
        if not path.exists():
            write_png(path, texture(seed, height, width))
    settings = [f"size=[{args.size},{args.size}]", "pooling=max", "blur_sigma=2", *args.settings]
    words = ["train", "ssae", str(good), "--out", str(args.work / "run"), "--tile", str(args.tile)]
    words += ["--calibration", "0.5", "--minutes", f"{args.minutes:g}"]
    run(words + [word for setting in settings for word in ("--set", setting)])
    run(["export", str(args.work / "run"), "--out", str(bundle), "--float32-only"])
    return bundle


def measure(detector: Detector, height: int, width: int, side: int, number: int) -> dict[str, Any]:
    """Good frames and the same with a defect each, none seen before."""
    good, defects, found, times = [], [], [], []
    for seed in range(1000, 1000 + number):
        frame = texture(seed, height, width)
        result = detector.score(frame)
        good.append(result.score)
        times.append(dict(result.timings_ms))
        shown, (x, y) = with_defect(frame, seed, side)
        result = detector.score(shown)
        defects.append(result.score)
        hit = any(r.x <= x < r.x + r.width and r.y <= y < r.y + r.height for r in result.regions)
        found.append(bool(result.is_anomalous and hit))
        line = f"good {good[-1]:.4g}  with a defect {defects[-1]:.4g}  found {found[-1]}"
        print(line, flush=True)
    return {
        "good": good,
        "defects": defects,
        "threshold": detector.threshold,
        "false_reject_rate": detector.false_reject_rate,
        "found": sum(found),
        "rejected_good": sum(score > detector.threshold for score in good),
        "of": number,
        "median_ms": {k: statistics.median(t[k] for t in times) for k in times[0]},
    }


def main() -> None:
    """Train, measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--frame", default="3000x4096", help="height x width in pixels")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--size", type=int, default=256, help="side of the network's image")
    parser.add_argument("--minutes", type=float, default=20, help="of training")
    parser.add_argument("--defect", type=int, default=6, help="side of the defect in pixels")
    parser.add_argument(
        "--good", type=int, default=40, help="good frames; half of them are held out to calibrate"
    )
    parser.add_argument("--test", type=int, default=20, help="frames to test with, each twice")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    height, width = (int(side) for side in args.frame.split("x"))
    detector = Detector(make_bundle(args, height, width))
    tiles = detector.bundle.manifest.tiling
    measured = measure(detector, height, width, args.defect, args.test)
    result = {
        "frame": [height, width],
        "tile": list(tiles.size) if tiles else None,
        "overlap": tiles.overlap if tiles else None,
        "defect": args.defect,
        "device": detector.info()["device"],
        **measured,
    }
    print(json.dumps({k: v for k, v in result.items() if k not in ("good", "defects")}, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
