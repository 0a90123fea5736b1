"""Varied copies of good images: each change by itself against what it is, and their place."""

from __future__ import annotations

import numpy as np
import pytest
from edgead_training.data import varied_frames
from edgead_training.data.dataset import make_sample
from edgead_training.data.varied_frames import vary
from edgead_training.methods import SSAE
from edgead_training.training_set import load_images

from edgead.errors import TrainingError
from edgead.preprocess import PreprocessParams

RANGES = ("EXPOSURE", "GAMMA", "SLOPE", "SHIFT", "TURN")


def _varied(frame: np.ndarray, name: str | None, count: int = 40) -> list[np.ndarray]:
    """Copies that vary in ``name`` alone."""
    with pytest.MonkeyPatch.context() as patch:
        for each in set(RANGES) - {name}:
            patch.setattr(varied_frames, each, 0.0)
        return [vary(frame, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
@pytest.mark.parametrize(("dtype", "depth"), [(np.uint8, None), (np.uint16, 12), (np.uint16, None)])
def test_without_a_change_it_is_the_frame_and_else_one_of_its_kind(shape, dtype, depth):
    full = {np.uint8: 255}.get(dtype, 2 ** (depth or 16) - 1)
    frame = np.random.default_rng(0).integers(0, full + 1, shape).astype(dtype)
    before = frame.copy()
    copies = [vary(frame, np.random.default_rng(seed), depth) for seed in (1, 1, 2)]
    assert all(copy.dtype == dtype and copy.shape == shape for copy in copies)
    assert max(copy.max() for copy in copies) <= full
    np.testing.assert_array_equal(copies[0], copies[1])
    assert (copies[0] != copies[2]).mean() > 0.5
    np.testing.assert_array_equal(frame, before)
    if depth is None:
        np.testing.assert_array_equal(_varied(frame, None, 1)[0], frame)


def test_light_alone_is_a_factor_a_power_or_a_slope():
    frame = np.full((40, 60), 128, np.uint8)
    seen = {name: _varied(frame, name) for name in ("EXPOSURE", "GAMMA", "SLOPE")}
    for name, low, high in (
        ("EXPOSURE", 128 * 0.9, 128 * 1.1),
        ("GAMMA", 255 * (128 / 255) ** 1.1, 255 * (128 / 255) ** 0.9),
    ):
        assert all(np.ptp(copy) == 0 for copy in seen[name])
        shades = [int(copy[0, 0]) for copy in seen[name]]
        assert low - 1 <= min(shades) < 124 and 132 < max(shades) <= high + 1
    for copy in seen["SLOPE"]:  # a plane, of which the mean stays
        assert abs(copy.mean() - 128) < 0.5 and np.ptp(copy) <= 128 * 0.08 * 2 * 2**0.5 + 1
        assert np.abs(np.diff(copy.astype(float), n=2, axis=1)).max() <= 1  # but for rounding
    assert max(np.ptp(copy) for copy in seen["SLOPE"]) > 10


def test_a_turn_keeps_the_distance_from_the_centre_and_a_shift_moves_all_alike():
    frame = np.zeros((101, 101), np.uint8)
    frame[50, 90] = frame[51, 90] = frame[50, 91] = frame[51, 91] = 255  # 40.5 right of the centre
    places = {}
    for name in ("TURN", "SHIFT"):
        copies = [copy.astype(float) for copy in _varied(frame, name)]
        grid = np.mgrid[0:101, 0:101]
        places[name] = np.array([(grid * c).sum((1, 2)) / c.sum() for c in copies]) - (50.5, 90.5)
    down, right = places["TURN"].T
    assert 0.7 < np.abs(down).max() <= 40 * np.radians(2) + 0.1
    assert np.abs(right).max() < 0.1  # 40 (1 - cos 2 degrees) is 0.02
    assert 1 < np.abs(places["SHIFT"]).max() <= 101 * 0.015 + 0.05


def test_copies_come_after_the_images_themselves(parts, tmp_path):
    samples = [make_sample(parts, path) for path in sorted(parts.iterdir())[:5]]
    tiles = [[(slice(None), slice(None)), (slice(0, 40), slice(0, 72))] for _ in samples]

    def load(varied: int, seed: int) -> np.ndarray:
        params = PreprocessParams((64, 64), (0, 0, 0), (1, 1, 1))
        return load_images(
            samples, tiles, params, tmp_path, lambda items, _: iter(items), True, varied, seed
        ).numpy()

    plain, varied = load(0, 3), load(2, 3)
    assert len(plain) == 10 and len(varied) == 30
    np.testing.assert_array_equal(varied[:10], plain)
    np.testing.assert_array_equal(varied, load(2, 3))
    assert not np.array_equal(varied[10:], load(2, 4)[10:])
    for copy in (varied[10:20], varied[20:]):
        gaps = np.abs(copy[:, None] - plain[None]).mean((2, 3, 4))
        assert 0.001 < gaps.diagonal().min() < gaps.diagonal().max() < 0.1
        assert (gaps.argmin(1) % 2 == np.arange(10) % 2).all()  # the tile that it is a copy of
    assert np.abs(varied[10:20] - varied[20:]).mean() > 0.001


@pytest.mark.parametrize("given", [-1, 65, 0.5, True])
def test_a_number_of_copies_that_cannot_be_gets_a_sentence(given):
    with pytest.raises(TrainingError, match=f"varied={given}"):
        SSAE.from_settings({"varied": given}, n_train=3)
