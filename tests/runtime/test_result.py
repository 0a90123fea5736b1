"""Heatmap, regions and overlay, on maps whose answer can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgead.result import Region, Result, Scale


def result_of(values: Any, frame: np.ndarray, *, threshold: float = 1.0, **more: Any) -> Result:
    values = np.asarray(values, np.float32)
    return Result(
        score=float(values.max()),
        p_value=0.025,
        is_anomalous=bool(values.max() > threshold),
        threshold=threshold,
        map=values,
        timings_ms={},
        frame=frame,
        color=more.get("color", "bgr"),
        scale=Scale(more.get("typical", 0.5), threshold),
    )


def bilinear(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel bilinear in float64, border replicated."""

    def matrix(size_in: int, size_out: int) -> np.ndarray:
        weights = np.zeros((size_out, size_in))
        for row in range(size_out):
            at = min(max((row + 0.5) * size_in / size_out - 0.5, 0), size_in - 1)
            low = min(int(at), max(size_in - 2, 0))
            weights[row, low] += 1 - (at - low)
            weights[row, min(low + 1, size_in - 1)] += at - low
        return weights

    return matrix(values.shape[0], height) @ values @ matrix(values.shape[1], width).T


@pytest.mark.parametrize("shape", [(64, 48), (128, 96), (97, 211), (30, 20), (1, 1), (1, 500)])
def test_heatmap_is_bilinear(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    heat = result_of(values, np.zeros((*shape, 3), np.uint8)).heatmap()
    assert heat.shape == shape
    assert heat.dtype == np.float32
    # float32 weights and sums of values up to 4; OpenCV's coordinates are float32 too: over 500
    # pixels they are off by up to 500 * 2^-23, times differences of neighbours up to 8.
    np.testing.assert_allclose(heat, bilinear(values, *shape), atol=5e-4)


def test_regions_by_hand() -> None:
    values = np.zeros((8, 10), np.float32)
    values[1:3, 2:5] = [[2, 2, 2], [2, 5, 2]]  # a block
    values[6, 7] = values[7, 8] = 3  # touch at a corner: one region
    values[0, 9] = 1.0  # at the threshold, not above it
    result = result_of(values, np.zeros((8, 10), np.uint8))  # map and frame of one size
    assert result.regions == (
        Region(x=2, y=1, width=3, height=2, area=6, peak=5.0),
        Region(x=7, y=6, width=2, height=2, area=2, peak=3.0),
    )
    assert result.regions is result.regions


def test_regions_are_in_frame_pixels() -> None:
    values = np.zeros((8, 8), np.float32)
    values[4:6, 1:3] = 10.0
    (region,) = result_of(values, np.zeros((80, 160, 3), np.uint8), threshold=5.0).regions
    # Half height lies half a map pixel outside the block: on its border, at factors 10 and 20.
    assert (region.x, region.y, region.width, region.height) == (20, 40, 40, 20)
    assert region.peak == 10.0
    assert 0.7 * 800 < region.area <= 800  # bilinear rounds the corners off


def test_no_region() -> None:
    assert result_of(np.ones((8, 8)), np.zeros((30, 40), np.uint8)).regions == ()


@pytest.mark.parametrize("shape", [(16, 24), (3, 2), (1, 1), (33, 57)])
@pytest.mark.parametrize("place", [(0, 0), (7, 7), (3, 5)])
def test_a_barely_anomalous_peak_has_a_region(
    shape: tuple[int, int], place: tuple[int, int]
) -> None:
    values = np.zeros((8, 8), np.float32)
    values[place] = np.nextafter(np.float32(1), np.float32(2))
    (region,) = result_of(values, np.zeros(shape, np.uint8)).regions
    assert region.peak > 1.0
    # Within the map's pixel, give or take one pixel of the frame.
    row, column = place
    assert row * shape[0] / 8 - 1 <= region.y
    assert region.y + region.height <= (row + 1) * shape[0] / 8 + 1
    assert column * shape[1] / 8 - 1 <= region.x
    assert region.x + region.width <= (column + 1) * shape[1] / 8 + 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (30, 40, 3), (1, 1), (1, 1, 3)])
def test_overlay_of_a_good_part_is_the_frame(shape: tuple[int, ...], dtype: type) -> None:
    top = np.iinfo(dtype).max
    frame = np.random.default_rng(1).integers(0, top, shape, dtype, endpoint=True)
    overlay = result_of(np.full((8, 8), 0.4), frame).overlay()  # under the typical peak of 0.5
    plain = (frame // 257 if dtype == np.uint16 else frame).reshape(*shape[:2], -1)
    assert overlay.dtype == np.uint8
    assert overlay.shape == (*shape[:2], 3)
    difference = overlay.astype(int) - np.broadcast_to(plain, overlay.shape)
    assert np.abs(difference).max() <= 1  # 16 bits keep their upper 8: v >> 8 or v // 257


def test_overlay_turns_rgb() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:, :, 0] = 200  # red
    overlay = result_of(np.zeros((4, 4)), frame, color="rgb").overlay()
    assert overlay[0, 0].tolist() == [0, 0, 200]


def test_overlay_marks_where_it_is() -> None:
    values = np.zeros((16, 16), np.float32)
    values[4:8, 4:8] = 3.0
    overlay = result_of(values, np.full((64, 64, 3), 90, np.uint8)).overlay()
    changed = (overlay != 90).any(axis=2)
    assert changed[18:30, 18:30].all()
    assert not changed[40:].any() and not changed[:, 40:].any()
    assert (overlay == 255).all(axis=2).any()  # the outline


@pytest.mark.parametrize(("typical", "threshold"), [(1.0, 1.0), (0.0, 0.0), (-2.0, -1.0)])
def test_overlay_of_a_flat_calibration(typical: float, threshold: float) -> None:
    frame = np.full((9, 9), 90, np.uint8)
    result = result_of(np.full((8, 8), 5.0), frame, typical=typical, threshold=threshold)
    assert (result.overlay() != 90).any()


def test_the_overlay_does_not_touch_the_frame() -> None:
    frame = np.zeros((9, 9, 3), np.uint8)
    frame.setflags(write=False)
    result_of(np.full((8, 8), 5.0), frame).overlay()
    assert not frame.any()


def test_repr_and_float() -> None:
    result = result_of(np.full((8, 8), 5.0), np.zeros((30, 40, 3), np.uint8))
    text = repr(result)
    assert text == "Result(anomalous, score=5, p_value=0.025, threshold=1, frame 30 x 40)"
    assert float(result) == 5.0
