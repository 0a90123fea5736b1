"""A training run: a folder with the settings, the split, the checkpoint and the trained model.

RUN/run.json                 method, settings, data, split, seed, versions, command, loss history
RUN/checkpoint.safetensors   while training is not finished
RUN/model.safetensors        when it is
RUN/recovered.png            what the method makes of a few calibration images, for people
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from edgead.errors import DataError, TrainingError
from edgead.files import write_file
from edgead.images import read_image, write_png
from edgead.preprocess import Preprocessor

from .data import Dataset, Sample, check_images, digest, open_dataset, split
from .fit import CHECKPOINT, Bar, Bounds, Interrupted, fit
from .methods import METHODS, Method, TrainingSet
from .methods.base import Progress

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
MODEL_FILE = "model.safetensors"
PICTURE_FILE = "recovered.png"
PICTURE_IMAGES = 6
DEFAULT_PRESET = "edge"
IMAGE_BYTES_IN_MEMORY = 4 << 30  # larger sets are kept in a file of the run, mapped


@dataclass(frozen=True)
class Run:
    """A trained method and what it was trained from."""

    path: Path
    method: Method
    train: tuple[Sample, ...]
    calibration: tuple[Sample, ...]
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.resolve().name


@dataclass(frozen=True)
class Plan:
    """What the user asked for; written to run.json before the first step."""

    method: str
    data: Path
    out: Path
    settings: dict[str, Any]
    seed: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    calibration_fraction: float = 0.2
    preset: str | None = None  # None: edge, or that of the run to resume

    def command(self) -> str:
        """The command line that does this again, without the paths of this machine."""
        words = ["edgead", "train", self.method, self.data.resolve().name, "--out", self.out.name]
        words += ["--preset", self.preset] if self.preset not in (None, DEFAULT_PRESET) else []
        for key, value in self.settings.items():
            words += ["--set", f"{key}={_plain(value)}"]
        words += ["--seed", str(self.seed)]
        for key, bound in asdict(self.bounds).items():
            words += [f"--{key}", f"{bound:g}"] if bound is not None else []
        if self.calibration_fraction != 0.2:
            words += ["--calibration", f"{self.calibration_fraction:g}"]
        return shlex.join(words)


def train(
    plan: Plan, *, resume: bool, log: Callable[[str], None], progress: Progress, bar: Bar
) -> Run:
    """Train a method on the good images of a data set; everything goes to ``plan.out``.

    Errors: DataError and TrainingError at the door; Interrupted when a signal stopped it, with the
    checkpoint on disk.
    """
    dataset = open_dataset(plan.data)
    plan, parts, record = _take_up(plan, dataset) if resume else _begin(plan, dataset)
    log(f"read   {plan.data}: {dataset.summary()}")
    log(f"split  {len(parts[0])} to train on, {len(parts[1])} to calibrate with, seed {plan.seed}")
    if len(parts[0]) < 10:
        log(f"note   {len(parts[0])} training images are few: expect good parts to be rejected")
    torch.manual_seed(plan.seed)
    method = METHODS[plan.method].from_settings(plan.settings, len(parts[0]))
    _check_out(plan.out)
    total = len(parts[0]) + len(parts[1])
    ticks = progress(range(total), "checking the images")
    check_images(parts[0] + parts[1], lambda _done, _all: next(ticks, None))
    next(ticks, None)  # past the last image, so that the bar ends
    found = digest(parts[0] + parts[1])
    if record["data"].setdefault("digest", found) != found:
        raise DataError(f"the images in {plan.data} changed since this run began; train again")
    _write_record(plan.out, record)
    data = TrainingSet(_load_images(parts[0], method, plan.out, progress), progress)
    position = fit(
        method,
        data,
        plan.out,
        seed=plan.seed,
        bounds=plan.bounds,
        bar=bar,
        resume=resume and (plan.out / CHECKPOINT).is_file(),
    )
    record |= {
        "train_seconds": round(position.total_seconds, 1),
        "steps": position.total_steps,
        "history": position.history,
    }
    _finish(plan.out, method, record)
    _write_picture(plan.out / PICTURE_FILE, method, parts[1][:PICTURE_IMAGES])
    return _as_run(plan.out, method, parts, record)


def load_run(run_dir: str | Path, data: str | Path | None = None) -> Run:
    """The finished run in ``run_dir``: method with its weights, in evaluation mode, and samples.

    ``data``: where its images lie now, None for where they lay in training.
    Errors: TrainingError for a folder that is no run, is unfinished or damaged; DataError when the
    images moved or changed since.
    """
    path = Path(run_dir)
    record = read_record(path)
    if not (path / MODEL_FILE).is_file():
        command = f"edgead train {record['method']} {record['data']['path']} --out {path} --resume"
        raise TrainingError(f"{path} is not finished; go on with: {command}")
    root = Path(record["data"]["path"] if data is None else data)
    if data is not None and not root.is_dir():
        raise DataError(f"{root} is no folder; give the one that {path} was trained on")
    if not root.is_dir():
        raise DataError(
            f"{path} was trained on {root}, which is no longer there; restore it, or say where it "
            "is with --data DIR"
        )
    parts = _samples(record, open_dataset(root))
    if digest(parts[0] + parts[1]) != record["data"]["digest"]:
        raise DataError(
            f"the images in {root} changed since {path} was trained; restore "
            "them or train again, since calibration needs images that training did not see"
        )
    method = METHODS[record["method"]].from_settings(record["settings"], len(parts[0]))
    try:
        method.load_state_dict(load_file(path / MODEL_FILE))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"{path / MODEL_FILE} does not fit ({reason}): it is damaged, or another version of "
            f"edgead wrote it ({record['versions']['edgead']}); train again"
        ) from error
    return _as_run(path, method.eval(), parts, record)


def _begin(plan: Plan, dataset: Dataset) -> tuple[Plan, Any, dict[str, Any]]:
    if plan.method not in METHODS:
        raise TrainingError(f"{plan.method} is no method; choose one of {sorted(METHODS)}")
    if (plan.out / RUN_FILE).exists():
        raise TrainingError(
            f"{plan.out} holds a run already: go on with --resume, or give another --out"
        )
    settings = _all_settings(plan)
    parts = split(dataset.train, plan.seed, plan.calibration_fraction)
    record = {
        "schema_version": SCHEMA_VERSION,
        "method": plan.method,
        "preset": plan.preset or DEFAULT_PRESET,
        "settings": settings,
        "seed": plan.seed,
        "bounds": asdict(plan.bounds),
        "calibration_fraction": plan.calibration_fraction,
        "data": {"path": str(plan.data.resolve()), "layout": dataset.layout},
        "train": [sample.name for sample in parts[0]],
        "calibration": [sample.name for sample in parts[1]],
        "versions": _versions(),
        "command": plan.command(),
    }
    return replace(plan, settings=settings), parts, record


def _take_up(plan: Plan, dataset: Dataset) -> tuple[Plan, Any, dict[str, Any]]:
    """The plan that a stopped run was begun with. New bounds are taken; the rest must agree."""
    record = read_record(plan.out)
    if (plan.out / MODEL_FILE).is_file():
        raise TrainingError(f"{plan.out} is trained already; next: edgead export {plan.out}")
    if plan.method != record["method"]:
        raise TrainingError(f"{plan.out} is a run of {record['method']}, not of {plan.method}")
    begun_with = full_settings(plan.method, DEFAULT_PRESET, record["settings"])
    if (plan.preset or plan.settings) and _all_settings(plan) != begun_with:
        raise TrainingError(
            f"{plan.out} was begun with: {record['command']}; leave --preset and --set out, or "
            "give the same"
        )
    bounds = Bounds(**record["bounds"]) if plan.bounds == Bounds() else plan.bounds
    fraction = record["calibration_fraction"]
    begun = Plan(
        plan.method, plan.data, plan.out, record["settings"], record["seed"], bounds, fraction
    )
    return begun, _samples(record, dataset), record


def _all_settings(plan: Plan) -> dict[str, Any]:
    return full_settings(plan.method, plan.preset or DEFAULT_PRESET, plan.settings)


def full_settings(method: str, preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every setting of a method, as plain JSON: the preset and, over it, ``settings``.

    All of them are kept with a run, so that a later default changes no run of before.
    Errors: TrainingError for a preset or a setting that is not there or cannot be used.
    """
    presets = METHODS[method].presets
    if preset not in presets:
        raise TrainingError(f"{method} has no preset {preset!r}; choose one of {sorted(presets)}")
    built = METHODS[method].from_settings(presets[preset] | settings, n_train=2)
    return dict(json.loads(json.dumps(built.settings())))


