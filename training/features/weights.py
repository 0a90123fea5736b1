"""Weights in a file of safetensors, and whether they are those of a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from edgead.errors import TrainingError
from edgead.files import os_sentence

_COUNTER = ".num_batches_tracked"  # of batch normalisation, which nothing reads in evaluation mode
_LENGTH = 8  # bytes that say how long the header is, which is JSON
_LICENCE = ("license", "licence")  # keys of the metadata


@dataclass(frozen=True)
class Weights:
    """Tensors by name.

    Args:
        name: of the file, without its folder.
        tensors: by their names.
        sha256: hex, of the file.
        licence: as its metadata says it, or None.
    """

    name: str
    tensors: Mapping[str, Tensor]
    sha256: str
    licence: str | None


def read_weights(path: Path) -> Weights:
    """Read a file of safetensors.

    Raises:
        TrainingError: there is no such file, or it is not safetensors.
    """
    try:
        data = path.read_bytes()
        tensors = load(data)  # of bytes: a path may have any name
    except OSError as error:
        raise TrainingError(f"cannot read --weights: {os_sentence(error)}") from error
    except SafetensorError as error:
        raise TrainingError(
            f"--weights {path} is not a file of safetensors ({error}); write one with "
            "safetensors.torch.save_file(model.state_dict(), FILE)"
        ) from error
    header = data[_LENGTH : _LENGTH + int.from_bytes(data[:_LENGTH], "little")]
    metadata = json.loads(header).get("__metadata__", {})
    licence = next((metadata[key] for key in _LICENCE if metadata.get(key)), None)
    return Weights(path.name, tensors, hashlib.sha256(data).hexdigest(), licence)


def put(
    network: nn.Module,
    weights: Weights,
    name: str,
    unused: Callable[[str], bool] = lambda _: False,
    names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Give a network its weights, every one.

    Args:
        network: what gets them.
        weights: what it gets.
        name: of the network, for people.
        unused: whether a tensor of the file, by its name, is of a part that is left out.
        names: of tensors of the network, to those in the file where they differ.

    Raises:
        TrainingError: a tensor is missing, of another shape, or of no part of the network.
    """
    own = {names.get(key, key): value for key, value in network.state_dict().items()}
    wanted = {key: value for key, value in own.items() if not key.endswith(_COUNTER)}
    missing = [key for key in wanted if key not in weights.tensors]
    given = weights.tensors
    other = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
    foreign = [k for k in given if k not in own and not unused(k) and not k.endswith(_COUNTER)]
    found = []
    if missing:
        found.append(f"{len(missing)} of its {len(wanted)} tensors are missing, as {missing[0]}")
    if other:
        key = other[0]
        shapes = f"{tuple(given[key].shape)}, expected {tuple(wanted[key].shape)}"
        found.append(f"{len(other)} have another shape, as {key}: {shapes}")
    if foreign:
        found.append(f"{len(foreign)} are of no part of it, as {foreign[0]}")
    if found:
        raise TrainingError(
            f"--weights {weights.name} does not hold the weights of {name}: {'; '.join(found)}; "
            "give the weights of that network, or the --backbone that they are of"
        )
    for key, value in own.items():
        value.copy_(given.get(key, value))


def digest_of(network: nn.Module) -> str:
    """SHA-256 (hex) of a network's tensors, for weights that are in no file."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()
