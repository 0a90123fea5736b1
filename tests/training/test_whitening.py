"""Residuals whitened by their local covariance, against Mahalanobis distances in NumPy."""

from __future__ import annotations

import numpy as np
import torch
from edgead_training.features.whitening import (
    FLOOR,
    PRIOR_IMAGES,
    LocalWhitening,
    from_regions,
    inverse_root,
    to_regions,
)


def _features(count: int, seed: int, channels: int = 3) -> torch.Tensor:
    """[count, channels, 4, 6]; channels depend on each other, more so on the right."""
    drawn = torch.randn(count, channels, 4, 6, generator=torch.Generator().manual_seed(seed))
    drawn[:, 1] += drawn[:, 0] * torch.linspace(0, 3, 6)
    return drawn


def test_regions_are_squares_row_by_row_and_come_back():
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    regions = to_regions(x, 2)
    assert regions.shape == (1, 6, 1, 4)
    assert regions[0, 1, 0].tolist() == [2, 3, 8, 9]  # the second square of the first row
    assert regions[0, 3, 0].tolist() == [12, 13, 18, 19]  # the first of the second
    several = _features(2, 0)
    assert torch.equal(from_regions(to_regions(several, 2), (4, 6)), several)


def test_roots_invert_the_shrunk_covariance():
    draws = np.random.default_rng(0).normal(size=(2, 50, 4))
    covariance = np.stack([np.cov(each.T) for each in draws])
    whole = covariance.mean(0)
    whole = whole + (FLOOR * np.trace(whole) / 4 + 1e-6) * np.eye(4)
    want = np.linalg.inv((7 * covariance + PRIOR_IMAGES * whole) / (7 + PRIOR_IMAGES))
    root = inverse_root(torch.from_numpy(covariance), 7).numpy()
    np.testing.assert_allclose(root.transpose(0, 2, 1) @ root, want, rtol=1e-9)


def test_pairs_give_the_mahalanobis_distance_of_the_residual_in_its_square():
    """Of images that the measuring has not seen, chunks of any size."""
    x, y = _features(30, 1), 0.5 * _features(30, 2) + 1
    whitening = LocalWhitening((3,), [(4, 6)], [2])
    whitening.fit([x[part] - y[part]] for part in torch.arange(30).split(7))
    new_x, new_y = _features(3, 3), _features(3, 4)
    ((a, b),) = whitening.emit([new_x - new_y])
    assert not b.any() and b.shape == a.shape  # the pair whose distance is that of the residual
    got = a.square().sum(1).numpy()

    residual = (x - y).double().numpy()
    overall = residual.mean((0, 2, 3))[:, None, None]
    mean = (30 * residual.mean(0) + PRIOR_IMAGES * overall) / (30 + PRIOR_IMAGES)
    residual = residual - mean  # of each position
    covariance = {}
    for row in range(0, 4, 2):
        for column in range(0, 6, 2):
            square = residual[:, :, row : row + 2, column : column + 2]
            flat = square.transpose(1, 0, 2, 3).reshape(3, -1)
            covariance[row, column] = flat @ flat.T / flat.shape[1]
    whole = np.mean(list(covariance.values()), 0)
    whole = whole + (FLOOR * np.trace(whole) / 3 + 1e-6) * np.eye(3)
    new = (new_x - new_y).double().numpy() - mean
    for row in range(4):
        for column in range(6):
            local = covariance[row // 2 * 2, column // 2 * 2]
            matrix = (30 * local + PRIOR_IMAGES * whole) / (30 + PRIOR_IMAGES)
            r = new[:, :, row, column]
            want = np.einsum("nc,cd,nd->n", r, np.linalg.inv(matrix), r)
            np.testing.assert_allclose(got[:, row, column], want, rtol=1e-4)  # float32


def test_at_a_border_a_residual_counts_by_the_share_of_its_window():
    """6 of 9 positions there, 4 at a corner; nothing else changes."""
    x, new = _features(30, 1), _features(2, 3)
    found = []
    for border in (False, True):
        whitening = LocalWhitening((3,), [(4, 6)], [2], border)
        whitening.fit([[x]])
        found.append(whitening.emit([new])[0][0])
    share = np.outer([6, 9, 9, 6], [6, 9, 9, 9, 9, 6]) / 81
    want = found[0] * torch.from_numpy(share).float()
    torch.testing.assert_close(found[1], want, rtol=1e-5, atol=1e-6)


def test_good_images_are_about_one_apart_in_the_mean_where_there_are_many():
    x, y = _features(2000, 5), _features(2000, 6)
    whitening = LocalWhitening((3,), [(4, 6)], [2])
    whitening.fit([[x - y]])
    ((a, _),) = whitening.emit([x - y])
    mean = a.square().mean()
    # The floor and the prior of 20 images in 2000 take about a tenth at most.
    assert 0.9 < float(mean) <= 1.0


def test_one_image_and_constant_channels_stay_finite():
    x = _features(1, 7)
    x[:, 2] = 4.0
    whitening = LocalWhitening((3,), [(4, 6)], [2])
    whitening.fit([[x]])
    ((a, _),) = whitening.emit([_features(2, 8)])
    assert a.isfinite().all()
    # What an image has more of than its own mean is still seen.
    ((own, _),) = whitening.emit([x])
    assert float(own[:, :2].square().mean()) > 0.5


def test_without_position_one_mean_and_one_covariance_hold_everywhere():
    """And what good images differ in from place to place counts in the covariance."""
    slope = torch.linspace(0, 4, 6)  # the same in every image: spread over places alone
    x, y = _features(30, 1) + slope, 0.5 * _features(30, 2) + 1
    whitening = LocalWhitening((3,), [(4, 6)], [2])
    whitening.fit(([x[part] - y[part]] for part in torch.arange(30).split(7)), position=False)
    for name in ("mean_0", "whiten_0"):
        buffer = whitening.get_buffer(name)
        first = buffer[:1] if name == "whiten_0" else buffer[..., :1, :1]
        assert torch.equal(buffer, first.expand_as(buffer)), name
    np.testing.assert_allclose(
        whitening.get_buffer("mean_0")[0, :, 0, 0], (x - y).double().mean((0, 2, 3)), rtol=1e-6
    )

    residual = (x - y).double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    covariance = np.cov(residual, bias=True)  # of all positions of all images
    whole = covariance + (FLOOR * np.trace(covariance) / 3 + 1e-6) * np.eye(3)
    inverse = np.linalg.inv((30 * covariance + PRIOR_IMAGES * whole) / (30 + PRIOR_IMAGES))
    new_x, new_y = _features(3, 3), _features(3, 4)
    ((a, _),) = whitening.emit([new_x - new_y])
    new = (new_x - new_y).double().numpy() - residual.mean(1)[:, None, None]
    want = np.einsum("nchw,cd,ndhw->nhw", new, inverse, new)
    np.testing.assert_allclose(a.square().sum(1), want, rtol=1e-4)  # float32
