"""The harness of tests/gpu, which needs a GPU, on the simulation: that it carries arrays rightly.

The CPU twins stand in for the kernels here, so this says nothing of the kernels themselves.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation import Device

from edgead.anomaly_map import AnomalyMap, MapParams
from edgead.nvidia.memories import HeldMemory
from edgead.nvidia.whitenings import HeldWhitening
from edgead.preprocess import PreprocessParams, preprocess

HARNESS = Path(__file__).resolve().parents[2] / "gpu" / "on_device.py"
sys.path.append(str(HARNESS.parent))

from memory_bundle import exact, frame_features, memory_bundle  # type: ignore[import-not-found]  # noqa: E402


@pytest.fixture
def on_device(device: Device, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``OnDevice`` of the simulated device, its context current as in tests/gpu."""
    spec = importlib.util.spec_from_file_location("on_device", HARNESS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "on_device", module)
    spec.loader.exec_module(module)
    opened = module.open_device()
    with opened.memory.current():
        yield opened


@pytest.mark.parametrize("captured", [False, True])
def test_frames_of_any_strides_arrive(on_device: Any, captured: bool) -> None:
    rng = np.random.default_rng(3)
    whole = rng.integers(0, 256, (40, 50, 3), np.uint8)
    params = PreprocessParams((16, 24))
    for frame in (whole, whole[5:30, 7:44], whole[:, ::-1], whole[::-1, 3:, :]):
        found = on_device.preprocess(frame, params, captured=captured)
        np.testing.assert_array_equal(found, preprocess(frame, params))


def test_a_wrong_image_is_noticed(on_device: Any) -> None:
    frame = np.random.default_rng(4).integers(0, 256, (40, 50, 3), np.uint8)
    params = PreprocessParams((16, 24))
    swapped = preprocess(frame, params, color="rgb")
    assert (on_device.preprocess(frame, params, color="bgr") != swapped).any()


def test_features_arrive_and_maps_come_back(on_device: Any) -> None:
    rng = np.random.default_rng(5)
    shapes = [(4, 8, 6), (6, 4, 3)]
    params = MapParams((16, 12), "cosine", (1.0, 2.0), blur_sigma=1.0)
    pairs = [
        tuple(rng.standard_normal((1, *shape)).astype(np.float32) for _ in "ab") for shape in shapes
    ]
    maps, scores = on_device.anomaly_map(pairs, params)
    expected_maps, expected_scores = AnomalyMap(params, shapes).run(pairs)
    np.testing.assert_array_equal(maps, expected_maps)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_distances_come_back(on_device: Any, tiny: Any, dtype: str, distance: str) -> None:
    bundle, features = memory_bundle(tiny, dtype, distance), frame_features()
    found, total = on_device.distances(bundle, features)
    expected, expected_total = exact(bundle, features)
    for (values, zeros), truth in zip(found, expected, strict=True):
        np.testing.assert_allclose(values[0, 0], truth, rtol=2e-5)
        assert not zeros.any()
    np.testing.assert_allclose(total[0, 0], expected_total, rtol=2e-5)


@pytest.mark.parametrize("field", ["first", "centre", "shares"])
def test_a_planted_bug_changes_a_distance(
    on_device: Any, tiny: Any, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each signal is told matters: other channels, no centre, and so on."""
    bundle, features = memory_bundle(tiny, "float32"), frame_features()
    expected = on_device.distances(bundle, features)
    for held in (HeldMemory, HeldWhitening):

        def wrong(self: Any, *given: Any, enqueue: Any = held.enqueue) -> None:
            if field == "first" and hasattr(self.entry, "first"):
                self = replace(self, entry=replace(self.entry, first=0))
            elif hasattr(self, field):
                self = replace(self, **{field: None})
            enqueue(self, *given)

        monkeypatch.setattr(held, "enqueue", wrong)
    found = on_device.distances(bundle, features)
    arrays = [[*(pair[0] for pair in pairs), total] for pairs, total in (found, expected)]
    assert any(not np.allclose(a, b, rtol=1e-2) for a, b in zip(*arrays, strict=True))


def test_the_roofline_is_that_of_a_measured_copy(
    on_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event of the simulation takes a quarter of a millisecond, whatever lies between two."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu_roofline.py"
    spec = importlib.util.spec_from_file_location("gpu_roofline", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_roofline", script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "COPIED", 2**20)
    monkeypatch.setattr(script, "LAUNCHES", 2)
    monkeypatch.setattr(script, "MEMORY", (40, 12))
    monkeypatch.setattr(script, "GRID", (4, 3))
    found = script.measure(on_device, script.make_kernels(on_device), repeats=2)
    assert found["copy_gb_s"] == pytest.approx(2 * 2**20 / 0.125e-3 / 1e9)
    assert [row["kernel"] for row in found["kernels"]] == ["preprocess", "anomaly_map", "nearest"]
    useful = [
        512 * 512 * 3 + 4 * 3 * 256 * 256,
        2 * 4 * (24 * 64**2 + 40 * 32**2 + 112 * 16**2) + 4 * 256 * 256,
        4 * (144 + 480 + 12),
    ]
    for row, count in zip(found["kernels"], useful, strict=True):
        assert row["useful_bytes"] == count
        assert row["samples_ms"] == pytest.approx([0.125, 0.125])
        assert row["over_roof"] == pytest.approx(2 * 2**20 / count)
