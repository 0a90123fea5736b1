"""Ignore masks: from what a person draws to pixels of the map, and into score, map and picture."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import BundleError, Detector, InputError, QualificationError, reference
from edgead.bundle.ignore_mask import IgnoreMask, parse_polygon, to_roi
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import open_bundle
from edgead.cli.main import main
from edgead.images import encode_png
from edgead.preprocess import PreprocessParams
from edgead.result import Result, Scale

FRAME = (70, 90)  # the size of a frame of the tiny bundle
CLOSE = 2e-5  # as in test_detector.py


def test_a_polygon_by_hand() -> None:
    """A pixel is inside when its centre is: rectangles, a triangle."""
    mask = IgnoreMask((4, 6), (((1, 1), (4, 1), (4, 3), (1, 3)),))
    expected = np.zeros((4, 6), bool)
    expected[1:3, 1:4] = True
    np.testing.assert_array_equal(mask.ignored(), expected)
    shifted = IgnoreMask((4, 6), (((1.6, 1.4), (4.4, 1.4), (4.4, 2.6), (1.6, 2.6)),))
    expected[:] = False
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(shifted.ignored(), expected)
    triangle = IgnoreMask((3, 3), (((0, 0), (3, 0), (0, 3)),))
    np.testing.assert_array_equal(triangle.ignored(), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])


corners = st.tuples(st.integers(0, 160), st.integers(0, 120)).map(lambda c: (c[0] / 8, c[1] / 8))


@settings(max_examples=30)
@given(st.lists(corners, min_size=3, max_size=9))
def test_any_polygon_against_opencv(polygon: list[tuple[float, float]]) -> None:
    """OpenCV's point-in-polygon for every centre, those within rounding of an edge left out."""
    try:
        ignored = IgnoreMask((15, 20), (tuple(polygon),)).ignored()
    except InputError as error:
        assert "no pixel" in str(error)
        ignored = np.zeros((15, 20), bool)
    contour = np.array(polygon, np.float32)
    for row, column in np.ndindex(15, 20):
        depth = cv2.pointPolygonTest(contour, (column + 0.5, row + 0.5), measureDist=True)
        if abs(depth) > 1e-3:
            assert ignored[row, column] == (depth > 0), (row, column)


