"""The manifest survives the way to JSON and back, and refuses anything else by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cases
import pytest

from edgead.bundle.manifest import SCHEMA_VERSION, Manifest
from edgead.errors import BundleError


def test_round_trip(tiny: Any) -> None:
    manifest = replace(tiny.manifest, files={"model.onnx": "0" * 64})
    assert Manifest.loads(manifest.dumps()) == manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.loads(manifest.dumps()).dumps() == manifest.dumps()


def test_shapes_and_params(tiny: Any) -> None:
    assert tiny.manifest.shapes() == ((8, 32, 24), (12, 16, 12))
    assert tiny.manifest.map_params().weights == (1.0, 0.5)
    assert tiny.manifest.preprocess_params().size == (64, 48)


def test_newer_schema_comes_first(tiny: Any) -> None:
    value = {"schema_version": SCHEMA_VERSION + 1, "something": "new"}
    with pytest.raises(BundleError, match=r"schema version 3.*upgrade edgead"):
        Manifest.from_json(value)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys of a manifest that its reader knows."""
    if path[:1] in (("provenance",), ("files",)) and len(path) > 0:
        return []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in items:
        found.append((*path, key))
        if isinstance(item, dict) or (
            isinstance(item, list) and item and isinstance(item[0], dict)
        ):
            found += _paths(item, (*path, key))
    return found


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_every_key_is_needed_and_typed(tiny: Any) -> None:
    whole = tiny.manifest.to_json()
    keys = [path for path in _paths(whole) if isinstance(path[-1], str)]
    assert len(keys) > 40
    for path in keys:
        broken = copy.deepcopy(whole)
        del _at(broken, path[:-1])[path[-1]]
        if path == ("tolerance", "float32") or path == ("models", "float32"):
            match = "float32|tolerance"
        else:
            match = f"{path[-1]!r} is missing"
        with pytest.raises(BundleError, match=match):
            Manifest.from_json(broken)
        broken = copy.deepcopy(whole)
        _at(broken, path[:-1])[path[-1]] = None
        with pytest.raises(BundleError, match=str(path[-1]) if path[0] != "models" else "models"):
            Manifest.from_json(broken)


@pytest.mark.parametrize("where", [(), ("input",), ("map",), ("pairs", 0), ("golden", 0)])
def test_unknown_keys(tiny: Any, where: tuple[Any, ...]) -> None:
    value = copy.deepcopy(tiny.manifest.to_json())
    _at(value, where)["gamma"] = 1
    with pytest.raises(BundleError, match="unknown key 'gamma'"):
        Manifest.from_json(value)


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *where, key, item = path

    def change(value: dict[str, Any]) -> None:
        _at(value, tuple(where))[key] = item

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_set("pairs", []), "pairs"),
        (_set("pairs", 0, "restored", "reference_0"), "named twice"),
        (_set("pairs", 0, "channels", 0), "positive"),
        (_set("pairs", 0, "channels", True), "whole number"),
        (_set("pairs", 0, "weight", float("inf")), "JSON"),
        (_set("input", "size", [64]), "height, width"),
        (_set("input", "size", [0, 48]), "positive"),
        (_set("input", "mean", [0.5, 0.5]), "three"),
        (_set("input", "std", [0.0, 1.0, 1.0]), "std"),
        (_set("map", "distance", "euclid"), "distance"),
        (_set("map", "pooling", "min"), "pooling"),
        (_set("map", "fusion", "mean"), "fusion"),
        (_set("map", "blur_sigma", -1.0), "blur_sigma"),
        (_set("map", "align_corners", 1), "true or false"),
        (_set("models", {"float32": "model.onnx", "int4": "x"}), "models"),
        (_set("calibration", "scores", []), "scores"),
        (_set("calibration", "peaks", [1.0]), "differ in number"),
        (_set("calibration", "scores", ["1.0"]), "finite numbers"),
        (_set("calibration", "false_reject_rate", 1.0), "between 0 and 1"),
        (_set("tolerance", "float32", "score", -1e-3), "negative"),
        (_set("tolerance", {}), "tolerance"),
        (_set("golden", []), "golden"),
        (_set("files", {"a": "short"}), "SHA-256"),
        (_set("schema_version", "1"), "whole number"),
        (_set("schema_version", 0), "schema_version is 0.*count from 1"),
        (_set("schema_version", -1), "schema_version is -1"),
        (_set("name", ""), "name"),
    ],
)
def test_wrong_values(tiny: Any, change: Callable[[Any], None], match: str) -> None:
    value = copy.deepcopy(tiny.manifest.to_json())
    change(value)
    with pytest.raises(BundleError, match=match):
        Manifest.from_json(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"schema_version": 1',
        b'{"schema_version": 1, "schema_version": 1}',
        b'{"schema_version": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_damaged_json(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"damaged|expected an object"):
        Manifest.loads(data)


def test_manifests_of_the_corpus() -> None:
    for manifest, says in cases.manifests():
        text = json.dumps(manifest).encode()
        if says is None:
            assert Manifest.loads(text).dumps()
            continue
        with pytest.raises(BundleError) as caught:
            Manifest.loads(text)
        assert str(caught.value) == says


def test_values_are_checked_without_json_too(tiny: Any) -> None:
    """A manifest that is made in Python meets the same rules."""
    held = tiny.manifest.calibration
    for change, match in (
        ({"models": {}}, '"float32" is missing'),
        ({"golden": ()}, "golden: no golden frame"),
        ({"calibration": replace(held, false_reject_rate=1.5)}, "false_reject_rate"),
        ({"calibration": replace(held, peaks=held.peaks[:-1])}, "differ in number"),
        ({"calibration": replace(held, scores=(float("nan"),) * 3)}, "JSON"),
        ({"tolerance": {}}, "one per model"),
        ({"name": ""}, "name"),
        ({"files": {"a": "short"}}, "SHA-256"),
    ):
        with pytest.raises(BundleError, match=match):
            replace(tiny.manifest, **change)


def test_weights_must_agree(tiny: Any) -> None:
    with pytest.raises(BundleError, match="weights"):
        replace(tiny.manifest, map=replace(tiny.manifest.map, weights=(1.0, 1.0)))


def test_provenance_that_is_not_json(tiny: Any) -> None:
    with pytest.raises(BundleError, match="JSON"):
        replace(tiny.manifest, provenance={"path": object()}).dumps()
    with pytest.raises(BundleError, match="JSON"):
        replace(tiny.manifest, provenance={"loss": float("nan")}).dumps()


def test_version_is_written(tiny: Any) -> None:
    import edgead

    assert json.loads(tiny.manifest.dumps())["edgead_version"] == edgead.__version__


def test_a_name_that_is_not_utf8_is_read_back_exactly(tiny):
    from dataclasses import replace

    name = "caf\udce9 №\udcff"
    data = replace(tiny.manifest, name=name).dumps()
    assert data.decode("utf-8")
    assert Manifest.loads(data).name == name
