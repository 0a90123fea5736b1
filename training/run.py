"""A training run: a folder with the settings, the split, the checkpoint and the trained model.

RUN/run.json                 method, settings, data, split, seed, versions, command, loss history
RUN/checkpoint.safetensors   while training is not finished
RUN/model.safetensors        when it is
RUN/recovered.png            what the method makes of a few calibration images, for people
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from edgead.errors import DataError, TrainingError
from edgead.files import write_file
from edgead.images import read_image, write_png
from edgead.preprocess import Preprocessor
from edgead.tiling import Tiling

from .checkpoint import CHECKPOINT, why_not
from .data import Parts, Sample, check_images, digest
from .data.dataset import portable
from .data.listing import SUFFIXES, images_below
from .fit import Bar, Bounds, Interrupted, fit
from .methods import METHODS, Method, TrainingSet
from .methods.base import Progress
from .processes import check_batch, describe, launch, together
from .run_record import (
    CALIBRATION_FRACTION,
    CHOICES,
    DEFAULT_PRESET,
    MODEL_FILE,
    RUN_FILE,
    Plan,
    begin,
    full_settings,
    n_learnt,
    open_recorded,
    read_record,
    recorded_samples,
    recorded_tiling,
    take_up,
    tell_split,
    write_record,
)
from .tiles import Piece, choose_tiles, middle

PICTURE_FILE = "recovered.png"
PICTURE_IMAGES = 6
TEXTURES = 128  # at most, evenly chosen: 100 MB at 256x256
IMAGE_BYTES_IN_MEMORY = 4 << 30  # larger sets are kept in a file of the run, mapped


@dataclass(frozen=True)
class Run:
    """A trained method and what it was trained from."""

    path: Path
    method: Method
    train: tuple[Sample, ...]
    calibration: tuple[Sample, ...]
    provenance: dict[str, Any]
    tiling: Tiling | None = None  # of the tiles it has learnt from
    test: tuple[Sample, ...] = ()  # labelled images of its data, when the run was read back

    @property
    def name(self) -> str:
        return self.path.resolve().name


def train(
    plan: Plan, *, resume: bool, log: Callable[[str], None], progress: Progress, bar: Bar
) -> Run:
    """Train a method on the good images of a data set; everything goes to ``plan.out``.

    Every process of a training calls it; the first alone reports, and writes.
    Errors: DataError and TrainingError at the door, DeviceError for a device that is not there;
    Interrupted when a signal stopped it, with the checkpoint on disk.
    """
    fabric = launch(plan.device)
    first = fabric.is_global_zero
    if not first:
        log, progress = _nothing, lambda items, _: iter(items)
        bar = Bar(_nothing, _nothing, _nothing)
    with together(fabric):
        plan, dataset, parts, record = take_up(plan) if resume else begin(plan)
        log(f"read   {plan.data}: {dataset.summary()}")
        tell_split(plan, parts, log)
        torch.manual_seed(plan.seed)
        method = METHODS[plan.method].from_settings(plan.settings, len(parts[0]))
        check_batch(fabric, method.config.batch_size)
        log(f"device {describe(fabric)}")
        if plan.out.exists() and not plan.out.is_dir():
            raise TrainingError(f"{plan.out} is a file; give a folder for the run")
        pictures = _choose_textures(plan.textures)
        textures = _load_textures(pictures, method)
        if first:
            _decode(parts[0] + parts[1], progress)
        _check_content(record["data"], plan, parts, pictures)
        tiles = choose_tiles(parts, plan.tiling, method.map_params().size, plan.seed, progress)
        if plan.tiling is not None:  # only the images say how many tiles there are to keep some of
            record |= {} if resume else {"tiles": sum(map(len, tiles))}
            torch.manual_seed(plan.seed)
            method = METHODS[plan.method].from_settings(plan.settings, n_learnt(record))
    with together(fabric):
        plan.out.mkdir(parents=True, exist_ok=True)  # not before: what is refused leaves nothing
        if first:
            write_record(plan.out, record)
        images = _load_images(parts[0], tiles, method, plan.out, progress, first)
        data = TrainingSet(images, progress, textures=textures)
    position = fit(
        method, data, plan.out, seed=plan.seed, bounds=plan.bounds, bar=bar, fabric=fabric,
        resume=resume and (plan.out / CHECKPOINT).is_file(),
    )  # fmt: skip
    record |= {
        "train_seconds": round(position.total_seconds, 1),
        "steps": position.total_steps,
        "device": fabric.device.type,
        "processes": fabric.world_size,
        "history": position.history,
    }
    if first:
        _finish(plan.out, method, record)
        frames = [read_image(sample.path) for sample in parts[1][:PICTURE_IMAGES]]
        if plan.tiling is not None:
            frames = [middle(frame, plan.tiling.size) for frame in frames]
        _write_picture(plan.out / PICTURE_FILE, method, frames)
    fabric.barrier()  # nobody returns before the run is on disk
    return _as_run(plan.out, method, parts, record)


def load_run(run_dir: str | Path, data: str | Path | None = None) -> Run:
    """The finished run in ``run_dir``: method with its weights, in evaluation mode, and samples.

    ``data``: where its images lie now, None for where they lay in training.
    Errors: TrainingError for a folder that is not a run, is unfinished or damaged; DataError when
    the images moved or changed since.
    """
    path = Path(run_dir)
    record = read_record(path)
    if not (path / MODEL_FILE).is_file():
        command = f"edgead train {record['method']} {record['data']['path']} --out {path} --resume"
        raise TrainingError(f"{path} is not finished; go on with: {command}")
    root = Path(record["data"]["path"] if data is None else data)
    if data is not None and not root.is_dir():
        raise DataError(f"{root} is not a folder; give the one that {path} was trained on")
    if not root.is_dir():
        raise DataError(
            f"{path} was trained on {root}, which is no longer there; restore it, or say where it "
            "is with --data DIR"
        )
    dataset = open_recorded(root, record["data"])
    parts = recorded_samples(record, dataset)
    if digest(parts[0] + parts[1]) != record["data"]["digest"]:
        raise DataError(
            f"the images in {root} changed since {path} was trained; restore "
            "them or train again, since calibration needs images that training did not see"
        )
    method = METHODS[record["method"]].from_settings(record["settings"], n_learnt(record))
    try:
        method.load_state_dict(load_file(path / MODEL_FILE))
    except (SafetensorError, RuntimeError) as error:
        raise TrainingError(
            f"{path / MODEL_FILE} does not fit ({why_not(error)}): it is damaged, of another run, "
            f"or another version of edgead wrote it ({record['versions']['edgead']}); train again"
        ) from error
    return replace(_as_run(path, method.eval(), parts, record), test=dataset.test)


def _nothing(*_: Any) -> None:
    """What the processes after the first report."""


def _check_content(
    data: dict[str, Any], plan: Plan, parts: Parts, pictures: Sequence[Sample]
) -> None:
    """Note in ``data``, of a run's record, what its images and textures hold.

    Errors: DataError when a run that goes on was begun with others.
    """
    found = digest(parts[0] + parts[1])
    if data.setdefault("digest", found) != found:
        raise DataError(f"the images in {plan.data} changed since this run began; train again")
    if not pictures:
        return
    found = digest(pictures)
    if data.setdefault("textures_digest", found) != found:
        raise DataError(
            f"the pictures in {plan.textures} are not those that {plan.out} was begun with; "
            "restore them, give the folder where they are with --textures, or train again"
        )


def _decode(samples: tuple[Sample, ...], progress: Progress) -> None:
    """Hold every image against the door, with a progress bar."""
    ticks = progress(range(len(samples)), "checking the images")
    check_images(samples, lambda _done, _all: next(ticks, None))
    next(ticks, None)  # past the last image, so that the bar ends


def _load_images(
    samples: tuple[Sample, ...],
    tiles: list[list[Piece]],
    method: Method,
    out: Path,
    progress: Progress,
    first: bool,
) -> torch.Tensor:
    """[N, 3, H, W] float32, channels last in memory, preprocessed as the runtime does it.

    N: the ``tiles`` of all images together. A set that does not fit into memory lies in one file,
    which the first process fills for all.
    """
    params = method.preprocess_params()
    shape = (sum(map(len, tiles)), *params.size, 3)
    count = int(np.prod(shape))
    in_memory = 4 * count <= IMAGE_BYTES_IN_MEMORY
    if in_memory:
        images = torch.empty(shape)
    else:
        images = torch.from_file(str(out / "images.f32"), shared=True, size=count).view(shape)
    preprocessor = Preprocessor(params)
    mine = samples if in_memory or first else ()
    row = 0
    for index, sample in enumerate(progress(mine, "reading the images")):
        frame = read_image(sample.path)
        for tile in tiles[index]:
            images[row] = torch.from_numpy(preprocessor.run(frame[tile])).permute(1, 2, 0)
            row += 1
    return images.permute(0, 3, 1, 2)


def _choose_textures(folder: Path | None) -> list[Sample]:
    """Pictures of other things, TEXTURES at most. Errors: DataError for a folder without images."""
    if folder is None:
        return []
    paths = images_below(folder)
    if not paths:
        raise DataError(
            f"--textures {folder} holds no images; give a folder of pictures of other things "
            f"({SUFFIXES}), or leave it out for textures that are made up"
        )
    chosen = paths[:: math.ceil(len(paths) / TEXTURES)]
    return [Sample(path, name=portable(path.relative_to(folder).as_posix())) for path in chosen]


def _load_textures(pictures: Sequence[Sample], method: Method) -> torch.Tensor:
    """Like the training images: [M, 3, H, W], M pictures. Errors: InputError for a broken one."""
    if not pictures:
        return torch.empty(0)
    preprocessor = Preprocessor(method.preprocess_params())
    return torch.from_numpy(
        np.stack([preprocessor.run(read_image(each.path)) for each in pictures])
    )


def _finish(out: Path, method: Method, record: dict[str, Any]) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in method.state_dict().items()}
    write_record(out, record)
    write_file(out / MODEL_FILE, save(tensors))
    for name in (CHECKPOINT, "images.f32"):
        (out / name).unlink(missing_ok=True)


def _write_picture(path: Path, method: Method, frames: Sequence[NDArray[Any]]) -> None:
    """Rows of ``Method.preview`` for a few held-out images or tiles, as one picture."""
    params = method.preprocess_params()
    preprocessor = Preprocessor(params)
    images = np.stack([preprocessor.run(frame) for frame in frames])
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
    data |= {k: record["data"][k] for k in CHOICES if record["data"].get(k) is not None}
    if categories := sorted({sample.category for sample in train} - {""}):
        data["categories"] = categories
    kept = ("method", "seed", "versions", "command", "train_seconds", "steps")
    provenance = {key: record[key] for key in kept}
    provenance |= {"data": data, "settings": method.settings()}
    return Run(out, method, train, calibration, provenance, recorded_tiling(record))


__all__ = [
    "CALIBRATION_FRACTION",
    "DEFAULT_PRESET",
    "MODEL_FILE",
    "RUN_FILE",
    "Bounds",
    "Interrupted",
    "Plan",
    "Run",
    "full_settings",
    "load_run",
    "read_record",
    "train",
]
