"""A training run: a folder with the settings, the split, the checkpoint and the trained model.

RUN/run.json                 method, settings, data, split, seed, versions, command, loss history
RUN/checkpoint.safetensors   while training is not finished
RUN/model.safetensors        when it is
RUN/backbone.onnx            where --backbone was a file
RUN/training.html            losses, and early figures on synthetic defects, over the steps
RUN/recovered.png            what the method makes of a few calibration images, for people
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from edgead.bundle.known_images import contents_of
from edgead.errors import DataError, TrainingError
from edgead.files import write_file
from edgead.images import ORIENTATION, read_image, write_png
from edgead.preprocess import Preprocessor
from edgead.tiling import Tiling, middle

from . import run_backbone, run_record, training_set
from .checkpoint import CHECKPOINT, MODEL_FILE, why_not
from .data import Parts, Sample, digest
from .early import EarlyFigures
from .features.backbone import FrozenBackbone
from .fit import fit
from .methods import METHODS, Method, TrainingSet
from .precision import chosen_precision
from .processes import check_batch, describe, launch, together
from .progress import SILENT, Reporter
from .run_division import divided_again
from .run_page import write_page
from .run_record import CHOICES, TrainingOptions

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PICTURE_FILE = "recovered.png"
PICTURE_IMAGES = 6


@dataclass(frozen=True)
class Run:
    """A trained method and what it was trained from.

    Args:
        path: the folder of the run.
        method: with its weights, on the CPU, in evaluation mode.
        train, calibration: good images, divided by name; nothing that is in one is in the other.
        provenance: plain JSON for the bundle.
        tiling: of the tiles it has learnt from; None for whole images.
        test: labelled images of its data, when the run was read back.
        warnings: of the images, for people.
        left_out: of its data, by reason, when it was trained; see ``Dataset``.
    """

    path: Path
    method: Method
    train: tuple[Sample, ...]
    calibration: tuple[Sample, ...]
    provenance: dict[str, Any]
    tiling: Tiling | None = None
    test: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.resolve().name


def train(options: TrainingOptions, *, resume: bool = False, reporter: Reporter = SILENT) -> Run:
    """Train a method on the good images of a data set; everything goes to ``options.out``.

    Args:
        options: what to train, on what, for how long.
        resume: go on from the checkpoint in ``options.out``.
        reporter: what is told to people; of several processes the first reports, and writes.

    Returns:
        The finished run.

    Raises:
        DataError, TrainingError: bad data or options; nothing is written then.
        DeviceError: a device that is not there.
        Interrupted: a signal stopped it; the checkpoint is on disk.
    """
    fabric = launch(options.device)
    precision = chosen_precision(options.precision, fabric)  # together, before one may fail
    reporter = reporter if (first := fabric.is_global_zero) else SILENT
    with together(fabric):
        start = run_record.take_up if resume else run_record.begin
        options, dataset, parts, record, backbone = begun = start(options, reporter.progress)
        run_record.tell(begun, reporter.log)
        config = METHODS[options.method].read(options.settings)
        check_batch(fabric, config.batch_size)
        reporter.log(f"device {_device(precision, record, fabric)}")
        textures = training_set.choose_textures(options.textures)
        training_set.note_content(record["data"], options, parts, textures)
        tiles = training_set.choose_tiles(
            parts, options.tiling, config.size, record["seed"], reporter.progress, options.bit_depth
        )
        if options.tiling is not None and not resume:
            record["tiles"] = sum(map(len, tiles))
        torch.manual_seed(record["seed"])
        method = _untrained(record, backbone)
        foreign = training_set.load_textures(textures, method.preprocess_params())
    with together(fabric):
        options.out.mkdir(parents=True, exist_ok=True)  # not before: an error leaves nothing
        if first:
            run_record.write_begun(begun)
        images = training_set.load_images(
            parts[0], tiles, method.preprocess_params(), options.out, reporter.progress, first,
            config.varied, record["seed"],
        )  # fmt: skip
    position = fit(
        method, TrainingSet(images, reporter.progress, textures=foreign, varied=config.varied),
        options.out, seed=record["seed"], bounds=options.bounds, bar=reporter.bar, fabric=fabric,
        resume=resume and (options.out / CHECKPOINT).is_file(), precision=record["precision"],
        early=EarlyFigures(method, parts[1], options.tiling) if first else None,
    )  # fmt: skip
    record |= {
        "train_seconds": round(position.total_seconds, 1), "steps": position.total_steps,
        "device": fabric.device.type, "processes": fabric.world_size, "history": position.history,
        "early": position.early, "found": method.found,
    }  # fmt: skip
    run = _as_run(options.out, method, parts, record)
    if first:
        _write(run, record)
    fabric.barrier()  # no process returns before the run is on disk
    return replace(run, left_out=dataset.left_out)


def _device(precision: str, record: dict[str, Any], fabric: Fabric) -> str:
    """What trains and, where it is not float32, the precision, which the record keeps."""
    narrow = record.setdefault("precision", precision) == "bfloat16"
    return describe(fabric) + (", in bfloat16" if narrow else "")


def load_run(run_dir: str | Path, data: str | Path | None = None) -> Run:
    """Read a finished run back.

    Args:
        run_dir: the folder of the run.
        data: where its images lie now; None for where they lay in training.

    Returns:
        The run, with the test images of its data.

    Raises:
        TrainingError: not a run, unfinished or damaged.
        DataError: the images moved or changed since.
    """
    path = Path(run_dir)
    record = run_record.with_own_list(run_record.read_record(path), path)
    if not (path / MODEL_FILE).is_file():
        command = f"edgead train {record['method']} {record['data']['path']} --out {path} --resume"
        raise TrainingError(f"{path} is not finished; resume it: {command}")
    root = Path(record["data"]["path"] if data is None else data)
    if not root.is_dir():
        raise DataError(
            f"{path} was trained on {root}, which is no longer there; restore it, or say where it "
            "is with --data DIR"
            if data is None
            else f"{root} is not a folder; give the one that {path} was trained on"
        )
    dataset, parts = run_record.recorded_data(record, root)
    if digest(parts[0] + parts[1]) != record["data"]["digest"]:
        raise DataError(
            f"the images in {root} changed since {path} was trained; restore "
            "them or train again, since calibration needs images that training did not see"
        )
    if "digests" not in record:
        parts = divided_again(record, dataset, parts)
    method = _untrained(record, run_backbone.reopened(record, path))
    try:
        method.load_state_dict(load((path / MODEL_FILE).read_bytes()))  # any name of path
    except (SafetensorError, RuntimeError) as error:
        raise TrainingError(
            f"{path / MODEL_FILE} does not fit ({why_not(error)}): it is damaged, of another run, "
            f"or another version of edgead wrote it ({record['versions']['edgead']}); train again"
        ) from error
    return replace(_as_run(path, method.eval(), parts, record), test=dataset.test)


def _untrained(record: dict[str, Any], backbone: FrozenBackbone | None) -> Method:
    given = {} if backbone is None else {"backbone": backbone}
    n_train = run_record.n_learnt(record)
    method = METHODS[record["method"]].from_settings(record["settings"], n_train, **given)
    method.bit_depth = record["data"].get("bit_depth")
    return method


def _write(run: Run, record: dict[str, Any]) -> None:
    """Model and picture: rows of ``Method.preview`` for a few held-out images or middle tiles."""
    out, method = run.path, run.method
    tensors = {name: tensor.contiguous() for name, tensor in method.state_dict().items()}
    run_record.write_record(out, record)
    write_file(out / MODEL_FILE, save(tensors))
    write_page(out, record)
    for name in (CHECKPOINT, training_set.IMAGES_FILE, run_backbone.WEIGHTS_FILE):
        (out / name).unlink(missing_ok=True)
    params = method.preprocess_params()
    preprocessor = Preprocessor(params)
    held_out = run.calibration[:PICTURE_IMAGES]
    frames = [read_image(sample.path, bit_depth=params.bit_depth) for sample in held_out]
    if run.tiling is not None:
        frames = [middle(frame, run.tiling.size) for frame in frames]
    images = np.stack([preprocessor.run(frame) for frame in frames])
    with torch.no_grad():
        rows = [row.numpy() for row in method.preview(torch.from_numpy(images))]
    mean, std = (np.array(x, np.float32)[:, None, None] for x in (params.mean, params.std))
    pictures = [np.concatenate(list(255 * (row * std + mean)), axis=2) for row in rows]
    picture = np.concatenate(pictures, axis=1).clip(0, 255).astype(np.uint8)
    pixels = picture[::-1].transpose(1, 2, 0)  # RGB planes to BGR pixels
    write_png(out / PICTURE_FILE, pixels, "picture")


def _as_run(out: Path, method: Method, parts: Parts, record: dict[str, Any]) -> Run:
    (train, calibration), given = parts, record["data"]
    data = {
        "name": Path(given["path"]).name,
        "layout": given["layout"],
        "digest": given["digest"],
        "n_train": len(train),
        "n_calibration": len(calibration),
    }
    data |= {key: given[key] for key in (*CHOICES, "parts") if given.get(key) is not None}
    if categories := sorted({sample.category for sample in train} - {""}):
        data["categories"] = categories
    kept = ("method", "seed", "versions", "command", "train_seconds", "steps")
    provenance = {key: record[key] for key in kept}
    provenance["precision"] = record.get("precision", "float32")  # not in older runs
    kept = (*ORIENTATION, run_backbone.KEY, "found")
    provenance |= {key: record[key] for key in kept if record.get(key)}  # not in older runs
    provenance |= {"data": data, "settings": method.settings()}
    if digests := record.get("digests"):
        known = (map(bytes.fromhex, digests[part]) for part in ("train", "calibration"))
        provenance |= contents_of(*known)
    tiling, warnings = run_record.recorded_tiling(record), tuple(record.get("warnings", ()))
    if warnings:
        provenance["warnings"] = warnings
    return Run(out, method, train, calibration, provenance, tiling, warnings=warnings)
