"""How the part lies: statistics by hand, what is found, both sums in float64, refusals."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from good_parts import part, scratched  # type: ignore[import-not-found]
from learnt_truth import array_in, truth  # type: ignore[import-not-found]

import edgead
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, npy, write_bundle
from edgead.editing.masking import masked
from edgead.engine.whiten import Whiten
from edgead.errors import BundleError, InputError, QualificationError
from edgead.learning.backbone import read_backbone
from edgead.learning.learn import LearnOptions, learn
from edgead.learning.placement import FILLING, LOOSE, PLACEMENTS, UNKNOWN, study
from edgead.learning.signals import background_share, border_share
from edgead.learning.statistics import FLOOR, PRIOR_IMAGES, Moments, fit, log_likelihood


@pytest.fixture(scope="module")
def learnt_as(images, backbone_file, tmp_path_factory) -> dict[str, Bundle]:
    """A bundle for each way in which a part can lie."""
    folder, backbone = tmp_path_factory.mktemp("lies"), read_backbone(backbone_file)
    return {
        placement: learn(images[:18], images[18:], backbone, folder / f"{placement}.edgead",
                   LearnOptions(size=(64, 64), memory=200, placement=placement))
        for placement in PLACEMENTS
    }  # fmt: skip


def by_hand(features: np.ndarray, side: int, places: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mean, and each region's covariance after shrinking, written out in float64."""
    count, channels, height, width = features.shape
    share = count / (count + PRIOR_IMAGES)
    whole = features.mean(axis=(0, 2, 3))
    mean = np.empty((channels, height, width))
    for y in range(height):
        for x in range(width):
            own = features[:, :, y, x].mean(axis=0)
            mean[:, y, x] = share * own + (1 - share) * whole if places else whole
    rest, found, sizes = features - mean, [], []
    for y in range(0, height, side):
        for x in range(0, width, side):
            block = rest[:, :, y : y + side, x : x + side].transpose(1, 0, 2, 3)
            rows = block.reshape(channels, -1)
            found.append(rows @ rows.T / rows.shape[1])
            sizes.append(rows.shape[1])
    joint = sum(c * n for c, n in zip(found, sizes, strict=True)) / sum(sizes)
    deviation = features.std(axis=(0, 2, 3)) + 1e-6
    standard = joint / np.outer(deviation, deviation)
    floor = (FLOOR * np.trace(standard) / channels + 1e-6) * np.diag(deviation**2)
    own = found if places else [joint] * len(found)
    return mean, [share * c + (1 - share) * (joint + floor) for c in own]


@pytest.mark.parametrize("places", [True, False])
@pytest.mark.parametrize(("size", "side"), [((8, 8), 4), ((5, 7), 3), ((2, 9), 4), ((2, 2), 4)])
@pytest.mark.parametrize("count", [1, 6])
def test_mean_and_factors_are_those_written_out(places, size, side, count) -> None:
    rng = np.random.default_rng(5)
    mixing = rng.normal(0, 1, (4, 4)) * [[30], [1], [0.1], [2]]
    features = np.einsum("cd,ndhw->nchw", mixing, rng.normal(3, 1, (count, 4, *size)))
    moments = Moments.of(features.astype(np.float32), side)
    mean, factors = fit(moments, places)
    expected, covariances = by_hand(features, side, places)
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-4)
    for factor, covariance in zip(factors.astype(float), covariances, strict=True):
        assert not np.tril(factor, -1).any()
        np.testing.assert_allclose(factor @ covariance @ factor.T, np.eye(4), atol=5e-3)


def test_moments_add_up() -> None:
    features = np.random.default_rng(1).normal(size=(7, 3, 6, 5)).astype(np.float32)
    whole, parts = (
        Moments.of(features, 4),
        Moments.of(features[:3], 4) + Moments.of(features[3:], 4),
    )
    assert whole.images == parts.images == 7
    np.testing.assert_allclose(parts.total, whole.total, rtol=1e-6)
    np.testing.assert_allclose(parts.products, whole.products, rtol=1e-5, atol=1e-5)


def test_log_likelihood_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    features = rng.normal(size=(50, 3, 1, 1)) * np.array([1.0, 2.0, 5.0])[:, None, None]
    mean, factors = fit(Moments.of(features.astype(np.float32), 4))
    new = rng.normal(size=(9, 3, 1, 1)).astype(np.float32)
    found = log_likelihood(Whiten(mean, factors, 4).run(new), factors, 3)
    covariance = np.linalg.inv(factors[0].T.astype(float) @ factors[0])
    normal = stats.multivariate_normal(mean[:, 0, 0], covariance)
    expected = normal.logpdf(new[:, :, 0, 0]).mean() / 3 + 0.5 * np.log(2 * np.pi)
    assert found == pytest.approx(expected, rel=1e-4)


