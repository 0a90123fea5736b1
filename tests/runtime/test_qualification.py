"""Only qualification can catch a bundle whose digests are right and whose engine is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.errors import BundleError, DeviceError, QualificationError
from edgead.serving.open_engine import open_engine
from edgead.serving.qualification import check_golden, growth, qualify


def test_the_untouched_bundle_qualifies(bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    checks = qualify(bundle, open_engine(bundle))
    assert [check.image for check in checks] == [f"golden/{i}.png" for i in range(3)]
    for check in checks:
        assert check.passed
        assert check.score_difference == abs(check.score - check.expected_score)
        assert 0 <= check.map_difference <= 1e-4
    assert len({check.score for check in checks}) == 3


def test_golden_score(bundle_copy: Path, edit: Callable[..., None]) -> None:
    def raise_score(manifest: dict[str, Any]) -> None:
        manifest["golden"][1]["score"] += 3e-4  # the tolerance is 1e-4

    edit(bundle_copy, raise_score)
    with pytest.raises(
        QualificationError,
        match=r"1 of 3 golden frames.*golden/1\.png.*off by 0\.0003, allowed 0\.0001",
    ):
        Detector(bundle_copy)
    bundle = open_bundle(bundle_copy)
    assert [check.passed for check in check_golden(bundle, open_engine(bundle))] == [
        True,
        False,
        True,
    ]


def test_golden_map(
    bundle_copy: Path, edit: Callable[..., None], to_npy: Callable[[Any], bytes]
) -> None:
    golden = np.load(bundle_copy / "golden" / "2.npy")
    golden[-1, -1] += 0.25
    edit(bundle_copy, files={"golden/2.npy": to_npy(golden)})
    with pytest.raises(QualificationError, match=r"golden/2\.png.*map is off by up to 0\.25"):
        Detector(bundle_copy)


def test_a_tolerance_grows_with_values_beyond_those_of_good_images(
    bundle_copy: Path, edit: Callable[..., None], to_npy: Callable[[Any], bytes]
) -> None:
    """float32 has 24 bits of 5000 too: what is off there by a share of it is not a wrong engine."""
    golden = np.load(bundle_copy / "golden" / "2.npy")
    place = np.unravel_index(golden.argmax(), golden.shape)
    peak = float(golden[place])

    def departing(share: float) -> Callable[[dict[str, Any]], None]:
        """Values ten times those of good images, off by a share of what may lie between there."""

        def change(manifest: dict[str, Any]) -> None:
            count = len(manifest["calibration"]["scores"])
            scores = {"scores": [original / 10] * count, "peaks": [peak / 10] * count}
            manifest["calibration"].update(scores)
            manifest["golden"][2]["score"] = original * (1 + share * 1e-4 * 10 / original)
            moved = golden.copy()
            moved[place] += share * manifest["tolerance"]["float32"]["map"] * 10
            (bundle_copy / "moved.npy").write_bytes(to_npy(moved))

        return change

    original = open_bundle(bundle_copy).manifest.golden[2].score
    for share, passes in ((0.9, True), (1.2, False)):
        edit(bundle_copy, departing(share))
        moved = (bundle_copy / "moved.npy").read_bytes()
        (bundle_copy / "moved.npy").unlink()
        edit(bundle_copy, files={"golden/2.npy": moved})
        bundle = open_bundle(bundle_copy)
        check = check_golden(bundle, open_engine(bundle))[2]
        assert check.passed == passes
        assert check.tolerance.score == pytest.approx(1e-3, rel=0.01)
        assert check.tolerance.map == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(
    ("value", "usual", "times"),
    [(0.0, 2.0, 1), (2.0, 2.0, 1), (5.0, 2.0, 2.5), (-5.0, 2.0, 2.5), (5.0, 0.0, 1)],
)
def test_growth_by_hand(value: float, usual: float, times: float) -> None:
    assert growth(np.array(value), usual) == times


def test_another_graph_of_the_same_shapes(
    bundle_copy: Path, edit: Callable[..., None], make_graph: Callable[..., bytes]
) -> None:
    edit(bundle_copy, files={"model.onnx": make_graph(seed=8)})
    with pytest.raises(QualificationError, match="3 of 3 golden frames"):
        Detector(bundle_copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["map"].update(blur_sigma=1.9),
        lambda m: m["map"].update(distance="l1"),
        lambda m: m["pairs"][1].update(weight=0.51),
        lambda m: m["input"].update(mean=[0.4, 0.456, 0.406]),
    ],
)
def test_settings_that_change_scores(
    bundle_copy: Path, edit: Callable[..., None], change: Callable[[Any], None]
) -> None:
    edit(bundle_copy, change)
    with pytest.raises(QualificationError):
        Detector(bundle_copy)


def test_features_that_are_not_finite(
    bundle_copy: Path, edit: Callable[..., None], make_graph: Callable[..., bytes]
) -> None:
    edit(bundle_copy, files={"model.onnx": make_graph(gain=1e30)})
    with pytest.raises(DeviceError, match=r"golden/0\.png.*not finite"):
        Detector(bundle_copy)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((64, 48)), "float64"),
        (np.zeros((48, 64), np.float32), r"\(48, 64\)"),
        (np.full((64, 48), np.nan, np.float32), "finite"),
        (np.array([{}], object), None),
    ],
)
def test_golden_maps_that_are_none(
    bundle_copy: Path,
    edit: Callable[..., None],
    to_npy: Callable[[Any], bytes],
    array: np.ndarray,
    match: str | None,
) -> None:
    if match is None:  # an object array would need pickle to be read
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        data, match = stream.getvalue(), "not a NumPy array of numbers"
    else:
        data = to_npy(array)
    edit(bundle_copy, files={"golden/0.npy": data})
    with pytest.raises(BundleError, match=rf"golden/0\.npy is.*{match}"):
        Detector(bundle_copy)


def test_golden_files_of_another_kind(bundle_copy: Path, edit: Callable[..., None]) -> None:
    edit(bundle_copy, files={"golden/1.png": b"no image"})
    with pytest.raises(BundleError, match=r"golden/1\.png cannot be decoded"):
        Detector(bundle_copy)
    archive = io.BytesIO()
    np.savez(archive, np.zeros((64, 48), np.float32))
    for data in (b"no array", b"", archive.getvalue()):
        edit(bundle_copy, files={"golden/0.npy": data})
        with pytest.raises(BundleError, match=r"golden/0\.npy is not a NumPy array"):
            Detector(bundle_copy)


def test_no_tolerance_for_the_precision(bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    engine: Any = open_engine(bundle)
    engine.precision = "float16"
    with pytest.raises(BundleError, match="no tolerance for float16"):
        qualify(replace(bundle), engine)
