"""NV12 against OpenCV, the standards' matrices in float64 and the reference; what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import edgead
from edgead import reference
from edgead.errors import InputError
from edgead.images.arrays import as_frame
from edgead.images.nv12 import COLOR_SPACES, Nv12

MADE = Path(__file__).parents[1] / "made_before" / "disc.edgead"


def planes(height: int = 6, width: int = 10, seed: int = 0) -> np.ndarray:
    """Both in one array, any values."""
    return np.random.default_rng(seed).integers(0, 256, (height * 3 // 2, width), np.uint8)


def test_bt601_gives_the_bytes_of_opencv() -> None:
    whole = planes(64, 96)
    for color, code in (("bgr", cv2.COLOR_YUV2BGR_NV12), ("rgb", cv2.COLOR_YUV2RGB_NV12)):
        np.testing.assert_array_equal(as_frame(Nv12(whole), color), cv2.cvtColor(whole, code))


@pytest.mark.parametrize("space", range(4))
def test_the_reference_and_the_standard(space: int) -> None:
    """Factors of three digits are within two levels of BT.601 and BT.709 in real numbers."""
    whole = planes(32, 64, seed=space)
    light, chroma = whole[:32], whole[32:]
    found = Nv12(light, chroma, COLOR_SPACES[space]).colors("rgb")
    np.testing.assert_array_equal(found, reference.nv12(light, chroma, space))
    red, blue = ((0.299, 0.114), (0.2126, 0.0722))[space // 2]  # the share of each in Y
    full = space % 2 == 1
    y = light / 255 if full else (light.astype(float) - 16) / 219
    both = (chroma.reshape(16, 32, 2).repeat(2, 0).repeat(2, 1).astype(float) - 128) / (
        255 if full else 224
    )
    u, v = both[..., 0] * 2 * (1 - blue), both[..., 1] * 2 * (1 - red)
    r, b = y + v, y + u
    exact = np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], axis=2)
    inside = light >= (0 if full else 16)
    off = np.abs(np.clip(exact, 0, 1) * 255 - found)[inside]
    assert off.max() <= 2


def test_planes_lie_anywhere() -> None:
    whole = planes(8, 16)
    expected = Nv12(whole).colors("bgr")
    wide = np.zeros((12, 40), np.uint8)
    wide[:, 3:19] = whole
    for light, chroma in (
        (wide[:8, 3:19], wide[8:, 3:19]),
        (whole[:8], whole[8:].reshape(4, 8, 2)),
        (whole[:8][::-1].copy()[::-1], whole[8:][::-1].copy()[::-1]),  # bottom up
    ):
        np.testing.assert_array_equal(Nv12(light, chroma).colors("bgr"), expected)


def test_a_detector_scores_what_opencv_converts() -> None:
    rng = np.random.default_rng(3)
    whole = cv2.GaussianBlur(planes(128, 128), (0, 0), 3) // 2 + rng.integers(
        60, 64, dtype=np.uint8
    )
    with edgead.Detector(str(MADE), device="cpu") as detector:
        found = detector.score(edgead.Nv12(whole))
        expected = detector.score(cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_NV12))
        assert found.score == expected.score and found.overlay().shape == (128, 128, 3)


class OfDLPackAlone:
    """An array of a library that has no other protocol, on a GPU."""

    shape = (9, 10)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


WHOLE = planes()
REFUSED = {
    "odd": (lambda: Nv12(planes(6, 9)), "expected even numbers for NV12"),
    "no third": (lambda: Nv12(WHOLE[:8]), r"shape \(8, 10\), expected Y"),
    "colour": (lambda: Nv12(np.zeros((6, 4, 3), np.uint8)), "expected Y"),
    "dtype": (lambda: Nv12(WHOLE.astype(np.uint16)), "light is uint16 of shape"),
    "half": (lambda: Nv12(WHOLE[:6], WHOLE[:6]), "expected half the rows"),
    "gaps": (lambda: Nv12(WHOLE[:6, ::2], WHOLE[6:, ::2]), "side by side"),
    "turned": (lambda: Nv12(WHOLE[:6], np.zeros((2, 3, 5), np.uint8).T.swapaxes(0, 1)),
               "side by side"),
    "word": (lambda: Nv12(WHOLE, color_space="bt2020"), "'bt2020', expected one of"),
    "elsewhere": (lambda: Nv12(OfDLPackAlone()), "has DLPack alone: give it as an array of torch"),
    "grey": (lambda: Nv12(WHOLE).colors("gray"), "color is 'gray'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        make()
