"""Runs for the tables: trained, exported, measured through the bundle; bounded and resumable.

A job is one method on one data set with one seed, untrained or trained, alone or with the
statistics of ``edgead learn``. Its run lies in a folder named after it, so a job that was stopped
goes on where it stopped. Parts that a set shows several times are kept together, see ``PARTS``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import agreement
import numpy as np
import overhead
from edgead_export import ExportOptions, export_run
from edgead_export.backbone import write_lite
from edgead_training.commands.train import read_setting
from edgead_training.data import Sample, open_dataset
from edgead_training.data.grouping import name_of
from edgead_training.evaluation.bootstrap import interval as interval_of
from edgead_training.evaluation.evaluate import Evaluation, evaluate
from edgead_training.fit import Bounds, Interrupted
from edgead_training.methods import METHODS
from edgead_training.progress import Reporter, progress, training_bar
from edgead_training.run import Run, load_run, train
from edgead_training.run_record import (
    CALIBRATION_FRACTION,
    DEFAULT_PRESET,
    MODEL_FILE,
    RUN_FILE,
    TrainingOptions,
    full_settings,
    read_record,
)
from entries import FIGURES, MORE_FIGURES, Results
from multiply_adds import gflop
from overhead import read_frames
from tile_parts import LIST

from edgead import Detector, EdgeadError
from edgead.bundle.storage import Bundle, npy
from edgead.cpu.processor import processor_name
from edgead.errors import DataError, InputError
from edgead.files import write_file
from edgead.images import read_image
from edgead.learning.backbone import read_backbone
from edgead.learning.learn import LearnOptions, empty_draft, opened

DATASETS = ("mvtec_bottle", "magnetic_tile", "aws_cookies")
MINUTES = 12.0  # of training, at most, where nothing else bounds it
TIMED_FRAMES, WARM_UP, REPEATS = 20, 10, 100
SIDE, TURNS = 512, 80  # of the frames and the turns in which a cost is measured
AGREED = 160  # test images on which torch and the engine are held against each other, at most
PARTS = {"magnetic_tile": LIST}
"""Lists for --group, of sets with several images of one part."""
UNTRAINED = Bounds(steps=2)  # what the networks were drawn to be, but for two steps


@dataclass(frozen=True)
class Job:
    """One run to make. ``settings`` are those over the preset.

    ``trained``: False for ``UNTRAINED``; ``with_instant``: whether it is exported with the
    statistics of ``edgead learn``.
    """

    method: str
    preset: str
    dataset: str
    seed: int
    settings: dict[str, Any]
    bounds: Bounds
    trained: bool = True
    with_instant: bool = False

    def options(self, data: Path, out: Path) -> TrainingOptions:
        """What ``edgead train`` is to do."""
        return TrainingOptions(
            self.method, data / self.dataset, out, self.settings, self.seed, self.bounds,
            preset=self.preset, group=group_of(self.dataset),
        )  # fmt: skip

    @property
    def head(self) -> dict[str, Any]:
        """The head of the job's entry; the command has RUN for the folder and S for the seed."""
        joined = " --with instant" if self.with_instant else ""
        group = group_of(self.dataset)
        parts = "" if group is None else f" --group {name_of(group)}"
        return {
            "method": self.method,
            "preset": self.preset,
            "dataset": self.dataset,
            "trained": self.trained,
            "with_instant": self.with_instant,
            "settings": full_settings(self.method, self.preset, self.settings),
            "command": f"{self._training} && edgead export RUN --out RUN.edgead --float32-only"
            f"{joined} && edgead evaluate RUN.edgead {shlex.quote(self.dataset)}{parts}",
        }

    @property
    def _training(self) -> str:
        command = self.options(Path(), Path("RUN")).command()
        return command.replace(f" --seed {self.seed}", " --seed S")

    @property
    def name(self) -> str:
        """The name of its folder: readable, and another one for other settings or bounds."""
        settings = full_settings(self.method, self.preset, self.settings)
        told = json.dumps([settings, self._training])
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        return f"{self.dataset}-{self.method}-{self.preset}-{digest}-seed{self.seed}"

    @property
    def bundle(self) -> str:
        """The name of its bundle, without the suffix."""
        return self.name + ("-with-instant" if self.with_instant else "")

    @property
    def untrained(self) -> Job:
        """The job beside it that is hardly trained."""
        return replace(self, trained=False, bounds=UNTRAINED)

    def __str__(self) -> str:
        name = self.method if self.preset == DEFAULT_PRESET else f"{self.method} ({self.preset})"
        settings = "".join(f" {key}={json.dumps(v)}" for key, v in self.settings.items())
        kind = "" if self.trained else " untrained"
        joined = " with instant" if self.with_instant else ""
        return f"{self.dataset} {name}{settings}{kind}{joined} seed {self.seed}"


