"""ONNX operators in torch: those that backbones are made of, each as the standard defines it.

A value is a tensor; constants of whole numbers (shapes, axes) are NumPy arrays. What is not exactly
representable in torch raises ``Unsupported``; what a graph computes as a whole is held against
onnxruntime where it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]  # (attributes, inputs …) to a value, or a tuple of several


class Unsupported(Exception):
    """A form of an operator that is not here."""


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _padded(a: Attributes, x: Tensor, kernel: list[int], fill: float = 0.0) -> tuple[Tensor, Any]:
    """The image, padded where both sides differ, and the padding that is left to the operator."""
    auto, strides = a.get("auto_pad", "NOTSET"), a.get("strides", [1, 1])
    dilations = a.get("dilations", [1, 1])
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = [], []
        for side, size, stride, dilation in zip(
            x.shape[2:], kernel, strides, dilations, strict=True
        ):
            span = dilation * (size - 1) + 1
            total = max((-(-int(side) // stride) - 1) * stride + span - int(side), 0)
            small = total // 2
            begin.append(small if auto == "SAME_UPPER" else total - small)
            end.append(total - begin[-1])
    elif auto in ("NOTSET", "VALID"):
        pads = a.get("pads", [0, 0, 0, 0]) if auto == "NOTSET" else [0, 0, 0, 0]
        begin, end = pads[:2], pads[2:]
    else:
        raise Unsupported(f"auto_pad {auto}")
    half = all(2 * pad <= size for pad, size in zip(begin, kernel, strict=True))
    if begin == end and half:  # which pooling in torch asks for
        return x, begin
    return F.pad(x, (begin[1], end[1], begin[0], end[0]), value=fill), [0, 0]


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.ndim != 4:
        raise Unsupported("a convolution that is not over height and width")
    x, padding = _padded(a, x, list(weight.shape[2:]))
    return F.conv2d(
        x, weight, bias, a.get("strides", [1, 1]), padding, a.get("dilations", [1, 1]),
        a.get("group", 1),
    )  # fmt: skip


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    x, padding = _padded(a, x, a["kernel_shape"], float("-inf"))
    how = (a.get("strides", [1, 1]), padding, a.get("dilations", [1, 1]))
    return F.max_pool2d(x, a["kernel_shape"], *how, ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    counted = bool(a.get("count_include_pad", 0))
    padded, padding = _padded(a, x, a["kernel_shape"])
    if padded is not x and not counted:
        raise Unsupported("an average over unequal padding that does not count")
    how = (a.get("strides", [1, 1]), padding, bool(a.get("ceil_mode", 0)), counted)
    return F.avg_pool2d(padded, a["kernel_shape"], *how)


def _batch_norm(a: Attributes, x: Tensor, w: Tensor, b: Tensor, mean: Tensor, v: Tensor) -> Tensor:
    return F.batch_norm(x, mean, v, w, b, eps=a.get("epsilon", 1e-5))


def _layer_norm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[a.get("axis", -1) :], weight, bias, a.get("epsilon", 1e-5))


def _clip(a: Attributes, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    bounds = [
        a.get(name) if given is None else float(given)
        for name, given in (("min", low), ("max", high))
    ]
    return x.clamp(*bounds)


def _gemm(a: Attributes, x: Tensor, y: Tensor, z: Tensor | None = None) -> Tensor:
    x, y = (v.T if a.get(name) else v for v, name in ((x, "transA"), (y, "transB")))
    found = a.get("alpha", 1.0) * (x @ y)
    return found if z is None else found + a.get("beta", 1.0) * z


def _gelu(a: Attributes, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=a.get("approximate", "none"))


def _reduce(name: str) -> Operator:
    def reduce(a: Attributes, x: Tensor, axes: Any = None) -> Tensor:
        over = _ints(a.get("axes", range(x.ndim)) if axes is None else axes)
        found: Tensor = getattr(x, name)(dim=over, keepdim=bool(a.get("keepdims", 1)))
        return found

    return reduce


def _reshape(a: Attributes, x: Tensor, shape: Any) -> Tensor:
    if a.get("allowzero"):
        raise Unsupported("a Reshape with allowzero")
    return x.reshape([x.shape[k] if side == 0 else side for k, side in enumerate(_ints(shape))])


def _squeeze(a: Attributes, x: Tensor, axes: Any = None) -> Tensor:
    return x.squeeze(tuple(_ints(a["axes"] if axes is None else axes)))


def _unsqueeze(a: Attributes, x: Tensor, axes: Any = None) -> Tensor:
    given = _ints(a["axes"] if axes is None else axes)
    for axis in sorted(axis % (x.ndim + len(given)) for axis in given):
        x = x.unsqueeze(axis)
    return x


def _split(a: Attributes, x: Tensor, sizes: Any = None) -> tuple[Tensor, ...]:
    axis, given = a.get("axis", 0), a.get("split") if sizes is None else sizes
    if given is not None:
        return x.split(_ints(given), axis)
    return x.chunk(a["outputs"], axis)


def _slice(
    a: Attributes, x: Tensor, starts: Any, ends: Any, axes: Any, steps: Any = None
) -> Tensor:
    if steps is not None and any(step < 1 for step in _ints(steps)):
        raise Unsupported("a Slice that goes backwards")
    every = [1] * len(starts) if steps is None else _ints(steps)
    for start, end, axis, step in zip(_ints(starts), _ints(ends), _ints(axes), every, strict=True):
        where: list[Any] = [slice(None)] * x.ndim
        where[axis] = slice(start, min(end, 2**31), step)
        x = x[tuple(where)]
    return x


def _pad(a: Attributes, x: Tensor, pads: Any, fill: Any = None) -> Tensor:
    given, count = _ints(pads), x.ndim
    flat = [given[k + side * count] for k in reversed(range(count)) for side in (0, 1)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[
        a.get("mode", "constant")
    ]
    if mode == "constant":
        return F.pad(x, flat, value=0.0 if fill is None else float(fill))
    return F.pad(x, flat[: 2 * (count - 2)], mode=mode)


def _resize(a: Attributes, x: Tensor, _: Any, scales: Any = None, sizes: Any = None) -> Tensor:
    how, mode = a.get("coordinate_transformation_mode", "half_pixel"), a.get("mode", "nearest")
    if sizes is not None and len(sizes):
        size = _ints(sizes)[2:]
    else:
        size = [int(side * float(s)) for side, s in zip(x.shape[2:], scales[2:], strict=True)]
    if mode == "nearest" and (how, a.get("nearest_mode")) == ("asymmetric", "floor"):
        return F.interpolate(x, size, mode="nearest")
    if mode == "linear" and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        corners = how == "align_corners"
        return F.interpolate(x, size, mode="bilinear", align_corners=corners)
    raise Unsupported(f"a Resize by {mode} with {how}")


def _gather(a: Attributes, x: Tensor, indices: Any) -> Tensor:
    axis = a.get("axis", 0)
    if indices.ndim == 0:
        return x.select(axis, int(indices))
    flat = torch.as_tensor(indices.reshape(-1) % x.shape[axis], device=x.device)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis % x.ndim + 1 :])
    return x.index_select(axis, flat).reshape(shape)


def _softmax(a: Attributes, x: Tensor) -> Tensor:
    return x.softmax(a.get("axis", -1))


def _cast(a: Attributes, x: Tensor) -> Tensor:
    if a["to"] != 1:  # FLOAT
        raise Unsupported("a Cast to another type than float")
    return x


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    return (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1)


def _each(compute: Callable[..., Tensor]) -> Operator:
    return lambda a, *inputs: compute(*inputs)


def _joined(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def join(a: Attributes, *inputs: Tensor) -> Tensor:
        found = inputs[0]
        for more in inputs[1:]:
            found = compute(found, more)
        return found

    return join


OPERATORS: dict[str, Operator] = {
    "Abs": _each(torch.abs),
    "Add": _each(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, *inputs: torch.cat(inputs, a["axis"]),
    "Conv": _conv,
    "Div": _each(torch.div),
    "Dropout": lambda a, x, *_: x,
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _each(F.hardswish),
    "Identity": _each(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "MatMul": _each(torch.matmul),
    "Max": _joined(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _joined(torch.minimum),
    "Mish": _each(F.mish),
    "Mul": _each(torch.mul),
    "Neg": _each(torch.neg),
    "Pad": _pad,
    "Pow": _each(torch.pow),
    "PRelu": _each(lambda x, slope: torch.where(x < 0, slope * x, x)),
    "Reciprocal": _each(torch.reciprocal),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Relu": _each(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _each(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": _each(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _each(torch.sub),
    "Sum": _joined(torch.add),
    "Tanh": _each(torch.tanh),
    "Transpose": lambda a, x: x.permute(a.get("perm", list(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
}
"""By the names of ONNX."""
