"""The memories of a bundle on a real device: held once, and a frame's distances to them."""

from __future__ import annotations

import numpy as np
import pytest
from memory_bundle import exact, frame_features, memory_bundle

from edgead.errors import DeviceError


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_distances_follow_float64(device, tiny, dtype, distance):
    bundle, features = memory_bundle(tiny, dtype, distance), frame_features()
    found, total = device.distances(bundle, features)
    expected, expected_total = exact(bundle, features)
    for (values, zeros), truth in zip(found, expected, strict=True):
        assert values.shape == zeros.shape == (1, 1, *truth.shape) and not zeros.any()
        # Roundings of sums over channels; of squared distances, over a temperature, in a blend.
        np.testing.assert_allclose(values[0, 0], truth, rtol=2e-4)
    np.testing.assert_allclose(total[0, 0], expected_total, rtol=2e-4)


def test_a_memory_larger_than_the_device_is_refused(device, tiny, monkeypatch):
    bundle = memory_bundle(tiny, "float32")
    monkeypatch.setattr(type(device.memory), "free_bytes", lambda self: 3 * 4 * 63 + 4 * 21 * 50)
    with pytest.raises(DeviceError, match="at most 50 features fit"):
        device.distances(bundle, frame_features())