def _samples(
    record: dict[str, Any], dataset: Dataset
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    by_name = {sample.name: sample for sample in dataset.train}
    missing = [n for n in record["train"] + record["calibration"] if n not in by_name]
    if missing:
        raise DataError(
            f"{len(missing)} images of this run are no longer in {dataset.root}, such as "
            f"{missing[0]}; restore them or train again"
        )
    train, calibration = (
        tuple(by_name[name] for name in record[part]) for part in ("train", "calibration")
    )
    return train, calibration


def _load_images(
    samples: tuple[Sample, ...], method: Method, out: Path, progress: Progress
) -> torch.Tensor:
    """[N, 3, H, W] float32, channels last in memory, preprocessed as the runtime does it."""
    params = method.preprocess_params()
    shape = (len(samples), *params.size, 3)
    count = int(np.prod(shape))
    if 4 * count <= IMAGE_BYTES_IN_MEMORY:
        images = torch.empty(shape)
    else:
        images = torch.from_file(str(out / "images.f32"), shared=True, size=count).view(shape)
    preprocessor = Preprocessor(params)
    for row, sample in enumerate(progress(samples, "reading the images")):
        images[row] = torch.from_numpy(preprocessor(read_image(sample.path))).permute(1, 2, 0)
    return images.permute(0, 3, 1, 2)


def _finish(out: Path, method: Method, record: dict[str, Any]) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in method.state_dict().items()}
    _write_record(out, record)
    write_file(out / MODEL_FILE, save(tensors))
    for name in (CHECKPOINT, "images.f32"):
        (out / name).unlink(missing_ok=True)


