"""Biases of int8 convolutions that give back what rounding their weights takes on average.

Source: Nagel et al., Data-free quantization through weight equalization and bias correction (arXiv
1906.04721), section 4.2; with means of images, where the paper takes those of batch norms.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, helper, numpy_helper

from ..options import Ranges
from ..portable import INPUT, onnx_session
from .sums import tables


def correct_biases(graph: GraphProto, model: bytes, images: Ranges, int8: Collection[str]) -> None:
    """Add -(W' - W) E[x] to the bias of each convolution named in ``int8``, in place.

    ``graph`` is ``model`` with these in int8; W' are its weights, W those of ``model``, and E[x] is
    the mean of each channel of the input over ``images``, not of what is padded at the borders.
    """
    source = onnx.load_model_from_string(model).graph
    exact, _ = tables(source)
    layers = {n.name: n for n in source.node if n.op_type == "Conv" and n.name in int8}
    means = _means(model, sorted({node.input[0] for node in layers.values()}), images)
    stored, made_by = tables(graph)
    for node in graph.node:
        if node.name not in layers:
            continue
        codes, scales = (
            numpy_helper.to_array(stored[name]) for name in made_by[node.input[1]].input[:2]
        )
        source_name, weight_name = layers[node.name].input[:2]
        error = codes * scales.reshape(-1, 1, 1, 1) - numpy_helper.to_array(exact[weight_name])
        groups = means[source_name].size // error.shape[1]  # each sees its part of the channels
        apart = error.astype(np.float64).sum((2, 3)).reshape(groups, -1, error.shape[1])
        lost = np.einsum("goc,gc->go", apart, means[source_name].reshape(groups, -1)).ravel()
        before = numpy_helper.to_array(stored[node.input[2]]) if len(node.input) > 2 else 0.0
        name = f"{node.name}/bias"
        graph.initializer.append(numpy_helper.from_array((before - lost).astype(np.float32), name))
        node.input[:] = [*node.input[:2], name]


def _means(model: bytes, names: Sequence[str], images: Ranges) -> dict[str, NDArray[np.float64]]:
    """The mean of each channel of the values ``names`` [N, C, h, w] over ``images``."""
    shown = onnx.load_model_from_string(model)
    known = {value.name for value in (*shown.graph.input, *shown.graph.output)}
    shown.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    session = onnx_session(shown.SerializeToString())
    asked = [name for name in names if name != INPUT]
    total: dict[str, NDArray[np.float64]] = {}
    for image in images:
        found = {INPUT: image, **dict(zip(asked, session.run(asked, {INPUT: image}), strict=False))}
        for name in names:
            total[name] = total.get(name, 0.0) + found[name].mean((0, 2, 3), dtype=np.float64)
    return {name: value / len(images) for name, value in total.items()}
