"""Bundles by descriptor, that are deleted, opened twice, and that give what is not finite."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import Detector
from edgead.errors import DeviceError, QualificationError


def test_a_bundle_is_opened_by_descriptor_wherever_it_is(
    library: Any, refused: type[Exception], bundle_copy: Path, frame: np.ndarray
) -> None:
    with library.serving(bundle_copy) as session:
        expected = session.score(frame, "BGR").score
    descriptor = os.open(bundle_copy, os.O_RDONLY | os.O_DIRECTORY)
    try:
        moved = bundle_copy.with_name("moved")
        bundle_copy.rename(moved)
        bundle_copy.mkdir()  # and something else has its name
        os.lseek(descriptor, 0, os.SEEK_SET)
        for _ in range(2):  # it stays open, and where it was
            with library.serving(descriptor) as session:
                assert session.score(frame, "BGR").score == expected
                assert os.fstat(descriptor).st_ino == moved.stat().st_ino
        assert os.listdir(descriptor) == os.listdir(moved)
        (moved / "note.txt").write_text("mine")
        with pytest.raises(refused, match=f"^bundle descriptor {descriptor}: note.txt is not in"):
            library.open(descriptor)
        (moved / "note.txt").unlink()
        data = bytearray((moved / "golden/1.png").read_bytes())
        data[30] ^= 1
        (moved / "golden/1.png").write_bytes(data)
        with pytest.raises(refused, match=r"golden/1\.png was truncated or altered") as caught:
            library.open(descriptor)
        assert caught.value.status == "BUNDLE"
        shutil.rmtree(moved)
        with pytest.raises(refused, match=f"^descriptor {descriptor} is not a bundle"):
            library.open(descriptor)
    finally:
        os.close(descriptor)


def test_descriptors_that_are_none(
    library: Any, refused: type[Exception], bundle_dir: Path, tmp_path: Path
) -> None:
    for number in (-1, -100, 10**6, 2**31 - 1):
        with pytest.raises(refused, match=f"descriptor {number} is not open") as caught:
            library.open(number)
        assert caught.value.status == "INPUT"
    for path, flags in ((bundle_dir / "manifest.json", os.O_RDONLY), (tmp_path, os.O_PATH)):
        number = os.open(path, flags)
        words = "is a file" if path.is_file() else "has no manifest.json"
        with pytest.raises(refused, match=f"descriptor {number} {words}|{words}") as caught:
            library.open(number)
        assert caught.value.status == "BUNDLE"
        os.fstat(number)  # still the caller's
        os.close(number)


def test_no_descriptor_is_left_open(library: Any, refused: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(refused):
        library.open(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(refused):
            library.open(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_links_of_folders_are_not_followed(
    library: Any, refused: type[Exception], bundle_copy: Path
) -> None:
    (bundle_copy / "golden").rename(bundle_copy.parent / "golden")
    (bundle_copy / "golden").symlink_to(bundle_copy.parent / "golden")
    with pytest.raises(refused, match="golden is a symbolic link; expected plain files only"):
        library.open(bundle_copy)


def test_a_bundle_that_is_deleted_while_it_serves_and_one_that_is_opened_twice(
    library: Any, refused: type[Exception], bundle_copy: Path, frame: np.ndarray
) -> None:
    with library.detector(bundle_copy) as first:
        with library.detector(bundle_copy) as second, library.session(second) as session:
            shutil.rmtree(bundle_copy)
            score = session.score(frame, "BGR").score
            with library.session(first) as other:  # opened after it was deleted
                assert other.score(frame, "BGR").score == score
            library.call("detector_set_false_reject_rate", second, 0.5)
            with pytest.raises(refused, match="does not exist"):
                library.open(bundle_copy)
        rate = ctypes.c_double()
        library.call("detector_threshold", first, ctypes.byref(rate), None)
        assert rate.value == 0.05  # its own
        with library.session(first) as session:  # and goes on when the other is closed
            assert session.score(frame, "BGR").score == score


def test_a_session_goes_on_when_its_detector_is_closed(
    library: Any, bundle_dir: Path, frame: np.ndarray
) -> None:
    handle, session = library.open(bundle_dir), ctypes.c_void_p()
    library.call("session_open", handle, ctypes.byref(session))
    library.c.edgead_detector_close(handle)
    with library.serving(bundle_dir) as other:
        expected = other.score(frame, "BGR").score
        assert type(other)(library, session).score(frame, "BGR").score == expected
    library.c.edgead_session_close(session)


def not_finite_in_the_dark(model: bytes, output: str, lifted_by: float = 1.7) -> bytes:
    """The graph, of which one output is NaN where the image's darkest pixel is almost black."""
    import onnx
    from onnx import helper, numpy_helper

    made = onnx.load_model_from_string(model)
    for node in made.graph.node:
        node.output[:] = [f"{name}_own" if name == output else name for name in node.output]
        node.input[:] = [f"{name}_own" if name == output else name for name in node.input]
    constants = {"lifted_by": lifted_by, "nothing": 0.0}
    made.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in constants.items()
    )
    made.graph.node.extend(
        [
            helper.make_node("ReduceMin", ["image"], ["darkest"], keepdims=1),
            helper.make_node("Add", ["darkest", "lifted_by"], ["lifted"]),
            helper.make_node("Sqrt", ["lifted"], ["root"]),
            helper.make_node("Mul", ["root", "nothing"], ["zero"]),
            helper.make_node("Add", [f"{output}_own", "zero"], [output]),
        ]
    )
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def test_features_that_are_not_finite(
    library: Any, refused: type[Exception], tiny: Any, bundle_copy: Path, edit: Any, frame: Any
) -> None:
    graph = not_finite_in_the_dark(tiny.files["model.onnx"], "restored_1")
    edit(bundle_copy, None, {"model.onnx": graph})
    dark = np.zeros((40, 50, 3), np.uint8)
    with (
        library.serving(bundle_copy) as session,
        Detector(bundle_copy, device="cpu", threads=1) as detector,
    ):
        expected = session.score(frame, "BGR").score
        with pytest.raises(DeviceError, match="not finite") as python:
            detector.score(dark)
        with pytest.raises(refused, match="not finite") as caught:
            session.score(dark, "BGR")
        assert caught.value.status == "DEVICE" and str(caught.value) == str(python.value)
        with pytest.raises(refused, match="no map"):
            session.map_size()
        assert session.score(frame, "BGR").score == expected
        assert (session.stats().scored, session.stats().failed) == (2, 1)


def test_maps_that_are_not_finite_are_not_qualified(
    library: Any,
    refused: type[Exception],
    tiny: Any,
    with_signals: Path,
    tmp_path: Path,
    edit: Any,
) -> None:
    path = tmp_path / "never.edgead"
    shutil.copytree(with_signals, path)
    # Always: in the map, and not in the features that the score is pooled from.
    graph = not_finite_in_the_dark(tiny.files["model.onnx"], "restored_0", -1000.0)
    edit(path, None, {"model.onnx": graph})
    with pytest.raises(QualificationError, match="up to nan") as expected:
        Detector(path, device="cpu", threads=1)
    with pytest.raises(refused) as caught:
        library.open(path)
    assert caught.value.status == "QUALIFICATION" and str(caught.value) == str(expected.value)
