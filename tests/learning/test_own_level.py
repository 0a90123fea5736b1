"""Frames are raised between the own levels of the good images that calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from good_parts import part, scratched  # type: ignore[import-not-found]
from learnt_truth import features_of, truth  # type: ignore[import-not-found]

import edgead
from edgead.bundle.storage import Bundle
from edgead.calibration import threshold
from edgead.learning.backbone import read_backbone
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions, learn
from edgead.learning.own_level import as_new
from edgead.tiling import Tiling

SEEDS = range(18, 24)


def lit(seed: int, light: float) -> np.ndarray:
    """A good part in another light."""
    return np.clip(part(seed) * light, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made(backbone_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function of images to calibrate with, and options."""

    def make(calibration: Sequence[GoodImage], **options: Any) -> Bundle:
        images = [GoodImage(f"{seed}", lambda seed=seed: part(seed)) for seed in range(18)]
        out = tmp_path_factory.mktemp("own") / "part.edgead"
        chosen = LearnOptions(size=(64, 64), memory=200, **options)
        return learn(images, calibration, read_backbone(backbone_file), out, chosen)

    return make


def images(*parts: str) -> list[GoodImage]:
    """Six good images, the last one in another light; ``parts``: what each shows."""
    shown = parts or ("",) * len(SEEDS)
    return [
        GoodImage(f"{seed}", lambda s=seed: lit(s, 1.3 if s == SEEDS[-1] else 1), name)
        for seed, name in zip(SEEDS, shown, strict=True)
    ]


@pytest.fixture(scope="module")
def whole(made: Any) -> Bundle:
    return made(images(), placement="loose")


def level_of(bundle: Bundle, frame: np.ndarray) -> float:
    """In float64: the root of what a memory that is not quieted tells of each position."""
    manifest = bundle.manifest
    (memory,) = manifest.memories
    shares, places = (
        bundle.read_array(name).astype(float) for name in (memory.shares, memory.places)
    )
    rows = bundle.read_array(memory.file).astype(float)
    features = (features_of(bundle, frame)[0] * shares).reshape(memory.channels, -1).T
    far = ((features[:, None] - rows[None]) ** 2).mean(2).min(1).reshape(memory.size)
    return float(np.sqrt(far * places).mean())


def test_the_levels_are_those_of_the_images_that_calibrate(whole: Bundle) -> None:
    assert whole.manifest.own_levels is not None and not whole.manifest.whitenings
    levels = [level_of(whole, image.read()) for image in images()]
    assert np.argmax(levels) == len(SEEDS) - 1
    assert whole.manifest.own_levels == pytest.approx((min(levels), max(levels)), rel=1e-3)


def test_the_loudest_of_them_calibrates_as_a_new_part_would(whole: Bundle) -> None:
    """Raised to the level of the others alone: its stored score is above what a detector says."""
    levels = np.sort([level_of(whole, image.read()) for image in images()])
    with edgead.Detector(whole, device="cpu") as detector:
        found = [detector.score(image.read()).score for image in images()]
    ratios = np.array(whole.manifest.calibration.scores) / found
    assert ratios[:-1] == pytest.approx(1, rel=1e-6)
    assert ratios[-1] == pytest.approx(levels[-1] / levels[-2], rel=1e-3)


def test_quiet_and_loud_frames_follow_float64(whole: Bundle) -> None:
    lowest, highest = whole.manifest.own_levels or (0, 0)
    frames = [part(3), scratched(31), lit(40, 1.15), lit(41, 1.6), np.zeros((80, 96, 3), np.uint8)]
    levels = [level_of(whole, frame) for frame in frames]
    assert min(levels) < lowest and max(levels) > highest  # all three cases are there
    assert any(lowest < level < highest for level in levels)
    with edgead.Detector(whole, device="cpu") as detector:
        for frame in frames:
            found, (expected, score) = detector.score(frame), truth(whole, frame)
            np.testing.assert_allclose(found.map, expected, rtol=0, atol=1e-3 * expected.max())
            assert found.score == pytest.approx(score, rel=1e-3)


def test_of_one_part_or_in_tiles_nothing_is_raised(made: Any) -> None:
    one = made(images(*["a"] * 6), false_reject_rate=0.5)
    tiled = made(images(), tiling=Tiling((48, 48), 8))
    assert one.manifest.own_levels is None and tiled.manifest.own_levels is None


def test_without_its_part_the_loudest_is_above_the_others() -> None:
    levels = np.array([1.0, 4.0, 3.0, 2.0, 2.5])
    np.testing.assert_allclose(as_new(levels, range(5)), [1, 4 / 3, 1, 1, 1])
    np.testing.assert_allclose(as_new(levels, [0, 1, 1, 2, 2]), [1, 4 / 2.5, 3 / 2.5, 1, 1])
    assert (as_new(np.ones(3), range(3)) == 1).all()


def rejected(raising: bool, draws: int = 20_000, count: int = 9) -> float:
    """How many of new good parts are rejected where 10 % are promised: peaks that go with a
    level, which is now and then far above the others."""
    rng, found = np.random.default_rng(1), 0
    levels = rng.pareto(1.5, (draws, count + 1)) + 1
    peaks = levels * rng.uniform(0.9, 1.1, levels.shape)
    for level, peak in zip(levels, peaks, strict=True):
        known, highest = level[:count], level[:count].max()
        scores = peak * highest / np.clip(level, known.min(), highest)
        shares = as_new(known, range(count)) if raising else np.ones(count)
        found += scores[count] > threshold((scores[:count] * shares).tolist(), 0.1)
    return found / draws


def test_the_promise_holds_for_parts_above_all_levels() -> None:
    three_errors = 3 * np.sqrt(0.1 * 0.9 / 20_000)
    assert rejected(True) <= 0.1 + three_errors
    assert rejected(False) > 0.1 + three_errors  # what the shares are for
