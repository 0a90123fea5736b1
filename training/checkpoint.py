"""The checkpoint of a run that is not finished: weights, optimiser, position in one file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from edgead.errors import TrainingError
from edgead.files import write_file

from .methods.base import Method

CHECKPOINT, MODEL_FILE = "checkpoint.safetensors", "model.safetensors"


@dataclass
class Position:
    """Where training stands."""

    stage: int = 0
    step: int = 0
    stage_seconds: float = 0.0
    total_seconds: float = 0.0
    total_steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    early: list[dict[str, Any]] = field(default_factory=list)  # figures on synthetic defects


def save_checkpoint(
    method: Method, position: Position, optimizer: dict[str, Tensor], out: Path
) -> None:
    """Write model, optimiser and position to the checkpoint in ``out``, whole or not at all."""
    tensors = {f"model.{k}": v.contiguous() for k, v in method.state_dict().items()}
    tensors |= {f"optimizer.{k}": v.contiguous() for k, v in optimizer.items()}
    write_file(out / CHECKPOINT, save(tensors, {"position": json.dumps(asdict(position))}))


def load_checkpoint(method: Method, out: Path) -> tuple[Position, dict[str, Tensor]]:
    """Put the weights of a checkpoint into ``method``; returns position, optimiser state."""
    path = out / CHECKPOINT
    try:
        with safe_open(path, framework="pt") as file:
            if "position" not in (metadata := file.metadata() or {}):
                raise ValueError("it holds no position of a training")
            position = Position(**json.loads(metadata["position"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
        method.load_state_dict(model)
    except FileNotFoundError as error:
        raise TrainingError(f"{out} holds no checkpoint; remove --resume to start") from error
    except Exception as error:
        raise TrainingError(
            f"{path} cannot be resumed ({why_not(error)}); it is damaged or of other settings: "
            "train again into another --out"
        ) from error
    return position, {k[10:]: v for k, v in tensors.items() if k.startswith("optimizer.")}


def why_not(error: Exception) -> str:
    """Why a file of weights does not fit; torch's list of the tensors that differ is long."""
    first, *more = str(error).splitlines() or [type(error).__name__]
    return "its tensors are not those of this method and its settings" if more else first