def group_of(dataset: str) -> str | None:
    """What --group is for a data set."""
    parts = PARTS.get(dataset)
    return None if parts is None else str(parts)


def add_options(parser: argparse.ArgumentParser, results: Path, work: Path) -> None:
    """The options of both scripts."""
    parser.add_argument(
        "data", type=Path, nargs="?", metavar="DATA", help="folder of the data sets"
    )
    parser.add_argument("--methods", nargs="+", default=sorted(METHODS), metavar="METHOD")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), metavar="NAME")
    parser.add_argument("--preset", default=DEFAULT_PRESET, help="default edge")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--minutes", type=float, metavar="M", help="train at most M minutes a run")
    bound.add_argument("--steps", type=int, metavar="N", help="train N steps a run")
    parser.add_argument("--results", type=Path, default=results, metavar="FILE")
    parser.add_argument("--work", type=Path, default=work, metavar="DIR", help="%(default)s")
    parser.add_argument("--replace", action="store_true", help="measure anew what was measured "
                        "with another command")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="only write the table into the docs")


def make_jobs(
    args: argparse.Namespace, rows: Iterable[tuple[str, dict[str, Any]]], seeds: Sequence[int],
    bounds: Bounds,
) -> list[Job]:  # fmt: skip
    """A trained job for each seed, data set and (method, settings), one seed everywhere first."""
    rows = list(rows)
    return [
        Job(method, args.preset, name, seed, dict(sorted(settings.items())), bounds)
        for seed in seeds
        for name in args.datasets
        for method, settings in rows
    ]


def check_methods(names: Iterable[str]) -> None:
    """Raises: InputError for a name that is not a method."""
    for name in names:
        if name not in METHODS:
            raise InputError(f"{name} is not a method; choose from {', '.join(sorted(METHODS))}")


def check_data(data: Path | None, names: Iterable[str]) -> Path:
    """Raises: InputError without a folder; DataError for a set that is missing or has no test."""
    if data is None:
        raise InputError("DATA is missing; give the folder that holds the data sets")
    if not data.is_dir():
        raise DataError(f"{data} is not a folder; give the one that holds the data sets")
    for name in names:
        if not (data / name).is_dir():
            found = ", ".join(sorted(p.name for p in data.iterdir() if p.is_dir())) or "no folder"
            raise DataError(f"{data} has no {name}; it holds {found}: name sets with --datasets")
        open_dataset(data / name)
        open_dataset(data / name, purpose="evaluate")
    return data


def read_settings(words: Iterable[str]) -> dict[str, dict[str, Any]]:
    """METHOD:KEY=VALUE words to {method: settings}. Raises: InputError."""
    settings: dict[str, dict[str, Any]] = {}
    for word in words:
        method, colon, pair = word.partition(":")
        if not colon or "=" not in pair:
            raise InputError(f"--set {word} cannot be read; write --set METHOD:KEY=VALUE")
        check_methods([method])
        key, value = read_setting(pair)
        settings.setdefault(method, {})[key] = value
    return settings


