"""A backbone without torch, and pictures of parts, for learning."""

from __future__ import annotations

import hashlib

import numpy as np

from edgead.learning.backbone import Backbone, BackboneFacts, Level, graph_of
from edgead.learning.good_image import GoodImage

CHANNELS, STRIDE = 6, 4


def small_backbone() -> Backbone:
    """One convolution of random weights."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(3).normal(0, 0.3, (CHANNELS, 3, STRIDE, STRIDE))
    stored = numpy_helper.from_array(weight.astype(np.float32), "w")
    size = {"kernel_shape": [STRIDE] * 2, "strides": [STRIDE] * 2}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["raw"], **size),
        helper.make_node("Relu", ["raw"], ["features"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("image", 3), ("features", CHANNELS))
    ]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], [stored])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    level = Level("features", CHANNELS, STRIDE)
    digest = hashlib.sha256(graph_of(data)).hexdigest()
    facts = BackboneFacts(
        "small", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 8, (level,), level, "none", "a test", digest
    )
    return Backbone(facts, data)


def part(seed: int) -> np.ndarray:
    """A bright square amid dark background, [64, 64, 3]."""
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 3, (64, 64, 3))
    image[16:48, 16:48] = rng.normal(150, 12, (32, 32, 3)) + rng.normal(0, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def good(count: int, first: int = 0) -> list[GoodImage]:
    """Images that are made when they are read."""
    return [
        GoodImage(f"{seed}.png", lambda seed=seed: part(seed))
        for seed in range(first, first + count)
    ]
