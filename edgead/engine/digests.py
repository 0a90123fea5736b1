"""Digests of what each stage made of a frame, so that a verdict can be replayed and compared.

The digest of an array is the SHA-256 (hex) of a line with its dtype and shape, as in
``float32 1 3 64 48``, a newline, and its values in C order, little-endian. A frame [H, W, 1]
counts as [H, W], which is how an image file gives it back. Of a tiled frame, the lines and values
of all tiles that were run go into the same digest one after the other, row by row.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from edgead.errors import InputError

Served = dict[str, str | int | None]


@dataclass(frozen=True)
class Digests:
    """What one verdict was made from, stage by stage; the score needs none, it is a number."""

    frame: str
    preprocess: str
    engine: tuple[tuple[str, str], ...]  # (reference, reconstructed) of each pair
    anomaly_map: str
    served: Served  # what ``Detector.info`` says, ``color`` and ``threads``: may explain a mismatch

    def to_json(self) -> dict[str, Any]:
        """As it stands in the line of a verdict, below ``digests``."""
        return {**asdict(self), "engine": [list(pair) for pair in self.engine]}

    @staticmethod
    def from_json(value: Any) -> Digests:
        """The reverse of ``to_json``.

        Raises:
            InputError: a damaged key, which is named.
        """
        if not isinstance(value, dict):
            raise InputError("digests is not an object")
        for key in ("frame", "preprocess", "anomaly_map"):
            if not _is_digest(value.get(key)):
                raise InputError(f"digests.{key} is not a SHA-256")
        engine = value.get("engine")
        if not isinstance(engine, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and all(map(_is_digest, pair))
            for pair in engine
        ):
            raise InputError("digests.engine is not a list of pairs of SHA-256")
        served = value.get("served")
        if not isinstance(served, dict) or not _is_digest(served.get("bundle_sha256")):
            raise InputError("digests.served names no bundle")
        if not all(value is None or isinstance(value, str | int) for value in served.values()):
            raise InputError("digests.served holds more than words and numbers")
        pairs = tuple((a, b) for a, b in engine)
        return Digests(value["frame"], value["preprocess"], pairs, value["anomaly_map"], served)


class Hasher:
    """Collects the digests of one frame on its way through a pipeline, with ``pairs`` per image."""

    def __init__(self, pairs: int) -> None:
        self._preprocess = hashlib.sha256()
        self._engine = [(hashlib.sha256(), hashlib.sha256()) for _ in range(pairs)]
        self._taken: dict[str, Any] | None = None

    def add(self, image: NDArray[Any], pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
        """Take the image and the feature pairs of a whole frame, or of its next tile."""
        _update(self._preprocess, image)
        for hashes, arrays in zip(self._engine, pairs, strict=True):
            for one, array in zip(hashes, arrays, strict=True):
                _update(one, array)

    def words(self) -> dict[str, Any]:
        """What was collected, as plain JSON, for a Hasher in another process to ``take``."""
        if self._taken is not None:
            return self._taken
        engine = [(a.hexdigest(), b.hexdigest()) for a, b in self._engine]
        return {"preprocess": self._preprocess.hexdigest(), "engine": engine}

    def take(self, words: dict[str, Any]) -> None:
        """What another Hasher has collected, in place of its own."""
        self._taken = words

    def digests(self, frame: NDArray[Any], anomaly_map: NDArray[Any], served: Served) -> Digests:
        """The digests, when every tile was added."""
        grey = frame.ndim == 3 and frame.shape[2] == 1
        words = self.words()
        return Digests(
            frame=digest(frame[:, :, 0] if grey else frame),
            preprocess=words["preprocess"],
            engine=tuple((a, b) for a, b in words["engine"]),
            anomaly_map=digest(anomaly_map),
            served=served,
        )


def digest(array: NDArray[Any]) -> str:
    """The digest of one array of numbers, any strides and byte order; see the module."""
    found = hashlib.sha256()
    _update(found, array)
    return found.hexdigest()


def _update(found: hashlib._Hash, array: NDArray[Any]) -> None:
    found.update(f"{array.dtype.name} {' '.join(map(str, array.shape))}\n".encode())
    found.update(
        array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).reshape(-1).data
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
