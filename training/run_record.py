"""What a training run is asked for, and the record of it: RUN/run.json.

A run is begun from a plan, or taken up from its record; either way the plan, the data set and the
division of its images come out.
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

from edgead.errors import DataError, TrainingError
from edgead.files import write_file
from edgead.tiling import Tiling

from .data import Dataset, Parts, count_parts, open_dataset, split
from .fit import Bounds
from .methods import METHODS

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
MODEL_FILE = "model.safetensors"
DEFAULT_PRESET = "edge"
CALIBRATION_FRACTION = 0.2  # of the good images
CHOICES = ("layout", "category", "group", "shots")  # of a plan, about its data
_RECORDED = (
    *("method", "settings", "seed", "bounds", "calibration_fraction", "data", "train"),
    *("calibration", "versions", "command"),
)  # what every record has


@dataclass(frozen=True)
class Plan:
    """What the user asked for; written to run.json before the first step."""

    method: str
    data: Path
    out: Path
    settings: dict[str, Any]
    seed: int | None = None  # None: 0, or that of the run to resume
    bounds: Bounds = field(default_factory=Bounds)
    calibration_fraction: float | None = None  # None: 0.2, or that of the run to resume
    preset: str | None = None  # None: edge, or that of the run to resume
    layout: str | None = None  # this one and the next: see open_dataset
    category: str | None = None
    group: str | None = None  # this one and the next: see split
    shots: int | None = None
    textures: Path | None = None  # None: none, or those of the run to resume
    tiling: Tiling | None = None  # None: whole images, or as in the run to resume
    device: str = "auto"  # see processes.launch; where it runs is not part of what is asked for

    def command(self) -> str:
        """The command line that does this again, without the paths of this machine."""
        words = ["edgead", "train", self.method, self.data.resolve().name, "--out", self.out.name]
        words += ["--preset", self.preset] if self.preset not in (None, DEFAULT_PRESET) else []
        for key, value in self.settings.items():
            words += ["--set", f"{key}={_plain(value)}"]
        words += ["--seed", str(self.seed or 0)]
        for key, bound in asdict(self.bounds).items():
            words += [f"--{key}", f"{bound:g}"] if bound is not None else []
        if self.calibration_fraction not in (None, CALIBRATION_FRACTION):
            words += ["--calibration", f"{self.calibration_fraction:g}"]
        if self.tiling is not None:
            words += ["--tile", str(self.tiling.size[0])]
            words += ["--tile-overlap", str(self.tiling.overlap)]
        for key in CHOICES:
            words += [] if getattr(self, key) is None else [f"--{key}", str(getattr(self, key))]
        words += [] if self.textures is None else ["--textures", self.textures.resolve().name]
        return shlex.join(words)


def tell_split(plan: Plan, parts: Parts, log: Callable[[str], None]) -> None:
    """Say how the images were divided."""
    train, calibration = parts
    shots = "" if plan.shots is None else f" (--shots {plan.shots})"
    log(
        f"split  {len(train)} to train on{shots}, {len(calibration)} to calibrate with, "
        f"seed {plan.seed}"
    )
    if plan.group is not None:
        learnt, held_out = (count_parts(samples, plan.group) for samples in parts)
        log(f"parts  {learnt} to train on, {held_out} to calibrate with, by --group {plan.group}")
        log(
            "note   images of one part resemble each other: the false-reject rate is promised as "
            "an average over parts, and is known less well than the images suggest"
        )
    if len(train) < 10:
        log(f"note   {len(train)} training images are few: expect good parts to be rejected")


def open_recorded(root: Path, data: dict[str, Any]) -> Dataset:
    """The data of a record, where it lies now."""
    return open_dataset(root, layout=data["layout"], category=data.get("category"))


def begin(plan: Plan) -> tuple[Plan, Dataset, Parts, dict[str, Any]]:
    """The plan with all settings, its data, their division and the record of it."""
    if plan.method not in METHODS:
        raise TrainingError(
            f"{plan.method} is not a method; choose one of: {', '.join(sorted(METHODS))}"
        )
    if (plan.out / RUN_FILE).exists():
        raise TrainingError(
            f"{plan.out} holds a run already: go on with --resume, or give another --out"
        )
    if plan.textures is not None and not METHODS[plan.method].takes_textures:
        raise TrainingError(f"{plan.method} makes no use of --textures; leave it out")
    settings, seed = _all_settings(plan), plan.seed or 0
    fraction = plan.calibration_fraction
    fraction = CALIBRATION_FRACTION if fraction is None else fraction
    dataset = open_dataset(plan.data, layout=plan.layout, category=plan.category)
    parts = split(dataset.train, seed, fraction, group=plan.group, shots=plan.shots)
    record = {
        "schema_version": SCHEMA_VERSION,
        "method": plan.method,
        "preset": plan.preset or DEFAULT_PRESET,
        "settings": settings,
        "seed": seed,
        "bounds": asdict(plan.bounds),
        "calibration_fraction": fraction,
        "data": {"path": str(plan.data.resolve())}
        | {key: getattr(plan, key) for key in CHOICES}
        | {"layout": dataset.layout}
        | ({} if plan.textures is None else {"textures": str(plan.textures.resolve())}),
        "train": [sample.name for sample in parts[0]],
        "calibration": [sample.name for sample in parts[1]],
        "versions": _versions(),
        "command": plan.command(),
    }
    if plan.tiling is not None:
        record["tiling"] = asdict(plan.tiling)
    plan = replace(plan, settings=settings, seed=seed, calibration_fraction=fraction)
    return plan, dataset, parts, record


def take_up(plan: Plan) -> tuple[Plan, Dataset, Parts, dict[str, Any]]:
    """The plan that a stopped run was begun with. New bounds are taken; the rest must agree."""
    record = read_record(plan.out)
    if (plan.out / MODEL_FILE).is_file():
        raise TrainingError(f"{plan.out} is trained already; next: edgead export {plan.out}")
    if plan.method != record["method"]:
        raise TrainingError(f"{plan.out} is a run of {record['method']}, not of {plan.method}")
    if plan.tiling not in (None, recorded_tiling(record)):
        raise TrainingError(
            f"{plan.out} was begun with other tiles; leave --tile and --tile-overlap out"
        )
    plan = replace(plan, tiling=recorded_tiling(record))
    begun_with = full_settings(plan.method, DEFAULT_PRESET, record["settings"])
    if (plan.preset or plan.settings) and _all_settings(plan) != begun_with:
        raise TrainingError(
            f"{plan.out} was begun with: {record['command']}; leave --preset and --set out, or "
            "give the same"
        )
    bounds = Bounds(**record["bounds"]) if plan.bounds == Bounds() else plan.bounds
    seed, fraction, data = record["seed"], record["calibration_fraction"], record["data"]
    divided = {"seed": (plan.seed, seed), "calibration": (plan.calibration_fraction, fraction)}
    for key, (expected, kept) in divided.items():
        if expected not in (None, kept):
            raise TrainingError(
                f"{plan.out} was begun with --{key} {kept}, not {expected}; leave --{key} out"
            )
    for key in CHOICES:
        if getattr(plan, key) not in (None, data.get(key)):
            raise TrainingError(
                f"{plan.out} was begun with {key} {data.get(key)}, not {getattr(plan, key)}; leave "
                f"--{key} out"
            )
    choices = {key: data.get(key) for key in CHOICES}
    if plan.textures is not None and "textures" not in data:
        raise TrainingError(f"{plan.out} was begun without --textures; leave it out")
    textures = plan.textures or (Path(data["textures"]) if "textures" in data else None)
    begun = Plan(
        plan.method, plan.data, plan.out, record["settings"], seed, bounds, fraction,
        **choices, textures=textures, tiling=plan.tiling,
    )  # fmt: skip
    dataset = open_recorded(plan.data, data)
    return begun, dataset, recorded_samples(record, dataset), record


def recorded_tiling(record: dict[str, Any]) -> Tiling | None:
    """How the run's images are cut into tiles; None when they are seen whole."""
    tiling = record.get("tiling")
    return None if tiling is None else Tiling(tuple(tiling["size"]), tiling["overlap"])


