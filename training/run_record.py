"""What a training run is asked for, and the record of it: RUN/run.json."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from edgead.errors import DataError, TrainingError
from edgead.files import read_file, write_file
from edgead.images import ORIENTATION
from edgead.images.bits import check_bit_depth
from edgead.tiling import Tiling

from . import run_backbone, run_division
from .checkpoint import MODEL_FILE
from .data import Dataset, Parts, count_parts, open_dataset
from .data.grouping import absolute, is_list, name_of
from .data.splitting import OF_PARTS
from .features.backbone import FrozenBackbone
from .features.choice import BackboneChoice
from .fit import Bounds
from .methods import METHODS
from .progress import SILENT, Progress

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
DEFAULT_PRESET = "edge"
CALIBRATION_FRACTION = 0.2  # of the good images
CHOICES = ("layout", "category", "group", "shots", "bit_depth")  # of the options, on the data
_RECORDED = (
    *("method", "settings", "seed", "bounds", "calibration_fraction", "data", "train"),
    *("calibration", "versions", "command"),
)  # what every record has


@dataclass(frozen=True)
class TrainingOptions:
    """What to train, on what, for how long; written to run.json before the first step.

    None stands for the default, or for what the run to resume was begun with.

    Args:
        method: one of ``METHODS``.
        data: folder of good images, or a data set; see ``open_dataset``.
        out: folder of the run.
        settings: of the method, as plain JSON, over those of the preset.
        seed: of the split and of every random draw; default 0.
        bounds: how long to train.
        calibration_fraction: share of the good images held out, in (0, 1); default 0.2.
        preset: one of the method's; default edge.
        layout, category: see ``open_dataset``.
        group, shots: see ``split``.
        bit_depth: of uint16 images, 9 to 16; the bundle will take frames to have it too.
        textures: folder of pictures of other things, for ssae.
        tiling: learn from tiles; default whole images.
        device: auto, cpu or cuda, see ``launch``; not part of the record.
        precision: float32 or bfloat16; default what ``chosen_precision`` finds.
        backbone: for redi and agpnet.

    Raises:
        TrainingError: ``calibration_fraction`` out of its range, ``out`` not UTF-8.
        InputError: ``bit_depth`` out of its range.
    """

    method: str
    data: Path
    out: Path
    settings: dict[str, Any]
    seed: int | None = None
    bounds: Bounds = field(default_factory=Bounds)
    calibration_fraction: float | None = None
    preset: str | None = None
    layout: str | None = None
    category: str | None = None
    group: str | None = None
    shots: int | None = None
    bit_depth: int | None = None
    textures: Path | None = None
    tiling: Tiling | None = None
    device: str = "auto"
    precision: str | None = None
    backbone: BackboneChoice = field(default_factory=BackboneChoice)

    def __post_init__(self) -> None:
        check_bit_depth(self.bit_depth)
        if self.group is not None:
            object.__setattr__(self, "group", absolute(self.group))
        try:
            str(self.out).encode()
        except UnicodeEncodeError as error:
            raise TrainingError(
                f"--out {self.out} is not UTF-8, and safetensors reads no checkpoint in a folder "
                "so named; give another name"
            ) from error
        share = self.calibration_fraction
        if share is not None and not 0 < share < 1:
            raise TrainingError(f"--calibration {share} is not a share; give 0 < F < 1")

    def command(self) -> str:
        """The command line that does this again, without the paths of this machine."""
        words = ["edgead", "train", self.method, self.data.resolve().name, "--out", self.out.name]
        words += ["--preset", self.preset] if self.preset not in (None, DEFAULT_PRESET) else []
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value if isinstance(value, str) else _compact(value)}"]
        words += ["--seed", str(self.seed or 0)]
        for key, bound in asdict(self.bounds).items():
            words += [f"--{key}", f"{bound:g}"] if bound is not None else []
        if self.calibration_fraction not in (None, CALIBRATION_FRACTION):
            words += ["--calibration", f"{self.calibration_fraction:g}"]
        if self.tiling is not None:
            words += ["--tile", str(self.tiling.size[0])]
            words += ["--tile-overlap", str(self.tiling.overlap)]
        given = {key: getattr(self, key) for key in CHOICES}
        given["group"] = None if self.group is None else name_of(self.group)
        for key, value in given.items():
            words += [] if value is None else [option(key), str(value)]
        words += self.backbone.words()
        words += [] if self.precision is None else ["--precision", self.precision]
        words += [] if self.textures is None else ["--textures", self.textures.resolve().name]
        return shlex.join(words)


def option(key: str) -> str:
    """The name of an option on the command line."""
    return f"--{key.replace('_', '-')}"


class Begun(NamedTuple):
    """A run that begins or is resumed."""

    options: TrainingOptions  # with all settings
    dataset: Dataset
    parts: Parts
    record: dict[str, Any]
    backbone: FrozenBackbone | None = None


def begin(options: TrainingOptions, progress: Progress = SILENT.progress) -> Begun:
    """A new run; every good image is decoded once. Raises: DataError, TrainingError."""
    if options.method not in METHODS:
        raise TrainingError(
            f"{options.method} is not a method; choose one of: {', '.join(sorted(METHODS))}"
        )
    if (options.out / RUN_FILE).exists():
        raise TrainingError(
            f"{options.out} holds a run already: use --resume, remove the folder, or give another "
            "--out"
        )
    if options.out.exists() and not options.out.is_dir():
        raise TrainingError(f"{options.out} is a file; give a folder for the run")
    if options.textures is not None and not METHODS[options.method].takes_textures:
        raise TrainingError(f"{options.method} does not use --textures; remove the option")
    settings, seed, fraction = _all_settings(options), options.seed or 0, CALIBRATION_FRACTION
    if options.calibration_fraction is not None:
        fraction = options.calibration_fraction
    backbone = run_backbone.opened(options.method, options.backbone, settings)
    dataset = open_dataset(options.data, layout=options.layout, category=options.category)
    chosen = {"group": options.group, "shots": options.shots}
    division = run_division.divided(dataset, seed, fraction, chosen, progress, options.bit_depth)
    parts = division.parts
    record = {
        "schema_version": SCHEMA_VERSION,
        "method": options.method,
        "preset": options.preset or DEFAULT_PRESET,
        "settings": settings,
        "seed": seed,
        "bounds": asdict(options.bounds),
        "calibration_fraction": fraction,
        "data": {"path": str(options.data.resolve())}
        | {key: getattr(options, key) for key in CHOICES}
        | {"layout": dataset.layout}
        | ({} if options.textures is None else {"textures": str(options.textures.resolve())}),
        "train": [sample.name for sample in parts[0]],
        "calibration": [sample.name for sample in parts[1]],
        **ORIENTATION,
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("edgead", "torch", "numpy", "opencv-python-headless")},
        "command": options.command(),
    }
    if backbone is not None:
        record[run_backbone.KEY] = backbone.facts()
    run_division.note(record, division)
    if options.group is not None:
        counts = (count_parts(samples, options.group) for samples in parts)
        record["data"]["parts"] = dict(zip(("train", "calibration"), counts, strict=True))
    if options.tiling is not None:
        record["tiling"] = asdict(options.tiling)
    options = replace(options, settings=settings, seed=seed, calibration_fraction=fraction)
    return Begun(options, dataset, parts, record, backbone)


def take_up(options: TrainingOptions, progress: Progress = SILENT.progress) -> Begun:
    """A stopped run, with the options that it was begun with; only the bounds may differ.

    Raises: DataError, TrainingError.
    """
    out = options.out
    record = read_record(out)
    seed, fraction, data = record["seed"], record["calibration_fraction"], record["data"]
    if (out / MODEL_FILE).is_file():
        raise TrainingError(f"{out} is trained already; next: edgead export {out}")
    if options.method != record["method"]:
        raise TrainingError(f"{out} is a run of {record['method']}, not of {options.method}")
    tiling = recorded_tiling(record)
    if options.tiling not in (None, tiling):
        raise TrainingError(f"{out} was begun with other tiles; remove --tile and --tile-overlap")
    options = replace(options, tiling=tiling)
    begun_with = full_settings(options.method, DEFAULT_PRESET, record["settings"])
    if (options.preset or options.settings) and _all_settings(options) != begun_with:
        raise TrainingError(
            f"{out} was begun with: {record['command']}; remove --preset and --set, or give the "
            "same"
        )
    kept = {"seed": (options.seed, seed), "calibration": (options.calibration_fraction, fraction)}
    precision = record.setdefault("precision", "float32")  # that of older runs
    kept |= {"precision": (options.precision, precision)}
    kept |= {key: (getattr(options, key), data.get(key)) for key in CHOICES}
    for key, (given, begun) in kept.items():
        if given not in (None, begun):
            raise TrainingError(
                f"{out} was begun with {option(key)} {begun}, not {given}; remove {option(key)}"
            )
    run_backbone.check_same(options.backbone, record, out)
    if options.textures is not None and "textures" not in data:
        raise TrainingError(f"{out} was begun without --textures; remove the option")
    data = with_own_list(record, out)["data"]
    options = replace(
        options,
        settings=record["settings"],
        seed=seed,
        bounds=Bounds(**record["bounds"]) if options.bounds == Bounds() else options.bounds,
        calibration_fraction=fraction,
        preset=None,
        textures=options.textures or (Path(data["textures"]) if "textures" in data else None),
        **{key: data.get(key) for key in CHOICES},
    )
    dataset, parts = recorded_data(record, options.data)
    run_division.look(parts[0] + parts[1], progress, options.bit_depth)
    return Begun(options, dataset, parts, record, run_backbone.reopened(record, out))


def tell(begun: Begun, log: Callable[[str], None]) -> None:
    """Say what was read, and how the images were divided."""
    options, parts = begun.options, begun.parts
    train, calibration = map(len, parts)
    log(f"read   {options.data}: {begun.dataset.summary()}")
    for line in begun.dataset.notes():
        log(f"note   {line}")
    shots = "" if options.shots is None else f" (--shots {options.shots})"
    log(f"split  {train} to train on{shots}, {calibration} to calibrate with, seed {options.seed}")
    if begun.backbone is not None:
        log(f"uses   {run_backbone.sentence(begun.backbone)}")
    if options.group is not None:
        learnt, held_out = (count_parts(samples, options.group) for samples in parts)
        log(
            f"parts  {learnt} to train on, {held_out} to calibrate with, by --group {options.group}"
        )
        log(f"note   {OF_PARTS}")
    if train < 10:
        log(f"note   {train} training images are few: expect good parts to be rejected")
    for warning in begun.record.get("warnings", ()):
        log(f"warning: {warning}")


def recorded_tiling(record: dict[str, Any]) -> Tiling | None:
    """How the run's images are cut into tiles; None when they are seen whole."""
    tiling = record.get("tiling")
    return None if tiling is None else Tiling(tuple(tiling["size"]), tiling["overlap"])


