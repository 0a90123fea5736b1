"""The memories of a bundle on a real device: held once, and a frame's distances to them."""

from __future__ import annotations

import numpy as np
import pytest
from memory_bundle import SHAPES, exact, frame_features, memory_bundle

from edgead.errors import DeviceError


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_distances_follow_float64(device, tiny, dtype):
    bundle, features = memory_bundle(tiny, dtype), frame_features()
    found = device.distances(bundle, features)
    expected = exact(bundle, features)
    for (channels, size, _), (distance, zeros), truth in zip(SHAPES, found, expected, strict=True):
        assert distance.shape == zeros.shape == (1, 1, *size) and not zeros.any()
        # A sum of squares is off by a rounding for each channel; weights, places and mean add few.
        np.testing.assert_allclose(distance[0, 0], truth, rtol=(channels + 14) * 2.0**-24)


def test_a_memory_larger_than_the_device_is_refused(device, tiny, monkeypatch):
    bundle = memory_bundle(tiny, "float32")
    monkeypatch.setattr(type(device.memory), "free_bytes", lambda self: 4 * 63 + 4 * 21 * 50)
    with pytest.raises(DeviceError, match="at most 50 features fit"):
        device.distances(bundle, frame_features())
