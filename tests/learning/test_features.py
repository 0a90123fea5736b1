"""Features that are held: no image is seen twice, and what is learnt is the same without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from good_parts import part  # type: ignore[import-not-found]

from edgead.learning.backbone import Backbone, read_backbone
from edgead.learning.cleaning import cross_fit
from edgead.learning.features import MOST_BYTES, Held
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions, learnt_draft

OPTIONS = LearnOptions(size=(64, 64), memory=150, placement="aligned")
ONE = 16 * 16 * 14 * 2  # bytes of an image's features: positions, channels, float16
LEARNT, CALIBRATION = range(18), range(18, 24)


@pytest.fixture(scope="module")
def backbone(backbone_file: Path) -> Backbone:
    return read_backbone(backbone_file)


def counted(seeds: range) -> tuple[list[GoodImage], Counter[int]]:
    """Good images, and how often each was read."""
    reads: Counter[int] = Counter()

    def read(seed: int) -> np.ndarray:
        reads[seed] += 1
        return part(seed)

    return [GoodImage(f"{seed}", lambda seed=seed: read(seed)) for seed in seeds], reads


def learnt(backbone: Backbone, held: Held | None) -> tuple[dict, list[float], Counter[int]]:
    """Files of a bundle, scores by other parts, and reads."""
    images, reads = counted(range(24))
    cross = cross_fit(images, [i.name for i in images], backbone, OPTIONS, held=held)
    split = images[: len(LEARNT)], images[len(LEARNT) :]
    draft = learnt_draft(*split, backbone, "x.edgead", OPTIONS, held=held)
    assert cross is not None
    return dict(draft.files), cross.scores.tolist(), reads


def test_an_image_is_read_once_to_be_compared_and_learnt(backbone) -> None:
    _, _, reads = learnt(backbone, Held())
    assert {reads[seed] for seed in LEARNT} == {1}
    _, _, reads = learnt(backbone, None)
    assert {reads[seed] for seed in LEARNT} == {3}


@pytest.mark.parametrize("room", [0, ONE - 1, 5 * ONE, MOST_BYTES])
def test_what_is_learnt_does_not_depend_on_the_room(backbone, room) -> None:
    files, scores, reads = learnt(backbone, Held(room))
    expected, close, _ = learnt(backbone, None)
    assert files == expected
    np.testing.assert_allclose(scores, close, rtol=2e-2)  # features in float16 beside float32
    assert sum(reads[seed] == 1 for seed in LEARNT) == min(room // ONE, len(LEARNT))
    if room:
        assert scores == learnt(backbone, Held(0))[1]
