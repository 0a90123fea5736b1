"""The inputs and outputs of the models: what a client sends, and what becomes of a Result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.images import decode_image
from edgead.result import Result

FRAME, FRAME16, FILE = "FRAME", "FRAME16", "FILE"
"""A frame of 8 bits, of up to 16 bits, and the content of an image file."""


class Tensor(NamedTuple):
    """What a model takes or gives, without the batch: name, Triton's type, dims, ours, meaning."""

    name: str
    kind: str
    dims: tuple[int, ...]
    dtype: Any
    means: str


INPUTS = (
    Tensor(FRAME, "TYPE_UINT8", (-1, -1, -1), np.uint8, "height, width, channels"),
    Tensor(FRAME16, "TYPE_UINT16", (-1, -1, -1), np.uint16, "the same, 9 to 16 bits"),
    Tensor(FILE, "TYPE_STRING", (1,), np.object_, "content of an image file: PNG, JPEG, …"),
)
OUTPUTS = (
    Tensor("SCORE", "TYPE_FP64", (1,), np.float64, "higher is more anomalous"),
    Tensor("P_VALUE", "TYPE_FP64", (1,), np.float64, "share of good frames that score as high"),
    Tensor("THRESHOLD", "TYPE_FP64", (1,), np.float64, "a score above it is anomalous"),
    Tensor("IS_ANOMALOUS", "TYPE_BOOL", (1,), np.bool_, "the verdict"),
    Tensor("MAP", "TYPE_FP32", (-1, -1), np.float32, "anomaly map at model resolution"),
    Tensor("VERDICT", "TYPE_STRING", (1,), np.object_, "JSON: score, p-value, regions, times"),
)

_OF_RESULT: Mapping[str, Callable[[Result], Any]] = {
    "SCORE": lambda result: [result.score],
    "P_VALUE": lambda result: [result.p_value],
    "THRESHOLD": lambda result: [result.threshold],
    "IS_ANOMALOUS": lambda result: [result.is_anomalous],
    "MAP": lambda result: result.map,
    "VERDICT": lambda result: [json.dumps(result.to_dict()).encode()],
}


def frames_of(given: Mapping[str, NDArray[Any]], bit_depth: int | None) -> list[NDArray[Any]]:
    """The frames of one request.

    Args:
        given: exactly one of ``FRAME`` and ``FRAME16``, [n, H, W, C], or ``FILE``, [n, 1] bytes.
        bit_depth: of 16-bit frames in files.

    Raises:
        InputError: none or several of them, or a file that is not an image.
    """
    if len(given) != 1:
        names = ", ".join(sorted(given)) or "none"
        raise InputError(f"inputs of the request: {names}; expected one of FRAME, FRAME16 and FILE")
    ((name, values),) = given.items()
    if name != FILE:
        return list(values)
    files = [bytes(one) for one in values.reshape(-1)]
    return [decode_image(data, f"{i}", bit_depth=bit_depth) for i, data in enumerate(files)]


def outputs_of(results: Sequence[Result], asked: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The outputs that a request asks for, [n, …] each.

    Args:
        results: of the frames of the request.
        asked: names of ``OUTPUTS``; what is not asked for is not computed.

    Raises:
        InputError: maps of different sizes, which no one tensor holds.
    """
    found = {}
    for tensor in OUTPUTS:
        if tensor.name not in asked:
            continue
        rows = [_OF_RESULT[tensor.name](result) for result in results]
        if len({np.shape(row) for row in rows}) > 1:
            raise InputError(
                "the maps of this request have different sizes, since its frames are seen in "
                "tiles: send one frame in a request, or do not ask for MAP"
            )
        found[tensor.name] = np.array(rows, tensor.dtype)
    return found
