"""What the manifest says of a memory: read strictly, and its distances in the units of the map."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import reference
from edgead.anomaly_map import AnomalyMap
from edgead.bundle.entries import Memory, Whitening
from edgead.bundle.json_reader import as_json
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Draft, npy
from edgead.engine.signals import Signals, open_signals, read_memories, read_whitenings
from edgead.errors import BundleError, DeviceError
from edgead.nearest import Blend

ENTRY = Memory("seen", 6, (4, 5), "memory.npy", "places.npy", neighbours=3, weight=0.5)
BLENDED = replace(ENTRY, temperature=0.3)


@pytest.fixture
def remembering(tiny: Any) -> Callable[..., Manifest]:
    """The tiny manifest with a memory in place of its pairs."""

    def make(entry: Memory, distance: str = "l2") -> Manifest:
        params = replace(tiny.manifest.map, distance=distance, weights=(entry.weight,))
        given = {"pairs": (), "memories": (entry,), "map": params, "schema_version": 2}
        return replace(tiny.manifest, **given)

    return make


@pytest.mark.parametrize("entry", [ENTRY, BLENDED], ids=["mean", "blend"])
def test_it_survives_the_way_to_json_and_back(entry: Memory, remembering: Any) -> None:
    manifest = remembering(entry)
    assert Manifest.loads(manifest.dumps()) == manifest
    (stored,) = manifest.to_json()["memories"]
    assert ("temperature" in stored) == (entry.temperature is not None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"neighbours": 0}, "expected 1 to 8 neighbours"),
        ({"neighbours": 9}, "expected 1 to 8 neighbours"),
        ({"neighbours": 8, "temperature": 0.1}, "one less with a temperature"),
        ({"temperature": 0.0}, "memories.temperature: expected a number above 0"),
        ({"temperature": -1.0}, "memories.temperature: expected a number above 0"),
        ({"temperature": 1e30}, "memories.temperature: expected a number above 0"),
    ],
)
def test_what_no_search_can_do_is_refused(changes: Any, sentence: str, remembering: Any) -> None:
    with pytest.raises(BundleError, match=sentence):
        remembering(replace(ENTRY, **changes))


def test_a_cosine_of_distances_means_nothing(remembering: Any) -> None:
    with pytest.raises(BundleError, match=r"map.distance: expected l1 or l2 with a memory"):
        remembering(ENTRY, "cosine")


@pytest.mark.parametrize("distance", ["cosine", "l1", "l2"])
@pytest.mark.parametrize("sums", [("map",), ("score",), ("map", "score")], ids=" and ".join)
def test_a_whitening_gives_squares_which_only_l1_leaves_alone(
    sums: tuple[str, ...], distance: str, remembering: Any
) -> None:
    """Of an l2 map a memory gives the root; a whitening does not, and would be squared."""
    manifest = remembering(replace(ENTRY, scored="scored.npy"), "l1")
    counts = {"places": "places.npy"} if "map" in sums else {}
    counts |= {"scored": "scored.npy"} if "score" in sums else {}
    one = Whitening("seen", 6, (4, 5), 0, 6, "mean.npy", "factors.npy", 2, **counts)
    weights = (*manifest.map.weights, *(1.0 for name in counts if name == "places"))
    params = replace(manifest.map, distance=distance, weights=weights)
    found = manifest.to_json()
    found |= {"map": {**found["map"], "distance": distance}}
    found["whitenings"] = [{k: v for k, v in as_json(one).items() if v is not None}]
    if distance == "l1":
        made = replace(manifest, whitenings=(one,), map=params)
        assert Manifest.from_json(found) == made
        return
    for make in (
        lambda: replace(manifest, whitenings=(one,), map=params),
        lambda: Manifest.from_json(found),
    ):
        with pytest.raises(BundleError, match=r"^manifest: map.distance: expected l1 "):
            make()


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("entry", [ENTRY, BLENDED], ids=["mean", "blend"])
def test_the_map_is_of_the_mean_over_channels_times_the_place(
    entry: Memory, distance: str, remembering: Any
) -> None:
    """At both distances: l2 squares, and is given the root."""
    rng = np.random.default_rng(3)
    kept = rng.standard_normal((40, 6)).astype(np.float16)
    places = rng.uniform(0, 2, (4, 5)).astype(np.float32)
    features = rng.standard_normal((1, 6, 4, 5)).astype(np.float32)
    manifest = remembering(entry, distance)
    params = replace(manifest.map, size=(4, 5), blur_sigma=0.0)
    files = {entry.file: npy(kept), entry.places: npy(places)}
    draft = Draft(Path("x.edgead"), manifest, "", files)
    signals = Signals(open_signals(draft))
    signals.run([features])
    (pair,) = signals.pairs
    (found,), _ = AnomalyMap(params, ((1, 4, 5),)).run([pair])
    sought = (1 / 3,) * 3 if entry.temperature is None else Blend(3, 0.3 * 6)
    squares = reference.nearest(features, kept.astype(np.float32), sought)[0]
    np.testing.assert_allclose(found, 0.5 * squares / 6 * places, rtol=1e-4)


def test_fewer_rows_than_neighbours_are_blended_and_have_no_mean(remembering: Any) -> None:
    files = {"memory.npy": npy(np.ones((2, 6), np.float32))}
    files["places.npy"] = npy(np.ones((4, 5), np.float32))
    open_signals(Draft(Path("x.edgead"), remembering(BLENDED), "", files))
    with pytest.raises(BundleError, match=r"expected at least 3 rows"):
        open_signals(Draft(Path("x.edgead"), remembering(ENTRY), "", files))


def drawn(seed: int, remembering: Any) -> tuple[Draft, dict[str, np.ndarray]]:
    """A bundle of a memory and whitenings, each of what it may leave out left out at random."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((2, 2, 3), (9, 9, 20)))
    arrays: dict[str, np.ndarray] = {"memory.npy": rng.standard_normal((30, channels))}
    arrays |= {name: rng.uniform(0, 2, (height, width)) for name in ("places.npy", "a", "b", "c")}
    maybe = {name: name if rng.random() < 0.5 else None for name in ("a", "b", "c", "centre")}
    size, temperature = (height, width), 0.3 if seed % 2 else None
    memory = replace(
        ENTRY, channels=channels, size=size, temperature=temperature, shares=maybe["a"],
        scored="places.npy",
    )  # fmt: skip
    first, side = int(rng.integers(channels)), int(rng.integers(1, 5))
    count = int(rng.integers(1, channels - first + 1))
    regions = -(-height // side) * -(-width // side)
    arrays["mean"] = rng.standard_normal((count, height, width))
    arrays["factors"] = rng.standard_normal((regions, count, count))
    arrays["centre"] = rng.standard_normal(count)
    whitening = Whitening(
        "seen", channels, size, first, count, "mean", "factors", side, centre=maybe["centre"],
        places=maybe["b"], scored=maybe["c"] if maybe["b"] else "c",
    )  # fmt: skip
    manifest = remembering(memory, "l1")
    weights = (*manifest.map.weights, *(1.0 for one in [whitening] if one.places))
    params = replace(manifest.map, weights=weights)
    manifest = replace(manifest, whitenings=(whitening,), map=params)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    files = {name: npy(array) for name, array in arrays.items()}
    return Draft(Path("x.edgead"), manifest, "", files), arrays


@pytest.mark.parametrize("own_levels", [None, (1e-3, 1e-2), (0.2, 30.0), (20.0, 30.0)])
@pytest.mark.parametrize("seed", range(12))
def test_distances_and_their_sum_are_those_of_float64(
    seed: int, own_levels: tuple[float, float] | None, remembering: Any
) -> None:
    """Frames as they are; above all good ones, between them, and below."""
    draft, arrays = drawn(seed, remembering)
    draft = replace(draft, manifest=replace(draft.manifest, own_levels=own_levels))
    (memory,), (whitening,) = draft.manifest.memories, draft.manifest.whitenings
    rng = np.random.default_rng(seed + 100)
    features = rng.standard_normal((1, memory.channels, *memory.size)).astype(np.float32)
    signals = Signals(open_signals(draft))
    signals.run([features, features[::-1].copy()])
    sought = (1 / 3,) * 3 if memory.temperature is None else Blend(3, 0.3 * memory.channels)
    shared = features * arrays[memory.shares] if memory.shares else features
    far = [reference.nearest(shared, arrays["memory.npy"], sought)[0] / memory.channels]
    seen = features[:, whitening.first : whitening.first + whitening.count]
    if whitening.centre:
        seen = seen.astype(np.float64) - arrays["centre"][:, None, None]
    learnt = arrays["mean"], arrays["factors"], whitening.side
    far.append(reference.whiten(seen, *learnt, channel_normal=bool(whitening.centre))[0])
    shown, scored = (
        [None if name is None else arrays[name] for name in names]
        for names in ((memory.places, whitening.places), (memory.scored, whitening.scored))
    )
    counted, total = reference.signals(far, shown, scored, own_levels)
    assert len(signals.pairs) == len(counted) == len(draft.manifest.map.weights)
    for (found, zeros), expected in zip(signals.pairs, counted, strict=True):
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-6)
        assert not zeros.any()
    assert signals.scored is not None
    np.testing.assert_allclose(signals.scored[0][0, 0], total, rtol=1e-4, atol=1e-6)
    before = signals.scored[0].copy()
    signals.run([features, features])
    np.testing.assert_array_equal(signals.scored[0], before)  # the sum begins anew