def n_learnt(record: dict[str, Any]) -> int:
    """How many images the run learns from, each tile being one: of so many a method can keep some.

    The first runs with tiles did not note these; what they keep is bounded by their images.
    """
    return int(record.get("tiles", len(record["train"])))


def _all_settings(plan: Plan) -> dict[str, Any]:
    preset, settings = plan.preset or DEFAULT_PRESET, plan.settings
    every = full_settings(plan.method, preset, settings)
    if plan.tiling is None:
        return every
    if settings.get("position") is True:
        raise TrainingError(
            "position=true measures what is usual at each position of the image, and with "
            "--tile a position of the image is not a place of the part: leave one of them out"
        )
    if every.get("quiet_border"):
        raise TrainingError(
            "quiet_border=true lets the border of what the method sees count less, and with --tile "
            "that is each tile's, amid the part: add --set quiet_border=false, or leave --tile out"
        )
    return every | ({"position": False} if "position" in every else {})


def full_settings(method: str, preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every setting of a method, as plain JSON: the preset and, over it, ``settings``.

    All of them are kept with a run, so that a later default changes no run of before.
    Errors: TrainingError for a preset or a setting that is not there or cannot be used.
    """
    presets = METHODS[method].presets
    if preset not in presets:
        raise TrainingError(
            f"{method} has no preset {preset!r}; choose one of: {', '.join(sorted(presets))}"
        )
    every = asdict(METHODS[method].read(presets[preset] | settings))
    return dict(json.loads(json.dumps(every)))


def recorded_samples(record: dict[str, Any], dataset: Dataset) -> Parts:
    """The samples that a record names. Errors: DataError when some are gone."""
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


def read_record(path: Path) -> dict[str, Any]:
    """What ``run.json`` in the folder ``path`` says. Errors: TrainingError."""
    try:
        record = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        found = record["schema_version"]
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} is not a training run: it has no {RUN_FILE}; make one with: "
            "edgead train redi DATA --out RUN"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path / RUN_FILE} is damaged ({error}); train again") from error
    if found != SCHEMA_VERSION:
        raise TrainingError(
            f"{path} was written with schema {found}, this edgead reads {SCHEMA_VERSION}: upgrade"
        )
    missing = [key for key in _RECORDED if key not in record]
    if missing:
        raise TrainingError(
            f"{path / RUN_FILE} is damaged (it lacks {', '.join(missing)}); train again"
        )
    if record["method"] not in METHODS:
        raise TrainingError(
            f"{path} is a run of {record['method']}, which this edgead does not know "
            f"(it has {', '.join(sorted(METHODS))}): upgrade, or train again"
        )
    return {"preset": DEFAULT_PRESET, **record}  # the first runs had no presets


def write_record(out: Path, record: dict[str, Any]) -> None:
    write_file(out / RUN_FILE, (json.dumps(record, indent=1) + "\n").encode())


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
