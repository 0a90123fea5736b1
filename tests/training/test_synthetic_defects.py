"""Synthetic defects: where they say they are, in any frame, the same for the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from edgead_training.data.synthetic_defects import BLOBS, LINES, add_defect


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(90, 120, 3), (120, 90)])
def test_only_the_mask_and_its_soft_edge_change(dtype: type, shape: tuple[int, ...]) -> None:
    full = np.iinfo(dtype).max
    frame = np.random.default_rng(1).integers(full // 4, full // 2, shape, dtype)
    before, rng, kinds = frame.copy(), np.random.default_rng(0), set()
    for _ in range(60):
        changed, mask, kind = add_defect(frame, rng)
        kinds.add(kind)
        assert changed.dtype == dtype and changed.shape == shape and mask.shape == shape[:2]
        gap = np.abs(changed.astype(float) - frame).reshape(*shape[:2], -1).max(2)
        around = cv2.dilate(mask.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
        # Beyond the soft edge nothing but the rounding of one scale to the other and back.
        assert gap[~around].max() <= 1
        assert gap[mask].max() > full / 255
    assert kinds == {*LINES, *BLOBS}
    np.testing.assert_array_equal(frame, before)


def test_the_same_seed_paints_the_same() -> None:
    frame = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    first, second = (add_defect(frame, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[2] == second[2]


@pytest.mark.parametrize("shape", [(90, 120, 3), (120, 90)])
def test_a_defect_at_the_border_reaches_it_on_every_side(shape: tuple[int, ...]) -> None:
    frame = np.random.default_rng(1).integers(60, 120, shape, np.uint8)
    rng, touched = np.random.default_rng(0), np.zeros(4, int)
    for _ in range(200):
        changed, mask, _ = add_defect(frame, rng, at_border=True)
        sides = [mask[0].any(), mask[-1].any(), mask[:, 0].any(), mask[:, -1].any()]
        assert any(sides) and not mask.all()
        assert (changed != frame).reshape(*shape[:2], -1).any(2)[mask].any()
        touched += sides
    assert touched.min() > 20