def work_off(jobs: Sequence[Job], results: Results, args: argparse.Namespace) -> int:
    """Make and measure what ``results`` does not hold yet; a line for each, the file after each.

    A run that fails is named and left out. Returns the exit code: 1 when one failed, 130 or 143
    when a signal stopped it.
    Errors, before anything is trained: those of ``check_data``, ``full_settings`` and
    ``Results.check``.
    """
    data, work = check_data(args.data, args.datasets), args.work
    for job in jobs:
        if not args.replace:
            results.check(job.head)
    todo = [job for job in jobs if not results.holds(job.head, job.seed)]
    say(f"{len(jobs)} runs, {len(jobs) - len(todo)} of them measured already ({results.path})")
    spent: list[float] = []
    failed = 0
    for number, job in enumerate(todo, 1):
        begun = time.monotonic()
        say(f"[{number}/{len(todo)}] {job}")
        try:
            row = measure(train_run(job, data, work), job, data, work)
            results.add(job.head, row)
        except (Interrupted, KeyboardInterrupt) as stop:
            say(f"stopped; the same command goes on (runs in {work}, figures in {results.path})")
            return getattr(stop, "exit_code", 130)
        except EdgeadError as error:
            failed += 1
            say(f"        failed: {error}")
            continue
        spent.append(time.monotonic() - begun)
        left = statistics.mean(spent) * (len(todo) - number) / 60
        say(f"        {in_words(row)}; {spent[-1] / 60:.1f} min, about {left:.0f} min left")
    say(f"{len(todo) - failed} runs made, {failed} failed" if todo else "nothing to do")
    return 1 if failed else 0


def say(line: str) -> None:
    """One line for people, there at once even in a pipe."""
    print(line, flush=True)


def in_words(row: dict[str, Any]) -> str:
    """The figures of a run for people."""
    shown = [f"{key} {row[key]:.3f}" for key in FIGURES if row[key] is not None]
    return ", ".join([*shown, f"{row['score_ms']:.1f} ms"])


def train_run(job: Job, data: Path, work: Path) -> Path:
    """The folder of the job's trained run, made, gone on with, or found there.

    Raises: as ``edgead_training.run.train``.
    """
    out = work / job.name
    if not (out / MODEL_FILE).is_file():
        resume = (out / RUN_FILE).is_file()
        options = job.options(data, out)
        train(options, resume=resume, reporter=Reporter(progress=progress, bar=training_bar()))
    return out


def measure(run_dir: Path, job: Job, data: Path, work: Path) -> dict[str, Any]:
    """Export a trained run and measure its bundle: ``entries.OF_A_RUN``.

    Raises: EdgeadError when the images are not those of the run or the export differs from torch.
    """
    root = data / job.dataset
    work.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(data=root, float16=False, joined=job.with_instant)
    bundle = export_run(run_dir, work / f"{job.bundle}.edgead", options, log=lambda _: None)
    run, dataset = load_run(run_dir, root), open_dataset(root, purpose="evaluate")
    with Detector(bundle, threads=1) as detector:
        found = evaluate(detector, dataset, group=group_of(job.dataset))
        score_ms = time_score(detector, [s.path for s in dataset.test[:TIMED_FRAMES]])
        paths = [s.path for s in dataset.test]
        cost = over_backbone(detector, paths, work) if job.trained else None  # alike untrained
    model, figures, interval = bundle.read("model.onnx"), found.metrics, found.intervals()
    return {
        "seed": run.provenance["seed"],
        **{key: figures[key] for key in (*FIGURES, *MORE_FIGURES)},
        **{key: figures[key] for key in ("parts", "false_reject_promised")},
        "image_auroc_interval": interval.get("image_auroc"),
        "ahead_of_untrained": ahead_of_untrained(job, found, work),
        "cost_over_backbone": cost,
        "model_mb": len(model) / 1e6,
        "gflop": gflop(model),
        "score_ms": score_ms,
        "train_seconds": run.provenance["train_seconds"],
        "steps": run.provenance["steps"],
        **agreed(job, run, bundle, dataset.test),
        "calibration_images": len(run.calibration),
        "test_images": len(dataset.test),
        "processor": processor_name(),
    }


