"""The maps ReDi makes of an image, against float64 loops and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from edgead_training.methods.redi_structure_maps import KINDS, Gray, Hog, Sobel, make_map


def _random_image(height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 4, width // 4, 3), dtype=np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


def _hog_reference(image: np.ndarray, bins: int = 9, cell: int = 8, eps: float = 0.02):
    """The docstring's formula, float64, with angles from arctan2 and one pixel at a time."""
    gray = image.mean(0)
    padded = np.pad(gray, 1, mode="edge")
    gx = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    gy = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    height, width = gray.shape
    votes = np.zeros((bins, height, width))
    turns = np.linspace(0, 2 * np.pi, 9001)[:-1, None] - np.arange(bins) * 2 * np.pi / bins
    usual = np.maximum(0, np.cos(turns) - np.cos(2 * np.pi / bins)).sum(1).mean()  # of every angle
    centres = np.arange(bins) * np.pi / bins
    for y in range(height):
        for x in range(width):
            magnitude = np.hypot(gx[y, x], gy[y, x])
            angle = np.arctan2(gy[y, x], gx[y, x])
            r = np.maximum(0, np.cos(2 * angle - 2 * centres) - np.cos(2 * np.pi / bins))
            votes[:, y, x] = magnitude * r / usual
    cells = votes.reshape(bins, height // cell, cell, width // cell, cell).mean((2, 4))
    energy = (cells**2).sum(0)
    out = np.empty_like(cells)
    for y in range(energy.shape[0]):
        for x in range(energy.shape[1]):
            block = energy[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean()
            out[:, y, x] = cells[:, y, x] / np.sqrt(block + eps**2)
    return out


def test_hog_is_its_formula():
    image = _random_image()
    got = Hog()(image)[0].numpy()
    want = _hog_reference(image[0].double().numpy())
    # The module guards its root with 1e-8, which a weak gradient of 1e-3 feels by 1 %.
    assert got.shape == want.shape == (9, 4, 6)
    np.testing.assert_allclose(got, want, atol=5e-3)


def test_hog_of_a_vertical_edge_votes_for_the_horizontal_gradient_alone():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:] = 1
    hog = Hog()(image)[0]
    assert hog[0, :, 3:5].min() > 0.5  # bin 0: gradient along x
    assert hog[1:].max() < 1e-3
    assert hog[:, :, :3].abs().max() < 1e-3  # flat cells stay silent


def test_hog_forgets_brightness_but_not_orientation():
    image = _random_image() * 0.5
    brighter = Hog()(image + 0.3)
    torch.testing.assert_close(brighter, Hog()(image), atol=1e-4, rtol=0)
    assert (Hog()(image.transpose(2, 3)).transpose(2, 3) - Hog()(image)).abs().max() > 0.1


def test_sobel_agrees_with_opencv():
    image = _random_image()
    gray = image[0].mean(0).double().numpy()
    gx, gy = (cv2.Sobel(gray, cv2.CV_64F, *d, borderType=cv2.BORDER_REPLICATE) / 4
              for d in ((1, 0), (0, 1)))  # fmt: skip
    np.testing.assert_allclose(Sobel()(image)[0, 0].numpy(), np.hypot(gx, gy), atol=2e-4)


def test_canny_marks_the_edge_and_nothing_else():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 1
    edges = make_map("canny")(image)[0, 0]
    assert edges[:, 15:17].min() > 0.5
    assert edges[:, :12].max() < 0.05
    assert edges[:, 20:].max() < 0.05


def test_gray_is_the_mean_of_the_channels():
    image = _random_image()
    np.testing.assert_allclose(Gray()(image)[0, 0].numpy(), image[0].numpy().mean(0), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_its_channels_and_is_finite_on_a_flat_image(kind: str):
    module = make_map(kind)
    out = module(torch.full((2, 3, 64, 32), 0.5))
    assert out.shape[:2] == (2, module.channels)
    assert torch.isfinite(out).all()
