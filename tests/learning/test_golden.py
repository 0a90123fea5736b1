"""Golden frames: spread over the scores; a synthetic defect that is the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.learning.golden import spread_over, synthetic_defect


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([5.0, 1.0, 9.0, 4.9, 2.0], [1, 0, 2]),  # lowest, nearest to 5, highest
        ([3.0], [0]),
        ([7.0, 6.0], [1, 0]),
        ([1.0, 1.0, 1.0, 1.0], [0, 1, 2]),  # all alike: three different frames all the same
        ([0.0, 0.0, 10.0], [0, 1, 2]),
    ],
)
def test_spread_over_by_hand(scores: list[float], chosen: list[int]) -> None:
    assert spread_over(np.array(scores)) == chosen


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(40, 60, 3), (60, 40), (1, 1), (1, 9, 3), (3, 2)])
def test_defect_keeps_shape_and_dtype_and_is_local(dtype: type, shape: tuple[int, ...]) -> None:
    full = np.iinfo(dtype).max
    frame = np.random.default_rng(3).integers(0, full, shape, dtype, endpoint=True)
    before = frame.copy()
    frame.setflags(write=False)
    found = synthetic_defect(frame)
    assert found.shape == frame.shape
    assert found.dtype == dtype
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(found, synthetic_defect(frame))
    changed = found != frame
    side = max(1, min(shape[:2]) // 4)
    assert 0 < changed.reshape(*shape[:2], -1).any(2).sum() <= side * side


def test_defect_by_hand() -> None:
    """A 4x8 ramp: side 1, cut at (0, 1), pasted at (1, 4); 10 is dark, so 30 % of 255 is added."""
    frame = np.arange(32, dtype=np.uint8).reshape(4, 8) * 7
    found = synthetic_defect(frame)
    expected = frame.copy()
    expected[1, 4] = round(7 + 0.3 * 255)
    np.testing.assert_array_equal(found, expected)


def test_flat_frame_still_gets_a_defect() -> None:
    for value in (0, 90, 255):
        frame = np.full((16, 16), value, np.uint8)
        assert (synthetic_defect(frame) != frame).any()
