"""From real images of solar cells to three qualified bundles, their numbers and their reports.

First `edgead learn`, which takes seconds; then a method that is trained for some minutes; then the
method joined with what learn keeps, beside that alone.

The images come from the PyPI package elpv-dataset: electroluminescence images of solar cells,
CC BY-NC-SA 4.0. Used are the monocrystalline cells that its experts were sure of: defect
probability 0 (good) or 1 (defective).

Run by ``make demo``. Every stage is skipped when its output is there and was made with the same
settings; after Ctrl-C the next run goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import FrameType

import numpy as np

import edgead
from edgead.images import read_image, write_png

SEED = 0
HELD_OUT_GOOD = 120  # of 588; the defective cells are all held out, nothing learns from them
METHOD = "agpnet"  # what is trained after that
MINUTES = 2  # of it: what is measured afterwards brings it to three
PICTURE = "cell0529.png"  # a broken corner and thin cracks: the picture of the README

FOLDER = Path("demo")
DATA, STAMPS = FOLDER / "data", FOLDER / "stamps.json"
LEARNT, METRICS, REPORT = FOLDER / "cell.edgead", FOLDER / "metrics.json", FOLDER / "report"
README_PICTURE = FOLDER / "picture.png"
RUN, TRAINED, JOINED = FOLDER / "run", FOLDER / "trained.edgead", FOLDER / "joined.edgead"
TRAINED_METRICS = FOLDER / "trained.json"
BOTH_METRICS, BOTH_REPORT = FOLDER / "beside.json", FOLDER / "beside"

# Exit codes of a command that Ctrl-C or kill has stopped, with its work saved or without.
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)

LICENCE = """\
These images come from the ELPV dataset (https://github.com/zae-bayern/elpv-dataset, PyPI package
elpv-dataset {version}) by Claudia Buerhop-Lutz, Sergiu Deitsch, Andreas Maier, Florian Gallwitz,
Stephan Berger, Bernd Doll, Jens Hauch, Christian Camus and Christoph J. Brabec, and are under the
Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International License
(https://creativecommons.org/licenses/by-nc-sa/4.0/): name the authors, no commercial use, share
what you make of the images, pictures above all, under the same licence.

Changed here: only monocrystalline cells with defect probability 0 or 1 are kept, sorted into
folders; the pixels are as published.

Please cite: S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz and
C. Riess, "Automatic classification of defective photovoltaic module cells in electroluminescence
images", Solar Energy 185 (2019) 455-468, https://doi.org/10.1016/j.solener.2019.02.067
"""


def main() -> int:
    """Run every stage that is not done yet, then say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="start again from nothing")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training (%(default)s)")
    parser.add_argument("--images-only", action="store_true", help="write demo/data and stop")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    print("images  ELPV dataset, CC BY-NC-SA 4.0: see demo/data/LICENSE.txt")
    stages = Stages({"version": edgead.__version__})
    try:
        stages.run("data", {"seed": SEED, "held_out_good": HELD_OUT_GOOD}, DATA, write_data)
        if args.images_only:
            return 0
        stages.run("learn", {"seed": SEED}, LEARNT, learn)
        stages.run("evaluate", {}, METRICS, evaluate)
        stages.run("picture", {"cell": PICTURE}, README_PICTURE, draw_picture)
        tell_learnt(args.minutes)
        settings = {"seed": SEED, "method": METHOD, "minutes": args.minutes}
        stages.run("train", settings, RUN, lambda: train(args.minutes))
        stages.run("export", {}, TRAINED, export)
        stages.run("alone", {}, TRAINED_METRICS, evaluate_trained)
        stages.run("join", {}, JOINED, join)
        stages.run("compare", {}, BOTH_METRICS, compare)
    except KeyboardInterrupt:
        print("\nstopped; make demo goes on from here")
        return 130
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    tell_all()
    return 0


class Stages:
    """What is done already, in one JSON file: the key of each stage's settings.

    A key takes in the keys of the stages before it, so that a change upstream does all that
    follows again.
    """

    def __init__(self, common: dict[str, object]) -> None:
        self._key = digest(common)
        self._done: dict[str, str] = {}
        if STAMPS.exists():
            self._done = json.loads(STAMPS.read_text())

    def run(self, name: str, settings: dict[str, object], output: Path, work: Callable[[], None]):
        """Do ``work`` unless ``output`` is there and was made with these settings."""
        self._key = digest({"before": self._key, "stage": name, **settings})
        if self._done.get(name) == self._key and output.exists():
            print(f"{name:<9} done already: {output}")
            return
        if self._done.get(f"{name} begun") != self._key:
            remove(output)  # made with other settings: nothing of it may be taken up
        self._note(f"{name} begun")
        start = time.monotonic()
        work()
        self._note(name)
        print(f"{name:<9} took {time.monotonic() - start:.0f} s: {output}", flush=True)

    def _note(self, name: str) -> None:
        self._done[name] = self._key
        unfinished = STAMPS.with_suffix(".tmp")
        unfinished.write_text(json.dumps(self._done, indent=2))
        os.replace(unfinished, STAMPS)


