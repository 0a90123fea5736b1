"""C refuses the manifests that Python refuses, in its words: one thing in it changed at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beside_python import said_by_python  # type: ignore[import-not-found]

from edgead import Detector
from edgead.errors import EdgeadError

WRONG: tuple[Any, ...] = (None, True, -1, 0, 1.5, 1e300, "", "x'y", [], [1], {}, {"a": 1}, 40000)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a manifest; of a long list the first."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value[:1])
    for key, item in items:
        yield from places(item, (*path, key))


def mutations(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A manifest with one thing in it missing, added, or another kind of value."""
    for path in places(manifest):
        if path[:1] == ("provenance",) and len(path) > 1:
            continue
        for value in ("missing", "added", *WRONG):
            changed = copy.deepcopy(manifest)
            parent: Any = changed
            for key in path[:-1]:
                parent = parent[key]
            if value == "missing" and path:
                del parent[path[-1]]
            elif value == "added":
                target = parent[path[-1]] if path else parent
                if not isinstance(target, dict):
                    continue
                target["zz"] = 1
            elif path and value != "missing":
                parent[path[-1]] = value
            else:
                continue
            yield f"{'.'.join(map(str, path))} = {value!r}", changed


def full(manifest: dict[str, Any]) -> dict[str, Any]:
    """With every entry that a manifest may have."""
    ties = {"score": 1e-4, "map": 1e-4}
    scores, peaks = manifest["calibration"]["scores"], manifest["calibration"]["peaks"]
    manifest["calibration"]["ties"] = ties
    manifest["calibration"]["own"] = {"float32": {"scores": scores, "peaks": peaks, "ties": ties}}
    manifest["ignore"] = {"frame_size": [70, 90], "polygons": [[[0, 0], [40.5, 0], [0, 40]]]}
    manifest["tiling"] = {"size": [64, 64], "overlap": 8}
    manifest["input"]["bit_depth"] = 12
    manifest["health"] = {
        **{"reference": "golden/0.png", "images": 3, "brightness": 0.1},
        **{"saturated": 0.1, "sharpness": 0.1, "shift": 0.1},
    }
    manifest["schema_version"] = 2
    image, array = "golden/0.png", "golden/0.npy"
    about = {"features": "features", "channels": 6, "size": [16, 12]}
    manifest["memories"] = [
        {**about, "file": array, "places": array, "neighbours": 7, "weight": 0.5},
        {**about, "file": array, "places": array, "neighbours": 8, "weight": 0.0},
    ]
    manifest["memories"][0] |= {"temperature": 0.5, "shares": array, "scored": image}
    manifest["whitenings"] = [
        {**about, "first": 2, "count": 4, "mean": array, "factors": array, "side": 3},
    ]
    manifest["whitenings"][0] |= {"centre": array, "places": array, "scored": array}
    manifest["map"]["distance"] = "l1"
    manifest["golden"][0]["scored"] = array
    return manifest


def compare(
    library: Any, refused: type[Exception], path: Path, step: int, start: int = 0
) -> tuple[int, int]:
    """Every ``step``-th mutation of a manifest; (how many, how many of them both refuse)."""
    original = full(json.loads((path / "manifest.json").read_text()))
    seen = agreed = 0
    for name, changed in list(mutations(original))[start::step]:
        (path / "manifest.json").write_text(json.dumps(changed))
        expected = said_by_python(path)
        seen += 1
        with pytest.raises(refused) as caught:
            library.open(path)  # what is whole is refused too, for its graph
        if caught.value.status in ("UNSUPPORTED", "CALIBRATION"):
            assert expected in (None, str(caught.value)), name
            continue
        if expected is None:  # found when the golden frames are scored
            with pytest.raises(EdgeadError) as later:
                Detector(path, device="cpu", threads=1)
            expected = str(later.value)
        assert str(caught.value) == expected, name
        agreed += 1
    return seen, agreed


def test_manifests_are_refused_in_pythons_words(
    library: Any, refused: type[Exception], bundle_copy: Path
) -> None:
    seen, agreed = compare(library, refused, bundle_copy, 5)
    assert seen >= 300 and agreed >= 250


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_whitenings_want_a_map_of_squares(
    library: Any, refused: type[Exception], bundle_copy: Path, distance: str
) -> None:
    manifest = full(json.loads((bundle_copy / "manifest.json").read_text()))
    manifest["map"]["distance"] = distance
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    expected = said_by_python(bundle_copy)
    assert expected is not None and "map.distance: expected l1 " in expected
    with pytest.raises(refused) as caught:
        library.open(bundle_copy)
    assert str(caught.value) == expected


@pytest.mark.exhaustive
@pytest.mark.parametrize("start", range(1, 5))
def test_all_manifests(
    library: Any, refused: type[Exception], bundle_copy: Path, start: int
) -> None:
    compare(library, refused, bundle_copy, 5, start)