def scene(kind: str, count: int, seed: int = 0) -> np.ndarray:
    """Features [N, 8, 16, 16] of parts of a kind."""
    rng = np.random.default_rng(seed)
    if kind == FILLING:
        return rng.normal(size=(count, 8, 16, 16)).astype(np.float16)
    pattern = 2 * np.random.default_rng(9).normal(size=(8, 16, 16))
    found = 0.02 * rng.normal(size=(count, 8, 16, 16))
    for image in found:
        turned = pattern if kind == "aligned" else np.rot90(pattern, rng.integers(4), (1, 2))
        up, left = (0, 0) if kind == "aligned" else rng.integers(-8, 9, 2)
        moved = np.roll(turned, (up, left), (1, 2))
        image[:, 3:13, 3:13] += moved[:, 3:13, 3:13] + 0.3 * rng.normal(size=(8, 10, 10))
    return found.astype(np.float16)


@pytest.mark.parametrize("kind", PLACEMENTS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_placement_is_found(kind, seed) -> None:
    features = scene(kind, 40, seed)
    names = [str(i) for i in range(40)]
    shares = np.ones((16, 16), np.float32)
    placement = study(features, names, 8, 4, 0.5, shares=shares, seed=seed)
    assert placement.name == kind, (placement.border, placement.gain)
    assert (placement.edges is None) == (placement.inner is None) == (kind == LOOSE)
    for other in PLACEMENTS:
        told = study(features, names, 8, 4, 0.5, shares=shares, seed=seed, given=other)
        assert told.name == other and (told.edges is None) == (other == LOOSE)


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (2, 2), (5, 5), (15, 15), (20, 1), (20, 2)])
def test_few_images_or_parts(count, parts) -> None:
    features, names = scene(FILLING, count), [str(i % parts) for i in range(count)]
    placement = study(features, names, 8, 4, 0.5, shares=np.ones((16, 16), np.float32))
    assert placement.name == (UNKNOWN if parts == 1 else FILLING)
    assert (placement.edges is not None) == (count >= 16 and parts > 1)


def test_units_come_from_other_parts() -> None:
    """Two images of each part, alike: held out by image, all would be at distance 0."""
    once = scene(FILLING, 20)
    features, shares = np.concatenate([once, once]), np.ones((16, 16), np.float32)
    by_image = study(features, [str(i) for i in range(40)], 8, 4, 0.5, shares=shares)
    by_part = study(features, [str(i % 20) for i in range(40)], 8, 4, 0.5, shares=shares)
    alone = study(once, [str(i) for i in range(20)], 8, 4, 0.5, shares=shares)
    assert by_part.unit == pytest.approx(alone.unit, rel=0.05)
    assert by_image.unit != pytest.approx(alone.unit, rel=0.01)


