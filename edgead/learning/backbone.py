"""The backbone file: a frozen network as ONNX, and what has to be known to use it.

``edgead backbone`` writes it. The facts are JSON in the metadata of the ONNX file, under the key
``edgead.backbone``, so that they travel with the graph; the digest is of the graph's own bytes.
Neither the package onnx nor an engine is needed to read them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.bundle.json_reader import as_json, read_json
from edgead.bundle.storage import MANIFEST
from edgead.errors import BundleError, InputError
from edgead.files import os_sentence
from edgead.learning.onnx_bytes import GRAPH, METADATA, fields
from edgead.preprocess import PreprocessParams

KEY = "edgead.backbone"
_NAME, _VALUE = 1, 2  # fields of its StringStringEntryProto
MOST = 32767  # channels, and pixels of a stride
AGAIN = "write it again with: edgead backbone lite0 --out FILE.onnx"


@dataclass(frozen=True)
class Level:
    """A feature map in the graph: [N, channels, H / stride, W / stride] float32."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class BackboneFacts:
    """What the metadata of a backbone file says.

    Args:
        name: of the network, such as "lite0".
        mean, std: of R, G, B that the network was trained with, where 1 is white.
        multiple: height and width of its images are multiples of this.
        levels: of the network, each position averaged with its eight neighbours.
        features: the output of the graph: the levels side by side, at the finest one's resolution.
        licence: of the weights.
        source: where the weights are from.
        graph_sha256: SHA-256 (hex) of the graph's bytes.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    multiple: int
    levels: tuple[Level, ...]
    features: Level
    licence: str
    source: str
    graph_sha256: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in the metadata."""
        return {key: as_json(value) for key, value in vars(self).items()} | {
            "levels": [as_json(level) for level in self.levels]
        }


@dataclass(frozen=True)
class Backbone:
    """A backbone file in memory: its facts, and the bytes of the ONNX file."""

    facts: BackboneFacts
    model: bytes

    def params(self, size: tuple[int, int]) -> PreprocessParams:
        """The preprocessing of images of ``size`` (height, width).

        Args:
            size: (height, width) in pixels.

        Raises:
            InputError: a side that is not a multiple of what the network needs.
        """
        if any(side % self.facts.multiple for side in size):
            raise InputError(
                f"size {size[0]} x {size[1]}: backbone {self.facts.name} takes sides that are "
                f"multiples of {self.facts.multiple}"
            )
        return PreprocessParams(size, self.facts.mean, self.facts.std)


def read_backbone(path: str | os.PathLike[str]) -> Backbone:
    """Read a backbone file and check that its graph is the one its facts are about.

    Args:
        path: of a file that ``edgead backbone`` wrote.

    Returns:
        The facts and the bytes of the file.

    Raises:
        InputError: there is no such file, it is not ONNX, it is damaged, or it says nothing about
            itself.
    """
    if os.path.isfile(Path(path) / MANIFEST):
        raise InputError(f"{os.fspath(path)} is a bundle, not a backbone file; give it with --like")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the backbone: {os_sentence(error)}") from error
    return parse_backbone(data, os.fspath(path))


def parse_backbone(data: bytes, name: str) -> Backbone:
    """A backbone of the bytes of its file, checked as ``read_backbone`` does.

    Args:
        data: of the file.
        name: of the file, for people.

    Raises:
        InputError: as ``read_backbone``.
    """
    graph, metadata = _read_model(data, name)
    if KEY not in metadata:
        raise InputError(
            f"{name} is ONNX and does not say how its images are normalised and which "
            "outputs are features; give it to edgead backbone FILE.onnx --outputs … --mean … "
            "--std …, which writes that into it"
        )
    try:
        facts: BackboneFacts = read_json(BackboneFacts, json.loads(metadata[KEY]), KEY, AGAIN)
        _check(facts)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}: {KEY} is not JSON; {AGAIN}") from error
    except BundleError as error:
        raise InputError(f"{name}: {error}") from error
    except ValueError as error:
        raise InputError(f"{name}: {error}; {AGAIN}") from error
    if hashlib.sha256(graph).hexdigest() != facts.graph_sha256:
        raise InputError(
            f"{name}: its graph is not the one that was written (digest differs): it "
            f"is damaged or was changed; {AGAIN}"
        )
    return Backbone(facts, data)


def _check(facts: BackboneFacts) -> None:
    levels = (*facts.levels, facts.features)
    numbers = [facts.multiple, *(n for x in levels for n in (x.channels, x.stride))]
    if not facts.levels or min(numbers) < 1 or max(numbers) > MOST:
        raise ValueError(f"a backbone has levels; channels, strides and multiple are 1 to {MOST}")
    if any(facts.multiple % level.stride for level in levels):
        raise ValueError(f"multiple is {facts.multiple}, expected a multiple of every stride")
    PreprocessParams((facts.multiple, facts.multiple), facts.mean, facts.std)


def graph_of(model: bytes) -> bytes:
    """The bytes of the graph inside those of an ONNX file, whatever its metadata says."""
    return _read_model(model, "the model")[0]


def _read_model(data: bytes, name: str) -> tuple[bytes, dict[str, str]]:
    """The bytes of the graph, and the metadata, of an ONNX file."""
    graph, metadata = b"", {}
    try:
        for number, content, _ in fields(data):
            if number == GRAPH:
                graph = content
            elif number == METADATA:
                entry = {key: value for key, value, _ in fields(content)}
                metadata[entry.get(_NAME, b"").decode()] = entry.get(_VALUE, b"").decode()
    except ValueError as error:
        raise InputError(f"{name} is not an ONNX file, or is truncated; {AGAIN}") from error
    if not graph:
        raise InputError(f"{name} is not an ONNX file: it holds no graph; {AGAIN}")
    return graph, metadata
