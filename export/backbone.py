"""Backbone files: a frozen network as ONNX that ends at features, and says all that is needed.

To the network's own levels are added, as standard ONNX: the average of each position with its
eight neighbours, and the levels side by side at the resolution of the finest one. So an engine
computes what is compared, and a device needs neither torch nor onnx to learn with it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from edgead_training.features.backbone import FrozenBackbone
from edgead_training.features.efficientnet_lite import LITES, STRIDES, load_lite
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgead.errors import ExportError, InputError
from edgead.files import write_file
from edgead.learning.backbone import KEY, Backbone, BackboneFacts, Level, graph_of, parse_backbone
from edgead.preprocess import PreprocessParams

from .onnx import exporter
from .options import OPSET
from .portable import BATCH, INPUT, check, silence, simplify, strip

FEATURES = "features"
_SIZES = ((128, 128), (256, 256))  # of the images that strides are found with
_MOST_STRIDE = 64


Size = tuple[int, int]


@dataclass(frozen=True)
class Described:
    """What a graph cannot say about itself: normalisation, licence and source of its weights."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    source: str


class _Chosen(nn.Module):
    """The levels of a network that are used; what only others need is not traced."""

    def __init__(self, network: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        self.network, self.indices = network, tuple(indices)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels = self.network(image)
        return tuple(levels[index] for index in self.indices)


def write_lite(
    name: str, out: str | os.PathLike[str], strides: Sequence[int] = (8, 16)
) -> Backbone:
    """Write EfficientNet-Lite with its ImageNet weights as a backbone file.

    Args:
        name: "lite0", "lite1" or "lite2".
        out: the file to write, FILE.onnx.
        strides: of the levels that are used, of 4, 8 and 16; stages behind the last are left out.

    Returns:
        The backbone as ``read_backbone`` finds it.

    Raises:
        ExportError: another name or stride.
        MissingExtraError: the weights are not installed.
    """
    if name not in LITES:
        raise ExportError(
            f"backbone {name!r}: expected one of {', '.join(LITES)}, or a file FILE.onnx"
        )
    if not strides or any(stride not in STRIDES for stride in strides):
        raise ExportError(
            f"strides {list(strides)}: expected some of {', '.join(map(str, STRIDES))}"
        )
    indices = sorted({STRIDES.index(stride) for stride in strides})
    network = load_lite(name)
    return write_module(_Chosen(network, indices), len(indices), out, described_as(network))


def described_as(backbone: FrozenBackbone) -> Described:
    """What a backbone says about itself."""
    origin = backbone.origin
    return Described(origin.name, backbone.mean, backbone.std, origin.licence, origin.weights)


def write_frozen(network: FrozenBackbone, size: Size, out: str | os.PathLike[str]) -> Backbone:
    """Write the levels of a method's backbone that statistics compare, for images of one size.

    Args:
        network: of a method.
        size: (height, width) of its images.
        out: the file to write, FILE.onnx.

    Returns:
        The backbone as ``read_backbone`` finds it.

    Raises:
        ExportError: a network that cannot be written as ONNX.
    """
    indices = network.compared()
    chosen = _Chosen(network, indices)
    return write_module(chosen, len(indices), out, described_as(network), size)


def write_module(
    network: nn.Module,
    levels: int,
    out: str | os.PathLike[str],
    described: Described,
    size: Size | None = None,
) -> Backbone:
    """Write a torch network as a backbone file.

    Args:
        network: in evaluation mode, images [N, 3, H, W] float32 to a list of feature maps
            [N, C, h, w].
        levels: how many feature maps it gives.
        out: the file to write, FILE.onnx.
        described: normalisation, licence and source.
        size: (height, width) of the only images that it will take; None for any.

    Returns:
        The backbone as ``read_backbone`` finds it.

    Raises:
        ExportError: a network that cannot be written as ONNX, or that gives something else.
    """
    names, buffer = [f"raw_{k}" for k in range(levels)], io.BytesIO()
    axes = {INPUT: {0: BATCH} | ({2: "height", 3: "width"} if size is None else {})}
    try:
        with silence(), torch.no_grad():
            torch.onnx.export(
                network.eval(), (torch.zeros(2, 3, *(size or _SIZES[0])),), buffer,
                input_names=[INPUT], output_names=names, opset_version=OPSET, **exporter(),
                dynamic_axes=axes | {name: {0: BATCH} for name in names},
            )  # fmt: skip
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the network cannot be written as ONNX: {reason}") from error
    return _write(onnx.load_model_from_string(buffer.getvalue()), names, out, described, size)


def write_onnx(
    path: str | os.PathLike[str],
    outputs: Sequence[str],
    out: str | os.PathLike[str],
    described: Described,
) -> Backbone:
    """Make a backbone file of an ONNX graph.

    Args:
        path: of the graph; one input [N, 3, H, W] float32.
        outputs: names of the values in it that are feature maps [N, C, h, w].
        out: the file to write, FILE.onnx.
        described: normalisation, licence and source.

    Returns:
        The backbone as ``read_backbone`` finds it.

    Raises:
        ExportError: not an ONNX graph, no such value, or one that is not a feature map.
    """
    try:
        model = onnx.load(os.fspath(path))
    except Exception as error:  # protobuf raises what it likes
        raise ExportError(f"{os.fspath(path)} is not an ONNX file that can be read") from error
    inputs = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in inputs]
    if len(images) != 1:
        raise ExportError(
            f"{os.fspath(path)} has {len(images)} inputs; a backbone has one, the image"
        )
    known = [name for node in model.graph.node for name in node.output]
    for name in outputs:
        if name not in known:
            shown = [value.name for value in model.graph.output]
            raise ExportError(
                f"{os.fspath(path)} has no value {name!r}; its outputs are {', '.join(shown)}"
            )
    _rename(model, images[0].name, INPUT)
    return _write(model, list(outputs), out, described)