def shares(ignored: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ignored share of each pixel of the map, in a frame enlarged until these are whole pixels."""
    height, width = ignored.shape
    large = np.repeat(np.repeat(ignored, size[0], axis=0), size[1], axis=1)
    return np.asarray(large.reshape(size[0], height, size[1], width).mean(axis=(1, 3)))


@pytest.mark.parametrize("size", [(14, 18), (7, 9), (9, 5), (28, 54), (13, 40), (1, 2)])
def test_a_map_pixel_is_ignored_from_half_of_its_area_on(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    ignored = cv2.resize(rng.uniform(size=(6, 5)), (18, 14)) > 0.55
    np.testing.assert_array_equal(to_roi(ignored, size) == 0, shares(ignored, size) >= 0.5)


def test_the_mask_lies_where_preprocess_puts_the_frame() -> None:
    """A mask painted white into a black frame comes out of preprocess where the map ignores."""
    mask = IgnoreMask(FRAME, (((30, 20), (72, 14), (80, 61), (35, 40)),))
    frame = np.where(mask.ignored(), np.uint8(255), np.uint8(0))
    params = PreprocessParams((64, 48), (0, 0, 0), (1, 1, 1))
    white = reference.preprocess(frame, params)[0]
    roi = to_roi(mask.ignored(), (64, 48))
    # preprocess weighs with a triangle and the mask with the pixel's own area: they agree but at
    # the border.
    np.testing.assert_array_equal(roi[white < 0.25], 1)
    np.testing.assert_array_equal(roi[white > 0.75], 0)
    assert 0.02 < (roi == 0).mean() < 0.4


POLYGON = "5.1,3.2 86.3,4.4 85.2,46.1 8.3,44.2"  # passes no pixel at its centre


@functools.cache
def kept_pixels() -> np.ndarray:
    """The tiny map's pixels under less than half of POLYGON: OpenCV and the enlarged frame."""
    contour = np.array(parse_polygon(POLYGON), np.float32)
    ignored = np.zeros(FRAME, bool)
    for row, column in np.ndindex(FRAME):
        centre = (column + 0.5, row + 0.5)
        ignored[row, column] = cv2.pointPolygonTest(contour, centre, measureDist=False) > 0
    return shares(ignored, (64, 48)) < 0.5


@pytest.fixture(scope="module")
def masked(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory, make_frame: Any) -> Path:
    """The tiny bundle with POLYGON ignored, calibrated on 39 good frames."""
    folder = tmp_path_factory.mktemp("masked")
    (folder / "good").mkdir()
    for seed in range(39):
        (folder / "good" / f"{seed:02}.png").write_bytes(encode_png(make_frame(seed)))
    out = folder / "masked.edgead"
    words = ["mask", bundle_dir, "--polygon", POLYGON, "--calibrate", folder / "good", "--out", out]
    assert main([str(word) for word in words]) == 0
    return out


def test_score_and_map_leave_ignored_pixels_out(masked: Path, tiny: Any, make_frame: Any) -> None:
    kept = kept_pixels()
    assert 0.3 < (~kept).mean() < 0.7
    detector = Detector(masked)
    for seed in (100, 101):
        frame = make_frame(seed)
        result = detector.score(frame)
        expected, _ = tiny.truth(frame)
        np.testing.assert_array_equal(result.roi != 0, kept)
        assert (result.map[~kept] == 0).all()
        np.testing.assert_allclose(result.map[kept], expected[kept], atol=CLOSE)
        assert result.score == pytest.approx(expected[kept].max(), abs=CLOSE)


def test_calibration_is_that_of_the_kept_pixels(masked: Path, tiny: Any, make_frame: Any) -> None:
    kept = kept_pixels()
    found = open_bundle(masked).manifest.calibration
    expected = [tiny.truth(make_frame(seed))[0][kept].max() for seed in range(39)]
    np.testing.assert_allclose(found.scores, expected, atol=CLOSE)
    assert np.abs(np.subtract(found.scores, tiny.manifest.calibration.scores)).max() > 0.01


def test_what_is_under_the_mask_changes_no_verdict(
    masked: Path, bundle_dir: Path, make_frame: Any
) -> None:
    """Black and white rows well inside the mask are anomalous without it, good with it."""
    good = make_frame(100)
    hidden, seen = good.copy(), good.copy()
    for frame, first in ((hidden, 18), (seen, 55)):
        frame[first : first + 12, 30:60] = 0
        frame[first : first + 12 : 3, 30:60] = 255
    with_mask, without = Detector(masked), Detector(bundle_dir)
    assert without.score(hidden).is_anomalous and without.score(seen).is_anomalous
    result = with_mask.score(hidden)
    assert not result.is_anomalous and result.regions == ()
    assert result.score == pytest.approx(with_mask.score(good).score, abs=CLOSE)
    result = with_mask.score(seen)
    assert result.is_anomalous
    assert result.regions and all(region.y > 40 for region in result.regions)


def test_golden_frames_qualify_the_mask_too(masked: Path, edit: Any) -> None:
    """A polygon changed in the manifest is an engine that does not reproduce the golden maps."""

    def smaller(manifest: dict[str, Any]) -> None:
        manifest["ignore"]["polygons"][0][0] = [50.0, 20.0]

    changed = masked.with_name("changed.edgead")
    shutil.copytree(masked, changed)
    edit(changed, smaller)
    with pytest.raises(QualificationError, match="golden"):
        Detector(changed)


def test_the_golden_promise_is_the_old_one(masked: Path, bundle_dir: Path) -> None:
    """Kept pixels of the golden maps are those the exporting engine gave, bit for bit."""
    kept = kept_pixels()
    for name in ("golden/0.npy", "golden/1.npy", "golden/2.npy"):
        old, new = np.load(bundle_dir / name), np.load(masked / name)
        np.testing.assert_array_equal(new, np.where(kept, old, 0))
    for golden in open_bundle(masked).manifest.golden:
        assert golden.score == pytest.approx(float(np.load(masked / golden.map).max()), abs=1e-6)


def test_a_frame_of_another_size(masked: Path, make_frame: Any) -> None:
    with pytest.raises(InputError, match=r"35 x 45.*drawn on 70 x 90.*edgead mask"):
        Detector(masked).score(make_frame(1, (35, 45, 3)))


def test_heat_beside_the_mask_is_not_drawn_down() -> None:
    """A map of one value everywhere kept gives a heatmap of that value up to the border."""
    roi = np.ones((6, 8), np.uint8)
    roi[2:4, 3:6] = 0
    values = np.where(roi, np.float32(2.0), np.float32(0.0))
    frame = np.zeros((60, 120, 3), np.uint8)
    result = Result(2.0, 0.1, True, 1.0, values, {}, "bgr", Scale(0.5, 1.0), roi, frame=frame)
    heat = result.heatmap()
    np.testing.assert_allclose(heat[:20], 2.0, rtol=1e-6)
    assert (heat[20:40, 45:90] == 0).all()
    np.testing.assert_allclose(heat[20:40, :45], 2.0, rtol=1e-6)
    (region,) = result.regions
    assert region.area == 60 * 120 - 20 * 45
    overlay = result.overlay()
    assert (overlay[25:35, 50:85] == overlay[30, 60]).all() and len(
        set(overlay[30, 60].tolist())
    ) == 1


def test_the_manifest_keeps_it(tiny: Any) -> None:
    polygons = (((0.5, 0), (9, 0), (9, 7.25)), ((1, 1), (4, 1), (4, 4)))
    for mask in (IgnoreMask((70, 90), polygons), IgnoreMask((70, 90), (), "ignore.png")):
        manifest = replace(tiny.manifest, ignore=mask)
        assert Manifest.loads(manifest.dumps()).ignore == mask
    assert "ignore" not in tiny.manifest.to_json()


@pytest.mark.parametrize(
    ("ignore", "match"),
    [
        ({"frame_size": [70, 90]}, "'polygons' is missing"),
        ({"frame_size": [70, 90], "polygons": []}, "neither polygons nor an image"),
        ({"frame_size": [70, 90], "polygons": [[[0, 0], [9, 9]]]}, "2 corners"),
        ({"frame_size": [70, 90], "polygons": [[[0, 0], [9, 0], [9, 71]]]}, "outside the frame"),
        ({"frame_size": [70, 90], "polygons": [[[0, 0], [9, 0], [9]]]}, r"corners \[x, y\]"),
        ({"frame_size": [70, 90], "polygons": [[0, 0], [9, 0], [9, 9]]}, r"corners \[x, y\]"),
        ({"frame_size": [70, 90], "polygons": [[[0, 0], [9, 0], [9, None]]]}, r"corners \[x, y\]"),
        ({"frame_size": [70, 90], "polygons": [], "image": 3}, "a string"),
        ({"frame_size": [70, 90], "polygons": [], "image": "x.png"}, "x.png.*not among its files"),
        ({"frame_size": [70, 90], "polygons": [], "image": "a.png", "keep": 1}, "'keep'"),
    ],
)
def test_a_manifest_with_another_mask(
    bundle_copy: Path, edit: Any, ignore: dict[str, Any], match: str
) -> None:
    edit(bundle_copy, lambda manifest: manifest.update(ignore=ignore))
    with pytest.raises(BundleError, match=match):
        open_bundle(bundle_copy)


def test_an_image_of_another_size_in_the_bundle(bundle_copy: Path, edit: Any) -> None:
    ignore = {"frame_size": [70, 90], "polygons": [], "image": "ignore.png"}
    png = encode_png(np.full((35, 45), 255, np.uint8))
    edit(bundle_copy, lambda manifest: manifest.update(ignore=ignore), {"ignore.png": png})
    with pytest.raises(BundleError, match=r"35 x 45.*70 x 90"):
        Detector(bundle_copy)
