"""A backbone file (``edgead backbone``) as a frozen network of torch.

The graph is computed by torch, operator for operator: so it trains on any device, is exported as a
part of the method's graph, and can be had in float16, like every other backbone. Where the file is
opened, what torch computes is held against onnxruntime.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.helper import get_attribute_value
from torch import Tensor

from edgead.errors import TrainingError
from edgead.files import os_sentence
from edgead.learning.backbone import Backbone, BackboneFacts, parse_backbone, read_backbone

from .backbone import FrozenBackbone, Levels, Origin
from .onnx_operators import OPERATORS, Unsupported

KEPT = "backbone.onnx"
"""The copy of the file in the folder of a run."""

_AGREES = 1e-4  # of the largest feature: float32 through some 50 layers, summed in another order
Size = tuple[int, int]


class OnnxBackbone(FrozenBackbone):
    """The levels of a backbone file, as the network gives them, before they are averaged."""

    def __init__(self, file: Backbone, size: Size, origin: Origin) -> None:
        super().__init__()
        facts = file.facts
        self.file, self.origin = file.model, origin
        self.channels = tuple(level.channels for level in facts.levels)
        self.strides = tuple(level.stride for level in facts.levels)
        self.mean, self.std, self.multiple = facts.mean, facts.std, facts.multiple
        model = onnx.load_model_from_string(file.model)
        self.ends, self.image = _cut(model, facts), model.graph.input[0].name
        graph = _graph(model, size, origin.name)
        self.nodes, self.each = graph.nodes, graph.each
        self.constants: dict[str, str | NDArray[Any]] = {}  # a buffer, or whole numbers
        for k, (name, value) in enumerate(graph.constants.items()):
            self.constants[name] = value
            if value.dtype.kind == "f":
                self.register_buffer(f"constant_{k}", torch.from_numpy(value), persistent=False)
                self.constants[name] = f"constant_{k}"

    @property
    def dtype(self) -> torch.dtype:
        return next(self.buffers()).dtype

    def kept_file(self) -> tuple[str, bytes]:
        return KEPT, self.file

    def features(self, image: Tensor) -> Levels:
        values: dict[str, Any] = {self.image: image, "": None}
        for operator, inputs, outputs, attributes in self.nodes:
            given = [values[k] if k in values else self._constant(k, image) for k in inputs]
            found = OPERATORS[operator](attributes, *given)
            found = found if isinstance(found, tuple) else (found,)
            values |= dict(zip(outputs, found, strict=False))
        return [values[name] for name in self.ends]

    def _constant(self, name: str, image: Tensor) -> Any:
        """A constant; one that was made for one image, for each of ``image``."""
        constant = self.constants[name]
        if not isinstance(constant, str):
            return constant
        value = self.get_buffer(constant)
        return value.expand(image.shape[0], *value.shape[1:]) if name in self.each else value


def open_onnx(path: Path, size: Size) -> OnnxBackbone:
    """A backbone file as a network, held against onnxruntime.

    Args:
        path: of the file.
        size: (height, width) of the images it will see.

    Raises:
        InputError: no backbone file, or a damaged one.
        TrainingError: an operator that torch does not compute here, or other features than those
            of onnxruntime.
    """
    file = read_backbone(path)
    digest = hashlib.sha256(file.model).hexdigest()
    facts = file.facts
    found = OnnxBackbone(file, size, Origin(path.name, facts.source, facts.licence, digest)).eval()
    _check(found, size)
    return found


def reopen_onnx(path: Path, size: Size, origin: Origin) -> OnnxBackbone:
    """The copy that a run has kept. Raises: TrainingError where it is not that file any more."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrainingError(
            f"cannot read the backbone of the run: {os_sentence(error)}; train again"
        ) from error
    if hashlib.sha256(data).hexdigest() != origin.sha256:
        raise TrainingError(f"{path} is not the backbone that the run was trained on; train again")
    return OnnxBackbone(parse_backbone(data, str(path)), size, origin).eval()


