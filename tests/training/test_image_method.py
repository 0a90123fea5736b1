"""What SSAE and ARNet share: the slow part, and units of the residual where places tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgead_training.methods import SSAE, TrainingSet
from edgead_training.methods.image_method import fine, share_of_places, usual


def _image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(64, 64), (64, 104), (72, 80)])
def test_fine_is_the_image_less_its_slow_part(size, fine64):
    image = _image(2, 3, *size)
    np.testing.assert_allclose(fine(image), fine64(image.numpy()), atol=2e-6)


def test_fine_forgets_light_and_keeps_grain():
    ramp = torch.linspace(0.2, 0.8, 96).expand(1, 3, 64, 96)
    dark, grain = torch.full((1, 3, 64, 96), 0.3), 0.1 * torch.tensor([1.0, -1.0]).repeat(48)
    assert fine(dark).abs().max() < 1e-6
    assert fine(ramp)[..., 16:-16].abs().max() < 1e-6  # at the border a mean is of fewer cells
    torch.testing.assert_close(fine(dark + grain), grain.expand(1, 3, 64, 96), atol=1e-6, rtol=0)


def _residuals(count: int, loose: bool, seed: int = 0) -> np.ndarray:
    """[count, 2, 3, 32, 48]: grain on one side, or on another part of each image."""
    rng = np.random.default_rng(seed)
    spread = np.full((32, 48), 0.02)
    spread[:, 24:] = 0.1
    images = spread * rng.normal(size=(count, 2, 3, 32, 48))
    turns = rng.integers(0, 48, count) if loose else np.zeros(count, int)
    return np.stack([np.roll(x, turn, axis=3) for x, turn in zip(images, turns, strict=True)])


@pytest.mark.parametrize(("loose", "count", "share"), [(False, 40, 1.0), (True, 4, 0.0)])
def test_places_count_as_far_as_one_half_tells_of_the_other(loose, count, share, units64):
    residuals = _residuals(count, loose)
    halves = [torch.from_numpy((x**2).mean(0)) for x in np.split(residuals, 2)]
    gain, expected = units64(residuals)
    assert share_of_places(*halves) == expected == share
    # OpenCV cuts the kernel off at 3 to 4 standard deviations: 0.3 % of its weight.
    found = usual((halves[0] + halves[1]) / 2, share)
    np.testing.assert_allclose(found.rsqrt(), gain, rtol=5e-3)
    if loose:
        assert np.ptp(gain, axis=(2, 3)).max() < 1e-6


def test_quiet_places_do_not_shout_and_half_a_grey_level_is_the_least():
    still = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    assert usual(still, 1.0).unique().tolist() == [pytest.approx(1 / 510**2)]
    loud = still.clone()
    loud[..., :16] = 1.0
    assert float(usual(loud, 1.0)[..., 31].max()) == pytest.approx(1 / 510**2 + 0.05, rel=1e-3)


def test_a_run_that_had_one_gain_for_all_colours_is_read_as_it_was():
    settings = {"size": [64, 64], "width": 0.0625, "shrink": 1, "fine": False}
    torch.manual_seed(0)
    method = SSAE.from_settings(settings, 3).eval()
    gain = torch.linspace(1, 2, 64).expand(1, 1, 64, 64)
    again = SSAE.from_settings(settings, 3).eval()
    again.load_state_dict(method.state_dict() | {"gain": gain})
    image = _image(1, 3, 64, 64)
    with torch.no_grad():
        ((original, restored),) = again(image)
        expected = method.reconstruct(image)
    torch.testing.assert_close(original, image * gain)
    torch.testing.assert_close(restored, expected * gain)


def test_halves_are_of_neighbours_and_hold_an_image_with_its_copies():
    images = torch.arange(15.0).reshape(15, 1, 1, 1).expand(-1, 3, 8, 8)
    data = TrainingSet(images, lambda items, _: iter(items), varied=2)  # 5 images, 10 copies
    first, second = data.halves(lambda x: x[:, 0, 0], "")
    assert first.unique().tolist() == [pytest.approx(np.mean([0, 1, 5, 6, 10, 11]))]
    assert second.unique().tolist() == [pytest.approx(np.mean([2, 3, 4, 7, 8, 9, 12, 13, 14]))]
    assert data.mean(lambda x: x[:, 0, 0], "").unique().tolist() == [7.0]
    one = TrainingSet(images[3:4], lambda items, _: iter(items))
    assert all(half.unique().tolist() == [3.0] for half in one.halves(lambda x: x[:, 0, 0], ""))
