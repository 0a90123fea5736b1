"""ONNX files as bytes: what is read of them and changed in them without the package onnx.

Source: https://protobuf.dev/programming-guides/encoding; the fields are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

GRAPH, METADATA = 7, 14  # fields of ModelProto
_NODE, _TENSOR = 1, 5  # of GraphProto
_INPUT, _OUTPUT, _NODE_NAME, _OPERATOR = 1, 2, 3, 4  # of NodeProto
_DIM, _TYPE, _TENSOR_NAME, _RAW = 1, 2, 8, 9  # of TensorProto
_FLOAT = 1  # a data type of TensorProto
_OFFSETS = b"edgead.offsets"  # names the node and its stored tensor


def fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The fields of a message.

    Args:
        data: the message.

    Returns:
        An iterator over (number, content, all bytes of the field); a number has no content.

    Raises:
        ValueError: it is no message, or truncated.
    """
    at = 0
    while at < len(data):
        start, content = at, b""
        key, at = _number_at(data, at)
        kind = key & 7
        if kind == 0:  # a number
            _, at = _number_at(data, at)
        elif kind in (1, 5):  # a number of 8 or 4 bytes
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _number_at(data, at)
            content = data[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("truncated")
        yield key >> 3, content, data[start:at]


def contents(data: bytes, number: int) -> list[bytes]:
    """What the fields of a message with that number hold. Raises: ValueError, as ``fields``."""
    return [content for found, content, _ in fields(data) if found == number]


def with_offsets(model: bytes, output: str, offsets: NDArray[np.float32] | None) -> bytes:
    """A graph that takes ``offsets`` off its output, in place of those that it took off before.

    Args:
        model: an ONNX file; no node reads ``output``.
        output: the name of the output.
        offsets: [1, C, H, W]; None: nothing is taken off any more.

    Returns:
        The file; other bytes of it stay as they are.

    Raises:
        ValueError: it is no ONNX file.
    """
    name = output.encode()
    raw = name + b"/before_offsets"
    graphs, nodes = contents(model, GRAPH), bytearray()
    if not graphs:
        raise ValueError("no graph")
    for number, content, whole in fields(graphs[-1]):
        named = {_NODE: _NODE_NAME, _TENSOR: _TENSOR_NAME}.get(number)
        if named is not None and _OFFSETS in contents(content, named):
            continue
        if number == _NODE and {name, raw}.intersection(contents(content, _OUTPUT)):
            whole = _field(_NODE, _giving(content, {name, raw}, name if offsets is None else raw))
        nodes += whole
    if offsets is not None:
        nodes += _field(_NODE, _subtraction(raw, name)) + _field(_TENSOR, _tensor(offsets))
    return b"".join(
        _field(GRAPH, bytes(nodes)) if number == GRAPH else whole
        for number, _, whole in fields(model)
    )


def _giving(node: bytes, names: set[bytes], name: bytes) -> bytes:
    """``node`` with its outputs of ``names`` called ``name``."""
    return b"".join(
        _field(_OUTPUT, name) if number == _OUTPUT and content in names else whole
        for number, content, whole in fields(node)
    )


def _subtraction(minuend: bytes, difference: bytes) -> bytes:
    inputs = _field(_INPUT, minuend) + _field(_INPUT, _OFFSETS)
    names = _field(_OUTPUT, difference) + _field(_NODE_NAME, _OFFSETS)
    return inputs + names + _field(_OPERATOR, b"Sub")


def _tensor(values: NDArray[np.float32]) -> bytes:
    dims = b"".join(_number(_DIM << 3) + _number(side) for side in values.shape)
    kind = _number(_TYPE << 3) + _number(_FLOAT)
    stored = values.astype("<f4").tobytes()
    return dims + kind + _field(_TENSOR_NAME, _OFFSETS) + _field(_RAW, stored)


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _number_at(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            raise ValueError("truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