def agreed(job: Job, run: Run, bundle: Bundle, samples: tuple[Sample, ...]) -> dict[str, Any]:
    """How well the engine agrees with torch, on ``AGREED`` of the images, evenly chosen.

    Torch does not compute statistics that are joined; and an untrained network says nothing more.
    """
    if job.with_instant or not job.trained:
        return {"agreement": None, "changed_verdicts": None}
    found = agreement.measure(run, bundle, samples[:: -(-len(samples) // AGREED)])
    verdicts = [p["changed_verdicts"] for p in found["paths"] if p["precision"] == "float32"]
    return {"agreement": found["auroc_spread"], "changed_verdicts": max(verdicts)}


def ahead_of_untrained(job: Job, found: Evaluation, work: Path) -> list[float] | None:
    """By how much the image AUROC is ahead of that of the untrained job, and its interval's ends.

    Keeps the figures of the resamples in ``work``; None of an untrained job, or before that one.
    """
    name = "{}.resampled.npy"
    own = np.array([found.metrics["image_auroc"], *found.resampled["image_auroc"]], np.float64)
    write_file(work / name.format(job.bundle), npy(own))
    other = work / name.format(job.untrained.bundle)
    if not job.trained or not other.is_file():
        return None
    difference = own - np.load(other)
    ends = interval_of(difference[1:])
    return None if ends is None else [float(difference[0]), *ends]


def over_backbone(detector: Detector, paths: Sequence[Path], work: Path) -> float:
    """Median of Detector.score over bare inference of EfficientNet-Lite0, in one thread.

    Of test frames brought to ``SIDE`` x ``SIDE`` in colour, both at the size of the bundle, in
    turns.
    """
    path = work / "lite0.onnx"
    if not path.is_file():
        write_lite("lite0", path, (8, 16))
    backbone = read_backbone(path)
    options = LearnOptions(size=detector.bundle.manifest.preprocess.size, threads=1)
    engine = opened(empty_draft(Path("backbone"), backbone, options), backbone, options)
    frames = read_frames(paths, (SIDE, SIDE))
    return float(overhead.measure(detector, frames, TURNS, engine)["turn_ratio"])


def time_score(detector: Detector, paths: Sequence[Path]) -> float:
    """Median of Detector.score on these images in milliseconds, warm."""
    frames = [read_image(path) for path in paths]
    times = []
    for turn in range(WARM_UP + REPEATS):
        begun = time.perf_counter()
        detector.score(frames[turn % len(frames)])
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[WARM_UP:])


def job_of(run_dir: Path) -> Job:
    """The job that a run made elsewhere did. Raises: TrainingError for what is not a run."""
    record = read_record(run_dir)
    if record["calibration_fraction"] != CALIBRATION_FRACTION:
        raise InputError(f"{run_dir} was trained with --calibration; those of the table are not")
    dataset, bounds = Path(record["data"]["path"]).name, Bounds(**record["bounds"])
    expected, given = group_of(dataset), record["data"].get("group")
    if (expected and name_of(expected)) != (given and name_of(given)):
        raise InputError(
            f"{run_dir} was trained with --group {given}; those of the table are with {expected}"
        )
    usual = full_settings(record["method"], record["preset"], {})
    own = {key: value for key, value in record["settings"].items() if usual[key] != value}
    return Job(
        record["method"], record["preset"], dataset, record["seed"], dict(sorted(own.items())),
        bounds, trained=bounds != UNTRAINED,
    )  # fmt: skip