def _write_picture(path: Path, method: Method, samples: tuple[Sample, ...]) -> None:
    """Rows of ``Method.preview`` for a few held-out images, as one picture."""
    params = method.preprocess_params()
    preprocessor = Preprocessor(params)
    images = np.stack([preprocessor(read_image(sample.path)) for sample in samples])
    with torch.no_grad():
        rows = [row.numpy() for row in method.preview(torch.from_numpy(images))]
    mean, std = (np.array(x, np.float32)[:, None, None] for x in (params.mean, params.std))
    tiles = [np.concatenate(list(255 * (row * std + mean)), axis=2) for row in rows]
    picture = np.concatenate(tiles, axis=1).clip(0, 255).astype(np.uint8)
    write_png(path, picture[::-1].transpose(1, 2, 0))  # RGB planes to BGR pixels


def _as_run(out: Path, method: Method, parts: Any, record: dict[str, Any]) -> Run:
    train, calibration = parts
    data = {
        "name": Path(record["data"]["path"]).name,
        "layout": record["data"]["layout"],
        "digest": record["data"]["digest"],
        "n_train": len(train),
        "n_calibration": len(calibration),
    }
    kept = ("method", "seed", "versions", "command", "train_seconds", "steps")
    provenance = {key: record[key] for key in kept}
    return Run(
        out, method, train, calibration, provenance | {"data": data, "settings": method.settings()}
    )


def read_record(path: Path) -> dict[str, Any]:
    """What ``run.json`` in the folder ``path`` says. Errors: TrainingError."""
    try:
        record = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        found = record["schema_version"]
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} is not a training run: it has no {RUN_FILE}; make one with: "
            f"edgead train redi DATA --out {path}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path / RUN_FILE} is damaged ({error}); train again") from error
    if found != SCHEMA_VERSION:
        raise TrainingError(
            f"{path} was written with schema {found}, this edgead reads {SCHEMA_VERSION}: upgrade"
        )
    return {"preset": DEFAULT_PRESET, **record}  # the first runs had no presets


def _write_record(out: Path, record: dict[str, Any]) -> None:
    write_file(out / RUN_FILE, (json.dumps(record, indent=1) + "\n").encode())


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; give a folder for the run")
    out.mkdir(parents=True, exist_ok=True)


def _versions() -> dict[str, str]:
    names = ("edgead", "torch", "numpy", "opencv-python-headless")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # another distribution of the same package
            found[name] = "unknown"
    return found


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


__all__ = ["Bounds", "Interrupted", "Plan", "Run", "load_run", "read_record", "train"]
