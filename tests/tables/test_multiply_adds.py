"""The count of multiply-adds: by hand, and beside torch's own counter on every method."""

from __future__ import annotations

import pytest
import torch
from edgead_export.onnx import to_onnx
from edgead_training.methods import METHODS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SMALL = {"size": [64, 64]}


def exported(module: nn.Module, tmp_path) -> bytes:
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        module, (torch.rand(2, 3, 8, 10),), path, input_names=["image"], dynamo=False,
        dynamic_axes={"image": {0: "batch"}},
    )  # fmt: skip
    return path.read_bytes()


@pytest.mark.parametrize(
    ("module", "multiply_adds"),
    [
        (nn.Conv2d(3, 5, 3, stride=2, padding=1), 4 * 5 * 5 * 3 * 9),
        (nn.Conv2d(3, 6, 3, groups=3, bias=False), 6 * 8 * 6 * 1 * 9),
        (nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), 8 * 10 * 3 * 4 * 16),
        (nn.Linear(10, 7), 3 * 8 * 10 * 7),
        (nn.Sequential(nn.Flatten(), nn.Linear(240, 2)), 480),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), 0),
    ],
    ids=str,
)
def test_the_count_by_hand(script, tmp_path, module: nn.Module, multiply_adds: int) -> None:
    found = script("multiply_adds").gflop(exported(module.eval(), tmp_path))
    assert found == pytest.approx(2e-9 * multiply_adds, rel=1e-12)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_count_is_torchs_on_every_method(script, name: str) -> None:
    method = METHODS[name].from_settings(SMALL, 4).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method.graph(torch.rand(1, 3, 64, 64))  # without the memory, which the graph lacks
    found = script("multiply_adds").gflop(to_onnx(method))
    assert found == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-9)
