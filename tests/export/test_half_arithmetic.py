"""Half arithmetic in torch: rounds as half does, and sees the overflow that a CPU engine hides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgead_export.half_arithmetic import HALF_MAX, HalfArithmetic
from torch import nn


def test_product_sums_in_float32_and_rounds_once() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 5, 9, 7, generator=generator).half()
    conv = nn.Conv2d(5, 4, 3, padding=1).half()
    with torch.no_grad(), HalfArithmetic():
        found = conv(image)
    exact = nn.functional.conv2d(
        image.double(), conv.weight.detach().double(), conv.bias.detach().double(), padding=1
    )
    assert found.dtype == torch.float16
    # One rounding to half, 2^-11 of the value, plus float32's sums, which may tip it over once.
    np.testing.assert_allclose(found.double(), exact, rtol=2**-11 + 1e-5, atol=2**-20)


def test_linear_and_matmul_round_too() -> None:
    a, b = torch.full((4, 4), 3.0).half(), torch.full((4, 4), 1 / 3).half()
    with HalfArithmetic():
        found = a @ b
    exact = a.double() @ b.double()
    assert found.dtype == torch.float16
    np.testing.assert_allclose(found.double(), exact, rtol=2**-11)


def test_peak_is_the_largest_magnitude() -> None:
    with HalfArithmetic() as mode:
        x = torch.tensor([1.0, -20.0]).half()
        (x * 10).abs().sum()
    assert mode.peak == 210.0
    assert mode.peak_operator == "aten.sum.default"


def test_float32_is_left_alone() -> None:
    x = torch.full((3, 3), 1e6)
    with HalfArithmetic() as mode:
        found = x @ x
    assert torch.equal(found, x @ x)
    assert mode.peak == 0.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_overflow_is_seen_also_behind_a_clip(sign: float) -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False).half()
    conv.weight.data.fill_(sign * 100.0)
    with torch.no_grad(), HalfArithmetic() as mode:
        out = conv(torch.full((1, 1, 2, 2), 1000.0).half()).clamp(-6, 6)
    assert out.isfinite().all()  # the clip hides it in the output
    assert mode.peak == float("inf") > HALF_MAX
    assert "convolution" in mode.peak_operator


def test_same_result_as_torch_on_a_network() -> None:
    """torch's own half convolutions are the truth; they sum in another order."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 2, 1)
        ).half()
        image = torch.rand(1, 3, 8, 8).half()
    with torch.no_grad():
        expected = net(image)
        with HalfArithmetic():
            found = net(image)
    np.testing.assert_allclose(found.float(), expected.float(), atol=4e-3)  # four roundings of ~1