def test_background_share_is_linear_interpolation_as_opencv_does_it() -> None:
    cv2 = pytest.importorskip("cv2")
    for size in ((32, 32), (16, 8), (8, 24)):
        coarse = border_share((size[0] // 2, size[1] // 2))
        expected = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(background_share(size, 2), expected, atol=1e-6)
    np.testing.assert_array_equal(background_share((5, 7), 1), border_share((5, 7)))


@pytest.mark.parametrize("make", [part, scratched])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_both_sums_are_those_of_float64(learnt_as, placement, make) -> None:
    bundle, frame = learnt_as[placement], make(77)
    assert len(bundle.manifest.whitenings) == (0 if placement == LOOSE else 2)
    expected, score = truth(bundle, frame)
    with edgead.Detector(bundle, device="cpu") as detector:
        result = detector.score(frame)
    np.testing.assert_allclose(result.map, expected, rtol=2e-3, atol=2e-4 * expected.max())
    assert result.score == pytest.approx(score, rel=2e-3)
    assert bundle.manifest.scored_size() is not None
    if placement == LOOSE:  # the map's sum less what it leaves out at the border
        assert result.score >= result.map.max() * (1 - 1e-5)
    else:
        assert abs(result.score - result.map.max()) > 1e-3 * score
    assert Manifest.loads(bundle.manifest.dumps()) == bundle.manifest


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_background_at_the_border_counts_less_in_the_map_than_in_the_score(
    learnt_as, placement
) -> None:
    bundle = learnt_as[placement]
    of_map, of_score = (array_in(bundle, name) for name in ("places.npy", "scored.npy"))
    share = background_share(of_map.shape, 2)
    assert share.min() < share.max() == 1
    if placement == FILLING:  # its border is part of it
        np.testing.assert_array_less(of_score, of_map * (1 + 1e-6))
    else:
        np.testing.assert_allclose(of_map, share * of_score, rtol=1e-6)
        assert np.ptp(of_score) == 0
    for name in ("edges/places.npy", "inner/places.npy") if placement != LOOSE else ():
        places = array_in(bundle, name)
        by = share if (name, placement) == ("edges/places.npy", "aligned") else 1
        np.testing.assert_allclose(places, by * places.max(), rtol=1e-6)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_ignore_mask_counts_in_both_sums(learnt_as, placement, tmp_path) -> None:
    bundle = learnt_as[placement]
    mask = IgnoreMask((80, 96), (((0.0, 0.0), (96.0, 0.0), (96.0, 30.0), (0.0, 30.0)),))
    draft = masked(bundle, mask, None)
    written = write_bundle(tmp_path / "masked.edgead", draft.manifest, draft.files)
    with edgead.Detector(written, device="cpu") as detector:  # its golden scores are reproduced
        assert detector.score(scratched(77)).score > 0


def changed(bundle: Bundle, name: str, change: Any, out: Any) -> Bundle:
    files = {n: bundle.read(n) for n in bundle.manifest.files}
    array = np.load(io.BytesIO(files[name]), allow_pickle=False)
    return write_bundle(out, bundle.manifest, files | {name: npy(change(array))})


FILES = (
    *("places.npy", "scored.npy", "edges/places.npy", "edges/mean.npy", "edges/factors.npy"),
    *("inner/places.npy", "inner/mean.npy", "inner/factors.npy", "inner/centre.npy"),
)


@pytest.mark.parametrize("name", FILES)
def test_a_planted_unit_mean_or_factor_is_found(learnt_as, name, tmp_path) -> None:
    """Golden frames tell: a unit that is off by a tenth, a mean or a factor of another part."""
    bad = changed(learnt_as[FILLING], name, lambda x: (1.1 * x).astype(np.float32),
                  tmp_path / "bad.edgead")  # fmt: skip
    with pytest.raises(QualificationError, match="does not reproduce"):
        edgead.Detector(bad, device="cpu")


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("edges/mean.npy", lambda x: x[:, :-1], "edges/mean.npy is .*expected"),
        ("edges/factors.npy", lambda x: x[1:], "edges/factors.npy is .*expected"),
        ("edges/factors.npy", lambda x: x * np.float32(np.nan), "finite"),
        ("inner/centre.npy", lambda x: x[:, None], "inner/centre.npy is .*expected"),
        ("inner/mean.npy", lambda x: x.astype(np.float64), "float32"),
        ("inner/places.npy", lambda x: -x, "not negative"),
        ("scored.npy", lambda x: x[:3], "scored.npy is .*expected"),
    ],
)
def test_files_that_do_not_fit_are_refused(learnt_as, name, change, sentence, tmp_path) -> None:
    bad = changed(learnt_as[FILLING], name, change, tmp_path / "bad.edgead")
    with pytest.raises(BundleError, match=sentence):
        edgead.Detector(bad, device="cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"first": -1}, "some of the channels"),
        ({"first": 9}, "some of the channels"),
        ({"count": 0}, "some of the channels"),
        ({"side": 0}, "side of at least 1"),
        ({"channels": 13}, "one size for each output"),
        ({"places": None}, "weights|count in the map or in the score"),
    ],
)
def test_entries_that_contradict_themselves(learnt_as, change, sentence) -> None:
    manifest = learnt_as[FILLING].manifest
    edges, inner = manifest.whitenings
    with pytest.raises(BundleError, match=sentence):
        replace(manifest, whitenings=(replace(edges, **change), inner))
    with pytest.raises(BundleError, match="schema version 2"):
        replace(manifest, schema_version=1)


def test_a_whitening_whose_file_is_missing(learnt_as, tmp_path) -> None:
    bundle = learnt_as[FILLING]
    files = {n: bundle.read(n) for n in bundle.manifest.files}
    for name in ("edges/mean.npy", "inner/centre.npy", "scored.npy", "golden/0.scored.npy"):
        less = {n: data for n, data in files.items() if n != name}
        with pytest.raises(BundleError, match=name):
            write_bundle(tmp_path / "less.edgead", bundle.manifest, less)


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match="aligned, loose, filling"):
        LearnOptions(placement="crooked")