def test_a_quiet_frame_is_raised_by_what_its_roots_lack(remembering: Any) -> None:
    """By hand: one signal, distances 1 and 9, so the level is 2; good frames had 1 to 8."""
    entry = replace(ENTRY, channels=1, size=(1, 2), neighbours=1, weight=1.0)
    files = {"memory.npy": npy(np.zeros((1, 1), np.float32))}
    files["places.npy"] = npy(np.ones((1, 2), np.float32))
    features = np.array([1, 3], np.float32).reshape(1, 1, 1, 2)
    manifest = replace(remembering(entry, "l1"), own_levels=(1.0, 8.0))
    signals = Signals(open_signals(Draft(Path("x.edgead"), manifest, "", files)))
    for scale, expected in ((1, (4, 36)), (2, (8, 72)), (4, (16, 144)), (8, (64, 576)),
                            (0.25, (0.5, 4.5))):  # fmt: skip
        signals.run([np.float32(scale) * features])
        np.testing.assert_allclose(signals.pairs[0][0].ravel(), expected, rtol=1e-6)
    features[0, 0, 0, 0] = np.nan
    signals.run([features])
    np.testing.assert_array_equal(signals.pairs[0][0].ravel(), (np.nan, 9))


@pytest.mark.parametrize("own_levels", [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (1e-30, 1.0),
                                        (1.0, 1e30), (1.0,)])  # fmt: skip