def n_learnt(record: dict[str, Any]) -> int:
    """How many images the run learns from, each tile being one; early records lack the tiles."""
    return int(record.get("tiles", len(record["train"])))


def _all_settings(options: TrainingOptions) -> dict[str, Any]:
    preset, settings = options.preset or DEFAULT_PRESET, options.settings
    every = full_settings(options.method, preset, settings)
    if options.tiling is None:
        return every
    if settings.get("position") is True:
        raise TrainingError(
            "position=true measures what is usual at each position of the image, and with "
            "--tile a position of the image is not a place of the part: remove one of them"
        )
    return every | ({"position": False} if "position" in every else {})


def full_settings(method: str, preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every setting of a method, as plain JSON, so that a later default changes no run of before.

    Args:
        method: one of ``METHODS``.
        preset: one of the method's.
        settings: over those of the preset.

    Raises:
        TrainingError: a preset or a setting that is not there or cannot be used.
    """
    presets = METHODS[method].presets
    if preset not in presets:
        raise TrainingError(
            f"{method} has no preset {preset!r}; choose one of: {', '.join(sorted(presets))}"
        )
    return dict(json.loads(_compact(asdict(METHODS[method].read(presets[preset] | settings)))))


def recorded_data(record: dict[str, Any], root: Path) -> tuple[Dataset, Parts]:
    """The data of a record in the folder ``root``, as it was divided. Raises: DataError."""
    data = record["data"]
    dataset = open_dataset(root, layout=data["layout"], category=data.get("category"))
    by_name = {sample.name: sample for sample in dataset.train}
    missing = [n for n in record["train"] + record["calibration"] if n not in by_name]
    if missing:
        raise DataError(
            f"{len(missing)} images of this run are no longer in {root}, such as "
            f"{missing[0]}; restore them or train again"
        )
    train, calibration = (
        tuple(by_name[name] for name in record[part]) for part in ("train", "calibration")
    )
    return dataset, (train, calibration)


def read_record(path: Path) -> dict[str, Any]:
    """What ``run.json`` in the folder ``path`` says. Raises: TrainingError."""
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
    before = dict(METHODS[record["method"]].settings_type.added)
    record["settings"] = before | record["settings"]
    return {"preset": DEFAULT_PRESET, **record}  # the first runs had no presets


def write_begun(begun: Begun) -> None:
    """Write the record of a run, and what it keeps of its backbone and of the list of parts."""
    out, group = begun.options.out, begun.options.group
    run_backbone.keep(begun.backbone, out)
    if group is not None and is_list(group):
        write_file(own_list(out, group), read_file(group))
    write_record(out, begun.record)


def own_list(out: Path, group: str) -> Path:
    """Where a run keeps the list of ``--group``, which may move."""
    return out / ("parts" + Path(group).suffix)


def with_own_list(record: dict[str, Any], out: Path) -> dict[str, Any]:
    """A run's record with the list that the run keeps, where it has one."""
    group = record["data"].get("group")
    if group is None or not is_list(group) or not own_list(out, group).is_file():
        return record
    return {**record, "data": {**record["data"], "group": str(own_list(out, group).resolve())}}


def write_record(out: Path, record: dict[str, Any]) -> None:
    write_file(out / RUN_FILE, (json.dumps(record, indent=1) + "\n").encode())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # another distribution of the same package
        return "unknown"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
