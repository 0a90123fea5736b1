"""What AGPNet perturbs, and how much, by hand."""

from __future__ import annotations

import pytest
import torch
from edgead_training.methods.agpnet import feature_noise, image_noise, marked_pixels, schedule


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=_generator(seed))


def test_feature_noise_by_hand():
    clean, noise = torch.full((1, 2, 1, 2), 7.0), torch.tensor([[[[1.0, -1.0]], [[3.0, 0.0]]]])
    mask = torch.tensor([[[[5.0, 9.0]]]])  # stretched to 0 and 1
    want = torch.tensor([[[[7.1, 6.1]], [[7.3, 7.0]]]])  # 7 + E (0.8 minmax(A) + 0.1)
    torch.testing.assert_close(feature_noise(clean, noise, mask, 0.8, 0.1), want)


def test_marked_pixels_are_the_share_asked_where_the_mask_is_highest():
    mask = torch.zeros(2, 1, 4, 6)
    mask[0, 0, 1, 2], mask[1, 0, 3, 0] = 1, 1
    marked = marked_pixels(mask, (64, 96), 0.01)
    assert marked.shape == (2, 1, 64, 96)
    assert marked.sum((1, 2, 3)).tolist() == [61, 61]  # 61.44
    rows, columns = marked[0, 0].nonzero().T
    assert abs(rows.float().mean() - 23.5) < 1 and abs(columns.float().mean() - 39.5) < 1
    assert marked_pixels(torch.ones(1, 1, 4, 6), (64, 96), 0.3).sum() == 1843  # a tie: no more


def test_image_noise_stays_where_it_is_marked():
    images, mask = _random(2, 3, 64, 96), _random(2, 1, 4, 6, seed=1)
    noisy = image_noise(images, mask, 0.2, 0.4, _generator())
    marked = marked_pixels(mask, (64, 96), 0.2).expand_as(images) == 1
    assert torch.equal(noisy[~marked], images[~marked])
    assert float((noisy - images)[marked].std()) == pytest.approx(0.4, rel=0.05)


def test_schedule_goes_from_easy_to_hard_and_its_mean_is_the_constant_one():
    end = (2.0, (0.1, 0.3))
    assert schedule("linear", 0.0, *end) == (0.0, 0.1)
    assert schedule("linear", 0.25, *end) == (0.5, pytest.approx(0.15))
    constant = schedule("constant", 0.0, *end)
    assert constant == schedule("constant", 0.9, *end) == (1.0, pytest.approx(0.2))