def write_data() -> None:
    """Write demo/data in the MVTec layout; whole or not at all."""
    from elpv_dataset.utils import load_dataset

    images, probability, kind = load_dataset()  # [2624, 300, 300] uint8, [2624], [2624]
    mono = kind == "mono"
    good = np.flatnonzero(mono & (probability == 0))
    defective = np.flatnonzero(mono & (probability == 1))
    good = np.random.default_rng(SEED).permutation(good)
    parts = {
        "train/good": good[HELD_OUT_GOOD:],
        "test/good": good[:HELD_OUT_GOOD],
        "test/defective": defective,
    }
    unfinished = DATA.with_name("data.unfinished")
    remove(unfinished)
    for folder, indices in parts.items():
        (unfinished / folder).mkdir(parents=True)
        for index in indices:
            # The dataset counts its files from 1.
            write_png(unfinished / folder / f"cell{index + 1:04d}.png", images[index])
        print(f"wrote   {len(indices)} images to {DATA / folder}")
    (unfinished / "LICENSE.txt").write_text(licence(), encoding="utf-8")
    os.replace(unfinished, DATA)


def licence() -> str:
    """Source, authors and licence, then the licence as the package brings it."""
    package = metadata.distribution("elpv-dataset")
    text = package.read_text("licenses/LICENSE.md") or ""
    return LICENCE.format(version=package.version) + "\n" + "-" * 80 + "\n\n" + text


def learn() -> None:
    """Learn from the good cells, then qualify as a user would after copying the bundle."""
    run_edgead("learn", DATA, "--out", LEARNT, "--seed", SEED)
    run_edgead("verify", LEARNT)


def evaluate() -> None:
    """Measure on the cells that were held out."""
    run_edgead("evaluate", LEARNT, DATA, "--json", METRICS, "--report", REPORT)


def train(minutes: float) -> None:
    """Train, or go on with a training that was stopped."""
    if (RUN / "model.safetensors").exists():
        return  # finished, and stopped before that could be noted
    resume = (RUN / "checkpoint.safetensors").exists()
    if not resume:
        remove(RUN)  # stopped before its first checkpoint: nothing to take up
    command = ["train", METHOD, DATA, "--out", RUN, "--minutes", minutes, "--seed", SEED]
    run_edgead(*command, *(["--resume"] if resume else []))


def export() -> None:
    """Export, and qualify once more."""
    run_edgead("export", RUN, "--out", TRAINED)
    run_edgead("verify", TRAINED)


def evaluate_trained() -> None:
    """Measure the method by itself."""
    run_edgead("evaluate", TRAINED, DATA, "--json", TRAINED_METRICS)


def join() -> None:
    """Export the method with the statistics that learn keeps, of the same cells."""
    run_edgead("export", RUN, "--with", "instant", "--out", JOINED)
    run_edgead("verify", JOINED)


def compare() -> None:
    """Measure what was learnt and what was joined on the same cells."""
    both = ("--json", BOTH_METRICS, "--report", BOTH_REPORT)
    run_edgead("evaluate", LEARNT, DATA, "--beside", JOINED, *both)


def run_edgead(*arguments: object) -> None:
    """One ``edgead`` command; Ctrl-C and kill are left to it, so that it can save its work."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ edgead {' '.join(words)}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "edgead", *words])

    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    interrupted = False
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt:  # the terminal has sent it to the command as well
            interrupted = True
    signal.signal(signal.SIGTERM, before)
    if interrupted or process.returncode in STOPPED:
        raise KeyboardInterrupt
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def draw_picture() -> None:
    """Frame and overlay side by side, for the README."""
    frame = read_image(DATA / "test" / "defective" / PICTURE)
    result = edgead.Detector(LEARNT).score(frame)
    left = np.repeat(frame[..., None], 3, axis=2)
    gap = np.full((frame.shape[0], 12, 3), 255, np.uint8)
    write_png(README_PICTURE, np.concatenate([left, gap, result.overlay()], axis=1), "picture")


def tell_learnt(minutes: float) -> None:
    """What the first part gave, and that it is complete without the second."""
    print(f"\nlearnt on cells it has never seen: {summary(json.loads(METRICS.read_text()))}")
    print(f"look at {REPORT / 'index.html'}, then use {LEARNT}:\n")
    print("  import cv2, edgead")
    print(f'  detector = edgead.Detector("{LEARNT}")')
    print(f'  print(detector.score(cv2.imread("{DATA}/test/defective/{PICTURE}")))\n')
    print(f"to compare, {METHOD} is trained for {minutes:g} minutes now; Ctrl-C stops at any time")


def tell_all() -> None:
    """The figures of the three bundles, and where two of them are side by side."""
    found, trained = (json.loads(path.read_text()) for path in (BOTH_METRICS, TRAINED_METRICS))
    print("\nall on the same cells, which none has seen")
    for path, figures in ((LEARNT, found), (TRAINED, trained), (JOINED, found["beside"])):
        print(f"  {path!s:<20} {summary(figures)}")
    print(f"look at {BOTH_REPORT / 'index.html'}")


def summary(figures: dict[str, float]) -> str:
    """The two figures that the cells have: there are no masks."""
    promised, reached = (figures[f"false_reject_{word}"] for word in ("promised", "reached"))
    rejects = f"{reached:.1%} of good cells rejected, {promised:.0%} promised"
    return f"image AUROC {figures['image_auroc']:.3f}, {rejects}"


def digest(value: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
