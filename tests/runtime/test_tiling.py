"""Tiling: every pixel covered, weights that sum to 1, maps stitched without seams, one score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import BundleError, Detector, InputError, reference
from edgead.anomaly_map import MapParams, pool
from edgead.bundle.entries import Calibration, Golden, Pair, Tolerance
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import open_bundle
from edgead.errors import DeviceError
from edgead.images import encode_png
from edgead.preprocess import PreprocessParams
from edgead.tiling import Tiling, plan_axis, plan_tiles

TILE = 32


@settings(max_examples=300)
@given(st.data())
def test_every_pixel_is_covered_for_all_sizes(data: st.DataObject) -> None:
    tile = data.draw(st.integers(4, 700), "tile")
    pixels = data.draw(st.integers(2, 300), "map pixels of a tile")
    overlap = data.draw(st.integers(2, tile // 2), "overlap")
    frame = data.draw(st.integers(tile, 12 * tile), "frame")
    axis = plan_axis(frame, tile, overlap, pixels)
    covered = np.zeros(frame, int)
    for start in axis.starts:
        assert 0 <= start <= frame - tile
        covered[start : start + tile] += 1
    assert covered.min() >= 1
    total = np.zeros(axis.length)
    for offset, weights in zip(axis.offsets, axis.weights, strict=True):
        assert 0 <= offset <= axis.length - pixels
        total[offset : offset + pixels] += weights
    np.testing.assert_allclose(total, 1.0, atol=1e-6)  # float32 weights, a handful to a pixel
    for start, offset in zip(axis.starts, axis.offsets, strict=True):
        # Both say where the tile begins, the map's in its own pixels: within one of either.
        assert abs(start * pixels / tile - offset) <= 1 + pixels / tile


@settings(max_examples=100)
@given(st.integers(4, 60), st.integers(1, 8), st.data())
def test_exact_where_the_grid_divides(pixels: int, pitch: int, data: st.DataObject) -> None:
    """Tiles of whole map pixels in a frame of whole map pixels: no rounding, the overlap asked."""
    tile = pixels * pitch
    overlap = data.draw(st.integers(2, tile // 2))
    frame = pitch * data.draw(st.integers(pixels, 9 * pixels))
    axis = plan_axis(frame, tile, overlap, pixels)
    assert axis.length * pitch == frame
    assert [pitch * offset for offset in axis.offsets] == list(axis.starts)
    overlaps = [a + tile - b for a, b in zip(axis.starts, axis.starts[1:], strict=False)]
    assert all(found >= overlap for found in overlaps)


def axis_in_numpy(frame: int, tile: int, overlap: int, pixels: int) -> tuple[Any, ...]:
    """What csrc/runtime/tiling.cpp computes, once more, in NumPy."""
    length = max(pixels, round(frame * pixels / tile))
    step = pixels - -(-overlap * pixels // tile)
    count = 1 + -(-(length - pixels) // step)
    count = 2 if count == 1 and frame > tile else count
    offsets = tuple(i * (length - pixels) // max(count - 1, 1) for i in range(count))
    starts = (*(offset * tile // pixels for offset in offsets[:-1]), frame - tile)
    inner = np.arange(pixels) + 0.5
    tent, total = np.minimum(inner, pixels - inner), np.zeros(length)
    for offset in offsets:
        total[offset : offset + pixels] += tent
    weights = [tent / total[offset : offset + pixels] for offset in offsets]
    return length, starts, offsets, np.asarray(weights, np.float32)


@settings(max_examples=200)
@given(st.data())
def test_tiles_are_those_of_numpy(data: st.DataObject) -> None:
    tile, pixels = data.draw(st.integers(4, 2000)), data.draw(st.integers(2, 400))
    overlap = data.draw(st.integers(2, tile // 2))
    frame = data.draw(st.integers(tile, min(9 * tile, 32767)))
    found, expected = (f(frame, tile, overlap, pixels) for f in (plan_axis, axis_in_numpy))
    assert found[:3] == expected[:3]
    np.testing.assert_array_equal(found[3], expected[3])


def test_a_tile_is_blended_into_its_place_alone() -> None:
    plan = plan_tiles(Tiling((8, 8), 4), (14, 20), (5, 4))
    rng = np.random.default_rng(2)
    for tile in plan.tiles(None):
        values = rng.uniform(size=(5, 4)).astype(np.float32)
        stitched = rng.uniform(size=plan.map_size).astype(np.float32)
        expected = stitched.copy()
        expected[tile.window] += values * tile.down[:, None] * tile.across
        tile.add(values, stitched)
        np.testing.assert_array_equal(stitched, expected)


def test_tiles_by_hand() -> None:
    axis = plan_axis(16, 8, 2, 4)  # seen at half size: one pixel of the map is two of the frame
    assert (axis.length, axis.starts, axis.offsets) == (8, (0, 4, 8), (0, 2, 4))
    overlapping = [[1, 1, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 1, 1]]
    np.testing.assert_allclose(axis.weights, overlapping)
    axis = plan_axis(6, 4, 2, 4)
    np.testing.assert_allclose(axis.weights, [[1, 1, 0.75, 0.25], [0.25, 0.75, 1, 1]])


def identity_graph() -> bytes:
    """``image`` -> (image, 0): with l2 and no blur the map is the mean square of the channels."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes = [
        helper.make_node("Identity", ["image"], ["reference_0"]),
        helper.make_node("Mul", ["image", "zero"], ["restored_0"]),
    ]
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    shape = ["batch", 3, TILE, TILE]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in
             ("image", "reference_0", "restored_0")]  # fmt: skip
    graph = helper.make_graph(nodes, "identity", ports[:1], ports[1:], [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory, to_npy: Any, make_frame: Any) -> Any:
    """``write(name, tile=…, overlap=…, **map settings)``: a tiled bundle of the identity graph."""
    folder = tmp_path_factory.mktemp("tiled")

    def make(name: str, tile: int = TILE, overlap: int = 8, **settings: Any) -> Path:
        from edgead.bundle.storage import write_bundle

        params = MapParams((TILE, TILE), "l2", (1.0,), blur_sigma=0.0, **settings)
        tiling = Tiling((tile, tile), overlap)
        golden = make_frame(3, (tile + tile // 2, tile, 3))
        size = plan_tiles(tiling, golden.shape[:2], params.size).map_size
        expected = np.zeros(size, np.float32)
        manifest = Manifest(
            name=name,
            method="identity",
            created="2025-01-01T00:00:00Z",
            preprocess=PreprocessParams((TILE, TILE), (0, 0, 0), (1, 1, 1)),
            pairs=(Pair("reference_0", "restored_0", 3, (TILE, TILE)),),
            map=params,
            models={"float32": "model.onnx"},
            calibration=Calibration(tuple(np.linspace(0.1, 0.5, 19)), (0.5,) * 19, 0.05),
            tolerance={"float32": Tolerance(10.0, 10.0)},
            golden=(Golden("golden/0.png", "golden/0.npy", 0.5),),
            tiling=tiling,
        )
        files = {"golden/0.png": encode_png(golden), "golden/0.npy": to_npy(expected)}
        write_bundle(folder / name, manifest, {"model.onnx": identity_graph(), **files})
        return folder / name

    return make


@pytest.fixture(scope="module")
def tiled(write: Any) -> Detector:
    return Detector(write("plain.edgead"))


def squares(frame: np.ndarray) -> np.ndarray:
    """The map of the whole frame at once, in float64."""
    return np.asarray(np.square(frame.astype(np.float64) / 255).mean(axis=2))


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (57, 91), (64, 200), (129, 47)])
def test_a_pointwise_graph_is_stitched_exactly(tiled: Detector, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    result = tiled.score(frame)
    assert result.map.shape == size
    # preprocess copies at one to one; float32 squares, blended with weights that sum to 1 within
    # 2^-23 each way.
    np.testing.assert_allclose(result.map, squares(frame), atol=1e-6)
    assert result.score == pytest.approx(squares(frame).max(), abs=1e-6)
    assert result.heatmap().shape == size


def test_a_smooth_ramp_has_no_seam(write: Any) -> None:
    """Tiles of 64 pixels seen at half size: neighbours in the map differ as the ramp says."""
    detector = Detector(write("half.edgead", tile=64, overlap=16))
    ramp = np.linspace(40, 200, 300)[None, :] + np.linspace(0, 50, 190)[:, None]
    frame = np.repeat(ramp.astype(np.uint8)[:, :, None], 3, axis=2)
    found = detector.score(frame).map
    assert found.shape == (95, 150)
    smooth = np.square((ramp.reshape(95, 2, 150, 2).mean(axis=(1, 3)) - 0.5) / 255)
    # The frame's grey levels are whole numbers: one of 255 beside values up to 1, twice squared.
    np.testing.assert_allclose(found, smooth, atol=2.5 / 255)
    for axis in (0, 1):
        steps = np.abs(np.diff(found.astype(np.float64), axis=axis))
        assert steps.max() <= np.abs(np.diff(smooth, axis=axis)).max() + 2.5 / 255


def test_a_step_at_a_tile_s_border_shows(tiled: Detector) -> None:
    """What the ramp is to exclude: a network that sees each tile darker to one side."""
    darker = np.linspace(1, 0, TILE, dtype=np.float32)
    lanes: Any = tiled._pipeline(tiled._state)._lanes
    before = [lane._session for lane in lanes]

    class Lopsided:
        def __init__(self, session: Any) -> None:
            self.session, self.image = session, session.image
            self.features = session.features

        def infer(self) -> Any:
            ((reference_, restored),) = self.session.infer()
            return [(reference_ * darker, restored)]

    for lane in lanes:
        lane._session = Lopsided(lane._session)
    try:
        found = tiled.score(np.full((32, 104, 3), 255, np.uint8)).map[16].astype(np.float64)
    finally:
        for lane, session in zip(lanes, before, strict=True):
            lane._session = session
    # Each tile falls from 1 to 0; laid side by side the map would jump by 1 at every border.
    assert np.abs(np.diff(found)).max() < 0.25


@pytest.mark.parametrize(("pooling", "top_k"), [("max", 0.01), ("mean", 0.01), ("top_k", 0.02)])
def test_the_score_pools_the_whole_map(write: Any, pooling: str, top_k: float) -> None:
    detector = Detector(write(f"{pooling}.edgead", pooling=pooling, top_k=top_k))
    frame = np.random.default_rng(2).integers(0, 256, (70, 90, 3), np.uint8)
    result = detector.score(frame)
    params = detector.bundle.manifest.map
    expected = reference.pool(squares(frame).reshape(1, -1), params)[0]
    assert result.score == pytest.approx(expected, abs=1e-6)
    roi = (np.arange(6300).reshape(70, 90) % 3 > 0).astype(np.uint8)
    expected = reference.pool(squares(frame)[None, roi != 0], params)[0]
    assert pool(result.map, roi, params) == pytest.approx(expected, abs=1e-6)


def test_no_copy_of_a_tile_is_made(tiled: Detector) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (80, 80, 3), np.uint8)
    seen = []
    lanes: Any = tiled._pipeline(tiled._state)._lanes
    inner = lanes[0]._preprocess.run

    def spy(tile: np.ndarray, out: np.ndarray) -> None:
        seen.append(tile.base is not None and np.shares_memory(tile, frame))
        inner(tile, out)

    before = [lane._preprocess for lane in lanes]
    for lane in lanes:
        lane._preprocess = SimpleNamespace(run=spy)
    try:
        tiled.score(frame)
    finally:
        for lane, own in zip(lanes, before, strict=True):
            lane._preprocess = own
    assert len(seen) == 9 and all(seen)


def test_views_and_grey_frames(tiled: Detector) -> None:
    frame = np.random.default_rng(4).integers(0, 256, (140, 120, 3), np.uint8)
    view = frame[::2, ::-1, ::-1]
    np.testing.assert_array_equal(tiled.score(view).map, tiled.score(view.copy()).map)
    grey = tiled.score(frame[:, :, 1])
    np.testing.assert_allclose(grey.map, squares(frame[:, :, 1:2]), atol=1e-6)


def test_an_ignore_mask_on_tiles(write: Any, tmp_path: Path) -> None:
    """Ignored pixels do not count, and a tile that is ignored whole is not even looked at."""
    from edgead.bundle.ignore_mask import IgnoreMask
    from edgead.bundle.storage import write_bundle

    plain = open_bundle(write("unmasked.edgead"))
    mask = IgnoreMask((100, 110), (((0, 0), (110, 0), (110, 60), (0, 60)),))
    files = {name: plain.read(name) for name in plain.manifest.files}
    masked = write_bundle(tmp_path / "m.edgead", replace(plain.manifest, ignore=mask), files)
    frame = np.random.default_rng(5).integers(0, 200, (100, 110, 3), np.uint8)
    frame[5:20, 5:20] = 255
    detector = Detector(masked, threads=1)
    session: Any = detector._pipeline(detector._state)._lanes[0]._session
    infer, calls = session.infer, []
    session.infer = lambda: (calls.append(1), infer())[1]
    result = detector.score(frame)
    assert (result.map[:60] == 0).all()
    np.testing.assert_allclose(result.map[60:], squares(frame)[60:], atol=1e-6)
    assert result.score == pytest.approx(squares(frame)[60:].max(), abs=1e-6)
    plan = plan_tiles(Tiling((TILE, TILE), 8), (100, 110), (TILE, TILE))
    below = sum(start + TILE > 60 for start in plan.rows.starts)
    assert len(calls) == below * len(plan.columns.starts) < len(plan)
    with pytest.raises(InputError, match=r"drawn on 100 x 110"):
        detector.score(frame[:90])


def test_the_lanes_change_no_bit(write: Any) -> None:
    """The product of a blur and weights is not exact, so another order of the tiles would show."""
    bundle = write("lanes.edgead", overlap=12)
    frame = np.random.default_rng(6).integers(0, 256, (151, 133, 3), np.uint8)
    detectors = [Detector(bundle, threads=threads) for threads in (1, 2, 3, 7)]
    assert [len(d._pipeline(d._state)._lanes) for d in detectors] == [1, 2, 3, 7]
    one, *others = [[detector.score(frame) for _ in range(3)] for detector in detectors]
    for results in (one, *others):
        for result in results:
            np.testing.assert_array_equal(result.map, one[0].map)
            assert result.score == one[0].score
            spent = result.timings_ms
            stages = [spent[name] for name in ("preprocess", "engine", "anomaly_map")]
            assert min(stages) > 0 and sum(stages) <= spent["total"] * (1 + 1e-9)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("wrong", ["raises", "infinite"])
def test_a_lane_that_fails_is_an_error_and_the_next_frame_is_right(
    write: Any, threads: int, wrong: str
) -> None:
    bundle = write(f"fails{threads}{wrong}.edgead")
    frame = np.random.default_rng(7).integers(0, 256, (100, 130, 3), np.uint8)
    with Detector(bundle, threads=threads) as detector:
        expected = detector.score(frame)
        lane: Any = detector._pipeline(detector._state)._lanes[-1]
        session, calls = lane._session, []

        class Broken:
            image, features = session.image, session.features

            def infer(self) -> Any:
                calls.append(1)
                if wrong == "raises":
                    raise DeviceError("the device is gone")
                ((a, b),) = session.infer()
                return [(np.where(np.arange(TILE) == 3, np.float32(np.nan), a), b)]

        lane._session = Broken()
        with pytest.raises(DeviceError, match="gone" if wrong == "raises" else "not finite"):
            detector.score(frame)
        lane._session = session
        number = len(calls)
        np.testing.assert_array_equal(detector.score(frame).map, expected.map)
        assert len(calls) == number  # nothing of the failed frame was still at work


def test_a_frame_smaller_than_a_tile(tiled: Detector) -> None:
    with pytest.raises(InputError, match=r"31 x 90.*tiles of 32 x 32.*smaller --tile"):
        tiled.score(np.zeros((31, 90, 3), np.uint8))
    with pytest.raises(InputError, match="float32"):
        tiled.score(np.zeros((90, 90, 3), np.float32))


@pytest.mark.parametrize(
    ("tiling", "match"),
    [
        ({"size": [32, 32]}, "'overlap' is missing"),
        ({"size": [32, 32], "overlap": 1}, "from 2 to 16"),
        ({"size": [32, 32], "overlap": 17}, "from 2 to 16"),
        ({"size": [32, 32], "overlap": 8.0}, "whole number"),
        ({"size": [32], "overlap": 8}, "two positive whole numbers"),
        ({"size": [32, 32], "overlap": 8, "step": 1}, "unknown key 'step'"),
    ],
)
def test_a_manifest_with_another_tiling(
    bundle_copy: Path, edit: Any, tiling: dict[str, Any], match: str
) -> None:
    edit(bundle_copy, lambda manifest: manifest.update(tiling=tiling))
    with pytest.raises(BundleError, match=match):
        open_bundle(bundle_copy)


def test_the_manifest_keeps_it(tiny: Any) -> None:
    manifest = replace(tiny.manifest, tiling=Tiling((48, 32), 5))
    assert Manifest.loads(manifest.dumps()).tiling == manifest.tiling
    assert "tiling" not in tiny.manifest.to_json()