def _write(
    model: ModelProto,
    raw: list[str],
    out: str | os.PathLike[str],
    described: Described,
    size: Size | None = None,
) -> Backbone:
    """Find the levels' shapes, add what is compared, check and write."""
    if Path(out).suffix != ".onnx":
        raise ExportError(f"--out {os.fspath(out)}: a backbone is named FILE.onnx")
    try:
        PreprocessParams((1, 1), described.mean, described.std)
    except InputError as error:
        raise ExportError(f"backbone {described.name}: {error}") from error
    model = _ending_at(model, raw)
    levels = sorted(
        (_measured(model, name, raw, _SIZES if size is None else (size,)) for name in raw),
        key=lambda level: (level.stride, level.name),
    )
    model, facts = _with_features(model, levels, described, size)
    del model.metadata_props[:]
    facts = replace(facts, graph_sha256=hashlib.sha256(graph_of(_bytes(model))).hexdigest())
    helper.set_model_props(model, {KEY: json.dumps(facts.to_json())})
    try:  # before it is written: a file that cannot be used takes no place
        backbone = parse_backbone(_bytes(model), os.fspath(out))
    except InputError as error:
        raise ExportError(str(error)) from error
    write_file(out, backbone.model)
    return backbone


def _bytes(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _ending_at(model: ModelProto, names: list[str]) -> ModelProto:
    """The graph with the outputs ``names`` alone, simplified; what only others need is dropped."""
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
        )
    simple = simplify(model, "backbone")
    strip(simple)
    return simple


def _measured(model: ModelProto, name: str, names: list[str], sizes: Sequence[Size]) -> Level:
    """Channels and stride of an output, from images of ``sizes``."""
    found = [_run(model, size)[names.index(name)] for size in sizes]
    strides = set()
    for (height, width), values in zip(sizes, found, strict=True):
        fits = values.ndim == 4 and values.dtype == np.float32 and min(values.shape) > 0
        rows, columns = values.shape[2:] if fits else (0, 0)
        if not fits or height % rows or width % columns or height // rows != width // columns:
            raise ExportError(
                f"{name} is {values.shape} {values.dtype} for an image of {height} x {width}; "
                "expected a feature map [N, C, H / stride, W / stride] float32"
            )
        strides.add(height // rows)
    if len(strides) > 1 or max(strides) > _MOST_STRIDE:
        raise ExportError(
            f"{name} has stride {' and '.join(map(str, sorted(strides)))}; expected one of at most "
            f"{_MOST_STRIDE}, whatever the size of the image"
        )
    return Level(name, found[0].shape[1], strides.pop())


def _run(model: ModelProto, size: Size) -> list[NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    image = np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(_bytes(model), options)
        return list(session.run(None, {INPUT: image}))
    except Exception as error:  # onnxruntime has an exception for each of its codes
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"the backbone does not run on an image of {size[0]} x {size[1]}: {reason}; height and "
            "width have to be free axes of its input"
        ) from error


def _with_features(
    model: ModelProto, levels: list[Level], described: Described, size: Size | None
) -> tuple[ModelProto, BackboneFacts]:
    """Add the averaged levels and ``FEATURES``; the facts lack the digest only."""
    graph, finest = model.graph, levels[0].stride
    named = [
        replace(level, name=f"level_{k}_stride_{level.stride}") for k, level in enumerate(levels)
    ]
    joined = []
    for level, smooth in zip(levels, named, strict=True):
        average = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
        graph.node.append(
            helper.make_node(
                "AveragePool", [level.name], [smooth.name], **average, count_include_pad=0
            )
        )
        joined.append(_enlarged(graph, smooth, finest))
    graph.node.append(helper.make_node("Concat", joined, [FEATURES], name="join", axis=1))
    features = Level(FEATURES, sum(level.channels for level in levels), finest)
    _set_ports(model, features, size)
    check(model, (FEATURES,))
    multiple = math.lcm(*(level.stride for level in levels))
    facts = BackboneFacts(
        described.name, described.mean, described.std, multiple, tuple(named), features,
        described.licence, described.source, graph_sha256="0" * 64,
    )  # fmt: skip
    return model, facts


def _enlarged(graph: GraphProto, level: Level, finest: int) -> str:
    """The name of a level at the resolution of the finest stride."""
    if level.stride == finest:
        return level.name
    if level.stride % finest:
        raise ExportError(
            f"strides {finest} and {level.stride} cannot stand side by side; choose levels whose "
            "strides divide each other"
        )
    factor, scales, fine = level.stride // finest, f"scales_{level.name}", f"{level.name}_fine"
    values = np.array([1, 1, factor, factor], np.float32)
    graph.initializer.append(numpy_helper.from_array(values, scales))
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    graph.node.append(helper.make_node("Resize", [level.name, "", scales], [fine], **how))
    return fine


def _set_ports(model: ModelProto, level: Level, size: Size | None) -> None:
    """One output; free axes for batch, and for height and width where there is no ``size``."""
    graph = model.graph
    del graph.output[:], graph.value_info[:]
    sides: list[str | int] = [f"height_{level.stride}", f"width_{level.stride}"]
    if size is not None:
        sides = [side // level.stride for side in size]
    shape = [BATCH, level.channels, *sides]
    graph.output.append(helper.make_tensor_value_info(level.name, TensorProto.FLOAT, shape))
    given = [BATCH, 3, *(size or ("height", "width"))]
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, given)
    del graph.input[:]
    graph.input.append(image)


def _rename(model: ModelProto, old: str, new: str) -> None:
    """Give the input of a graph another name."""
    for value in model.graph.input:
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
