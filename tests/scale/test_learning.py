"""Statistics of all images: sums and coresets of parts, merged."""

from __future__ import annotations

import numpy as np
import pytest
from small_backbone import CHANNELS, STRIDE, good, small_backbone

from edgead import Detector
from edgead.errors import InputError
from edgead.learning.coreset import PROJECTED, choose_coreset
from edgead.learning.engines import learning_engine
from edgead.learning.features import features_of
from edgead.learning.learn import LearnOptions, learnt_draft
from edgead.learning.progress import silent
from edgead.learning.statistics import PRIOR_IMAGES
from edgead.scale import learning
from edgead.scale.learning import Plan, Summing, Sums, learn_dataset
from edgead.tiling import Tiling

N, HELD = 90, 30
OPTIONS = LearnOptions(size=(64, 64), memory=64, placement="aligned", device="cpu", threads=1)


@pytest.fixture(scope="module")
def images():
    return good(N), good(20, 1000)


@pytest.fixture(scope="module")
def plan(images):
    draft = learnt_draft(*images, small_backbone(), "part.edgead", OPTIONS)
    return Plan(images[0], draft, OPTIONS)


@pytest.fixture(scope="module")
def features(plan):
    """Of every image, [N, C, h, w], rounded to float16 as what is learnt."""
    engine = learning_engine(plan.draft, "cpu", 1)
    seen = features_of(plan.images, plan.draft, engine, silent)
    side = 64 // STRIDE
    rounded = [x.T.reshape(CHANNELS, side, side).astype(np.float16) for x in seen]
    return np.stack(rounded).astype(np.float64)


def summed(plan: Plan, parts) -> list[Sums]:
    summing = Summing(plan, learning_engine(plan.draft, "cpu", 1))
    return [Sums.loads(summing.sums(first, end).dumps()) for first, end in parts]


def test_sums_are_those_of_all_images_in_float64(plan, features):
    """Against einsum over all features at once; the tolerance is that of N additions."""
    found = summed(plan, [(0, 64), (64, N)])
    (edges,) = [i for i, w in enumerate(plan.draft.manifest.whitenings) if w.centre is None]
    total = found[0].moments[edges] + found[1].moments[edges]
    assert total.images == N
    bound = N * np.finfo(np.float64).eps
    np.testing.assert_allclose(total.total, features.sum(0), rtol=bound * 10)
    side = plan.draft.manifest.whitenings[edges].side
    block = features[:, :, :side, :side].transpose(1, 0, 2, 3).reshape(CHANNELS, -1)
    expected, scale = block @ block.T, np.abs(block) @ np.abs(block).T
    assert (np.abs(total.products[0] - expected) <= bound * side**2 * scale).all()


def test_sums_do_not_depend_on_the_parts_beyond_float64(plan):
    whole = summed(plan, [(0, N)])[0]
    pieces = summed(plan, [(70, N), (0, 7), (7, 70)])  # in another order, too
    for index, one in enumerate(whole.moments):
        several = pieces[0].moments[index] + pieces[1].moments[index] + pieces[2].moments[index]
        assert several.images == one.images
        np.testing.assert_allclose(several.total, one.total, rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(several.products, one.products, rtol=1e-10, atol=1e-7)


def radius(points: np.ndarray, centres: np.ndarray, seed: int = 0) -> float:
    """The largest distance of a point to its nearest centre, in the coreset's directions."""
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((points.shape[1], PROJECTED)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    a, b = (x.astype(np.float64) @ directions for x in (points, centres))
    squared = ((a[:, None] - b[None]) ** 2).sum(2)
    return float(np.sqrt(squared.min(1).max()))


def test_a_coreset_of_coresets_covers_what_the_triangle_promises():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(1200, 8)).astype(np.float32) * rng.uniform(0.2, 3, (1200, 1))
    points = points.astype(np.float32)
    parts = [points[at : at + 300] for at in range(0, 1200, 300)]
    kept = [part[choose_coreset(part, 60)] for part in parts]
    first = max(radius(part, some) for part, some in zip(parts, kept, strict=True))
    union = np.concatenate(kept)
    final = union[choose_coreset(union, 60)]
    reached = radius(points, final)
    assert reached <= (first + radius(union, final)) * (1 + 1e-5)
    at_once = radius(points, points[choose_coreset(points, 60)])
    assert reached <= 2 * at_once  # here; the theory promises twice that
    assert radius(points, points[:60]) > reached  # any 60 would not do


def test_a_bundle_learns_from_more_images_than_are_held(images, features, tmp_path, monkeypatch):
    """The mean in the bundle is that of all images, drawn towards the whole as ``fit`` says."""
    monkeypatch.setattr("edgead.learning.learn.most_images", lambda *_: HELD)
    monkeypatch.setattr(learning, "PART", 25)
    bundle = learn_dataset(*images, small_backbone(), tmp_path / "all.edgead", OPTIONS)
    own = features.mean(0)
    whole = own.mean((1, 2), keepdims=True)
    expected = (N * own + PRIOR_IMAGES * whole) / (N + PRIOR_IMAGES)
    entry = next(w for w in bundle.manifest.whitenings if w.centre is None)
    found = bundle.read_array(entry.mean)
    # The file is float32.
    np.testing.assert_allclose(found, expected, rtol=2e-7, atol=1e-6)
    fewer = learnt_draft(*images, small_backbone(), tmp_path / "some.edgead", OPTIONS)
    assert np.abs(fewer.read_array(entry.mean) - expected).max() > 1e-3  # would be seen
    assert len(bundle.read_array("memory.npy")) == OPTIONS.memory
    with Detector(bundle, device="cpu") as detector:
        scratched = images[1][0].read().copy()
        scratched[30:34, 20:44] = 255
        assert detector.score(scratched).score > detector.score(images[1][0].read()).score


def test_the_bundle_is_the_same_each_time(images, tmp_path):
    made = [
        learn_dataset(*images, small_backbone(), tmp_path / f"{n}.edgead", OPTIONS) for n in "ab"
    ]
    # The card has the name and the date.
    digests = [{**one.manifest.files, "card.md": ""} for one in made]
    assert digests[0] == digests[1]


def test_statistics_of_tiles_are_refused(images, tmp_path):
    options = LearnOptions(size=(64, 64), tiling=Tiling((64, 64), 8))
    with pytest.raises(InputError, match="tiles"):
        learn_dataset(*images, small_backbone(), tmp_path / "x.edgead", options)
