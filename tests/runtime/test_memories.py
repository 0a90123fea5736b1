"""What the manifest says of a memory: read strictly, and its distances in the units of the map."""

from __future__ import annotations

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
from edgead.engine.memories import MemoryDistances
from edgead.engine.open_signals import open_memories
from edgead.errors import BundleError
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
    (pair,) = MemoryDistances(open_memories(draft)).run([features])
    (found,), _ = AnomalyMap(params, ((1, 4, 5),)).run([pair])
    sought = (1 / 3,) * 3 if entry.temperature is None else Blend(3, 0.3 * 6)
    squares = reference.nearest(features, kept.astype(np.float32), sought)[0]
    np.testing.assert_allclose(found, 0.5 * squares / 6 * places, rtol=1e-4)


def test_fewer_rows_than_neighbours_are_blended_and_have_no_mean(remembering: Any) -> None:
    files = {"memory.npy": npy(np.ones((2, 6), np.float32))}
    files["places.npy"] = npy(np.ones((4, 5), np.float32))
    open_memories(Draft(Path("x.edgead"), remembering(BLENDED), "", files))
    with pytest.raises(BundleError, match=r"expected at least 3 rows"):
        open_memories(Draft(Path("x.edgead"), remembering(ENTRY), "", files))