def _check(found: OnnxBackbone, size: Size) -> None:
    """Hold two images of noise against onnxruntime. Raises: TrainingError."""
    name = found.origin.name
    if any(side % found.multiple for side in size):
        return  # which the method refuses with the cure
    model = onnx.load_model_from_string(found.file)
    _end_at(model, found.ends)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    image = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    expected = session.run(list(found.ends), {session.get_inputs()[0].name: image})
    try:
        with torch.no_grad():
            got = found.features(torch.from_numpy(image))
    except (Unsupported, RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(f"--backbone {name} cannot be computed by torch: {reason}") from error
    for level, ours, theirs in zip(found.ends, got, expected, strict=True):
        gap = float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())
        if not gap <= _AGREES:
            raise TrainingError(
                f"--backbone {name}: torch gives {level} that differs from onnxruntime by "
                f"{gap:.3g} of the largest value, allowed {_AGREES:g}; it cannot be trained on"
            )


def _cut(model: ModelProto, facts: BackboneFacts) -> tuple[str, ...]:
    """Leave only what the levels need; their names before they are averaged, as the file's writer
    puts it: AveragePool of each."""
    averages = {node.output[0]: node for node in model.graph.node if node.op_type == "AveragePool"}
    ends = tuple(averages[level.name].input[0] for level in facts.levels)
    needed, kept = set(ends), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.insert(0, node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _end_at(model, ends)
    return ends


def _end_at(model: ModelProto, ends: Sequence[str]) -> None:
    """Give a graph other outputs, of float32."""
    del model.graph.output[:]
    for end in ends:
        model.graph.output.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, [None] * 4))


@dataclass(frozen=True)
class _Graph:
    """Nodes in order, and constants by name.

    ``each``: constants that hold the same for every image, kept for one.
    """

    nodes: list[tuple[str, tuple[str, ...], tuple[str, ...], dict[str, Any]]]
    constants: dict[str, NDArray[Any]]
    each: frozenset[str] = frozenset()


def _read(model: ModelProto) -> _Graph:
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        attributes = {
            each.name: value.decode() if isinstance(value := get_attribute_value(each), bytes)
            else value for each in node.attribute
        }  # fmt: skip
        if node.op_type == "Constant" and "value" in attributes:
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
        else:
            attributes["outputs"] = len(node.output)
            nodes.append((node.op_type, tuple(node.input), tuple(node.output), attributes))
    return _Graph(nodes, {name: value.copy() for name, value in constants.items()})


def _graph(model: ModelProto, size: Size, name: str) -> _Graph:
    """The graph for images of ``size``: what it computes of their shape becomes constants.

    It is made for one image and for two. A shape that differs has the images in it; a constant that
    differs is one image's, repeated.

    Raises: TrainingError: an operator that is not here.
    """
    if all(node.op_type != "Shape" for node in model.graph.node):
        found = _read(model)
    else:
        shapes = [{model.graph.input[0].name: [count, 3, *size]} for count in (1, 2)]
        one, two = (
            _read(onnxsim.simplify(model, overwrite_input_shapes=shape)[0]) for shape in shapes
        )
        found = _any_count(one, two, name)
    counts = Counter(kind for kind, *_ in found.nodes if kind not in OPERATORS)
    if counts:
        shown = ", ".join(f"{kind} ({count} times)" for kind, count in sorted(counts.items()))
        raise TrainingError(
            f"--backbone {name} has operators that training does not compute: {shown}; export the "
            "network with other layers, or take it from timm:NAME"
        )
    return found


def _any_count(one: _Graph, two: _Graph, name: str) -> _Graph:
    """The graph for any number of images, of those for one and for two. Raises: TrainingError."""
    each = set()
    for (kind, mine, *_), (other, theirs, *_) in zip(one.nodes, two.nodes, strict=False):
        for key, twice in zip(mine, theirs, strict=False):
            if (a := one.constants.get(key)) is None or (b := two.constants.get(twice)) is None:
                continue
            if a.shape == b.shape and np.array_equal(a, b):
                continue
            if kind == other == "Reshape" and a.shape == b.shape and np.sum(a != b) == 1:
                a[a != b] = 0 if -1 in a else -1  # the axis of what is reshaped, or what is left
            elif a.dtype.kind == "f" and b.shape == (2, *a.shape[1:]) and len(a) == 1:
                each.add(key)
            else:
                raise TrainingError(
                    f"--backbone {name} depends on the number of images in a way that cannot be "
                    f"followed ({kind}); export it again with a free axis for the batch"
                )
    return replace(one, each=frozenset(each))