def test_levels_that_no_good_frames_have_are_refused(own_levels: Any, remembering: Any) -> None:
    with pytest.raises(BundleError, match=r"manifest.own_levels: expected two numbers in rising"):
        replace(remembering(ENTRY, "l1"), own_levels=own_levels).core  # noqa: B018


def test_levels_need_distances_of_one_size_as_they_are(tiny: Any, remembering: Any) -> None:
    with pytest.raises(BundleError, match="own_levels: expected with the distance l1"):
        replace(remembering(ENTRY, "l2"), own_levels=(1.0, 2.0))
    with pytest.raises(BundleError, match="own_levels: expected with memories or whitenings"):
        replace(tiny.manifest, own_levels=(1.0, 2.0))
    other = replace(ENTRY, features="other", size=(2, 2))
    manifest = remembering(ENTRY, "l1")
    params = replace(manifest.map, weights=(ENTRY.weight, ENTRY.weight))
    with pytest.raises(BundleError, match="distances in the map have one size"):
        replace(manifest, memories=(ENTRY, other), map=params, own_levels=(1.0, 2.0))


def test_what_is_read_is_what_the_files_hold(remembering: Any) -> None:
    draft, arrays = drawn(1, remembering)
    (memory,), (whitening,) = read_memories(draft), read_whitenings(draft)
    np.testing.assert_array_equal(memory.rows, arrays["memory.npy"])
    channels = np.float32(draft.manifest.memories[0].channels)
    np.testing.assert_array_equal(memory.counts, arrays["places.npy"] / channels)
    for name in ("mean", "factors"):
        np.testing.assert_array_equal(getattr(whitening, name), arrays[name])
    with pytest.raises(ValueError, match="read-only"):
        memory.rows[0] = 1


def test_features_of_another_size_are_refused(remembering: Any) -> None:
    draft, _ = drawn(0, remembering)
    signals = Signals(open_signals(draft))
    for features in ([], [np.zeros((1, 2, 2, 2), np.float32)] * 2):
        with pytest.raises(ValueError, match="expected"):
            signals.run(features)


def test_what_a_file_raises_comes_through(remembering: Any) -> None:
    draft, _ = drawn(0, remembering)
    files = {name: data for name, data in draft.files.items() if name != "mean"}
    with pytest.raises(KeyError, match="mean"):
        open_signals(replace(draft, files=files))


@pytest.mark.parametrize(("free", "fits"), [(0, 0), (-5, 0), (24 * 6 * 29, 29)])
def test_a_memory_without_room_says_how_much_there_is(
    free: int, fits: int, remembering: Any
) -> None:
    files = {"memory.npy": npy(np.ones((30, 6), np.float32))}
    files["places.npy"] = npy(np.ones((4, 5), np.float32))
    draft = Draft(Path("x.edgead"), remembering(ENTRY), "", files)
    with pytest.raises(DeviceError, match=f"at most {fits} features fit: learn with --memory"):
        open_signals(draft, lambda: free)
    open_signals(draft, lambda: 24 * 6 * 30)


def test_a_manifest_is_copied_without_what_it_keeps_in_the_core(remembering: Any) -> None:
    manifest = remembering(ENTRY)
    found = copy.deepcopy(manifest)
    assert found == manifest and found.shapes() == manifest.shapes() == ((1, 4, 5),)
