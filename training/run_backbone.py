"""The backbone of a run: opened, recorded, and opened again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from edgead.errors import TrainingError
from edgead.files import write_file

from .checkpoint import CHECKPOINT, MODEL_FILE, why_not
from .features.backbone import FrozenBackbone
from .features.choice import DEFAULT, ONNX, BackboneChoice, open_backbone, reopen_backbone
from .methods import METHODS

KEY = "backbone"
WEIGHTS_FILE = "backbone.safetensors"
"""Of a backbone, until the model of the run has them."""


def opened(
    method: str, choice: BackboneChoice, settings: Mapping[str, Any]
) -> FrozenBackbone | None:
    """The backbone of a new run, held against the settings; None where the method has none.

    Args:
        method: one of ``METHODS``.
        choice: what the command line says.
        settings: of the method, all of them.

    Raises:
        EdgeadError: options for a method without a backbone; as ``open_backbone``; settings that
            do not go with it.
    """
    kind = METHODS[method]
    if not kind.takes_backbone:
        given = [f"--{key}" for key, value in asdict(choice).items() if value is not None]
        given = ["--backbone" if each == "--name" else each for each in given]
        if given:
            raise TrainingError(f"{method} has no backbone of its own; remove {given[0]}")
        return None
    config = kind.read(dict(settings))
    found = open_backbone(choice, config.size)
    kind.check_backbone(config, found)
    return found


def reopened(record: Mapping[str, Any], folder: Path) -> FrozenBackbone | None:
    """The backbone of a run; of a finished one its model has the weights.

    Args:
        record: of the run; those of before could have lite0 only.
        folder: of the run.

    Raises:
        EdgeadError: as ``reopen_backbone``; what the run has kept is damaged.
    """
    if not METHODS[record["method"]].takes_backbone:
        return None
    size = tuple(record["settings"]["size"])
    if KEY not in record:
        return open_backbone(BackboneChoice(), size)
    found, path = reopen_backbone(record[KEY], size, folder), folder / WEIGHTS_FILE
    elsewhere = (folder / CHECKPOINT).is_file() or (folder / MODEL_FILE).is_file()
    if path.is_file():
        try:
            found.load_state_dict(load(path.read_bytes()))
        except (SafetensorError, RuntimeError) as error:
            raise TrainingError(
                f"{path} is damaged ({why_not(error)}); train again into another --out"
            ) from error
    elif found.kept_file() is None and not elsewhere:
        raise TrainingError(f"{folder} lacks {WEIGHTS_FILE}; train again into another --out")
    return found


def keep(backbone: FrozenBackbone | None, folder: Path) -> None:
    """Keep in the folder of a run what it is resumed and read with: the file of an ONNX backbone,
    the weights of another, until its model has them."""
    if backbone is None:
        return
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    name, content = backbone.kept_file() or (WEIGHTS_FILE, save(tensors))
    write_file(folder / name, content)


def check_same(choice: BackboneChoice, record: Mapping[str, Any], out: Path) -> None:
    """Hold the options of a resumed run against those it was begun with.

    Raises: EdgeadError: another backbone, or other weights; as ``open_backbone``.
    """
    if choice == BackboneChoice():
        return
    begun = record.get(KEY, {"name": DEFAULT})
    name = begun["name"] if choice.name is None else Path(choice.name).name
    same = name == begun["name"]
    if same and (name.endswith(ONNX) or replace(choice, name=None) != BackboneChoice()):
        whole = replace(choice, name=choice.name or begun["name"])
        same = open_backbone(whole, tuple(record["settings"]["size"])).facts() == begun
    if not same:
        raise TrainingError(
            f"{out} was begun with the backbone {begun['name']} and weights "
            f"{begun.get('weights', 'of its package')} (sha256 {begun.get('sha256', '')[:16]}), "
            "and another one is given: remove --backbone and what belongs to it, or train into "
            "another --out"
        )


def sentence(backbone: FrozenBackbone) -> str:
    """What is said of a backbone when a run begins."""
    origin = backbone.origin
    channels, strides = (", ".join(map(str, x)) for x in (backbone.channels, backbone.strides))
    return (
        f"{origin.name}: {channels} channels at strides {strides}; weights {origin.weights}, "
        f"licence {origin.licence}"
    )
