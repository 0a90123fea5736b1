"""What C refuses: the bundles that Python refuses, in its words, and every argument of nonsense."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import said_by_python  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.errors import BundleError, QualificationError


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a model that is cut": lambda b: truncate(b / "model.onnx"),
    "a model that is altered": lambda b: alter(b / "model.onnx"),
    "a golden frame that is altered": lambda b: alter(b / "golden/1.png"),
    "a map that is empty": lambda b: (b / "golden/0.npy").write_bytes(b""),
    "a file too few": lambda b: (b / "golden/2.npy").unlink(),
    "a file too many": lambda b: (b / "note.txt").write_text("mine"),
    "a link": lambda b: (b / "link").symlink_to("model.onnx"),
    "a link in place of a file": lambda b: (
        (b / "model.onnx").rename(b.parent / "model.onnx"),
        (b / "model.onnx").symlink_to(b.parent / "model.onnx"),
    ),
    "a pipe": lambda b: os.mkfifo(b / "pipe"),
    "no manifest": lambda b: (b / "manifest.json").unlink(),
    "a manifest that is a folder": lambda b: (
        (b / "manifest.json").unlink(),
        (b / "manifest.json").mkdir(),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bundles_are_refused_in_pythons_words(
    library: Any, refused: type[Exception], bundle_copy: Path, damage: str
) -> None:
    DAMAGES[damage](bundle_copy)
    expected = said_by_python(bundle_copy)
    with pytest.raises(refused) as caught:
        library.open(bundle_copy)
    assert expected is not None and str(caught.value) == expected


@pytest.mark.parametrize("name", ["nothing.edgead", "file.edgead", "empty.edgead", "empty.edgead/"])
def test_what_is_no_bundle(
    library: Any, refused: type[Exception], tmp_path: Path, name: str
) -> None:
    (tmp_path / "file.edgead").write_text("x")
    (tmp_path / "empty.edgead").mkdir()
    with pytest.raises(BundleError) as expected:
        open_bundle(f"{tmp_path}/{name}")
    with pytest.raises(refused) as caught:
        library.open(f"{tmp_path}/{name}")
    assert str(caught.value) == str(expected.value)


TEXTS = {
    "cut": b'{"name": "a',
    "empty": b"",
    "a key twice": b'{"name": 1, "name": 2}',
    "a key twice, deep": b'{"a": [{"b": 1, "b": 2}]}',
    "NaN": b'{"a": NaN}',
    "a comment": b"{} // no",
    "bytes": bytes(range(256)),
    "deep": b"[" * 100000,
}


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_is_not_json(
    library: Any, refused: type[Exception], bundle_copy: Path, text: str
) -> None:
    (bundle_copy / "manifest.json").write_bytes(TEXTS[text])
    expected = said_by_python(bundle_copy)
    with pytest.raises(refused, match="is truncated or damaged") as caught:
        library.open(bundle_copy)
    assert expected is not None and "manifest.json is truncated or damaged" in expected
    assert caught.value.status == "BUNDLE"


NAMES = [
    "../model.onnx",
    "/etc/passwd",
    "a/../b",
    "a//b",
    "./a",
    "a\\b",
    "c:",
    ".",
    "manifest.json",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out(
    library: Any, refused: type[Exception], bundle_copy: Path, edit: Any, name: str
) -> None:
    edit(bundle_copy, lambda manifest: manifest["files"].update({name: "0" * 64}))
    expected = said_by_python(bundle_copy)
    with pytest.raises(refused) as caught:
        library.open(bundle_copy)
    assert expected is not None and str(caught.value) == expected


def test_an_engine_that_differs_is_not_qualified(
    library: Any, refused: type[Exception], bundle_copy: Path, edit: Any
) -> None:
    edit(bundle_copy, lambda manifest: manifest["golden"][1].update(score=0.125))
    with pytest.raises(QualificationError) as expected:
        Detector(bundle_copy, device="cpu", threads=1)
    with pytest.raises(refused) as caught:
        library.open(bundle_copy)
    assert caught.value.status == "QUALIFICATION"
    assert str(caught.value) == str(expected.value)


def test_a_graph_of_another_kind(
    library: Any, refused: type[Exception], bundle_copy: Path, edit: Any, make_graph: Any
) -> None:
    for graph, words in (
        (b"not a graph", "OpenVINO cannot read model.onnx"),
        (make_graph(("a", "b", "c", "d")), "the manifest names"),
        (make_graph(channels=(4, 12)), "the manifest says"),
    ):
        edit(bundle_copy, None, {"model.onnx": graph})
        with pytest.raises(refused, match=words) as caught:
            library.open(bundle_copy)
        assert caught.value.status == "BUNDLE"


FRAMES: dict[str, tuple[dict[str, Any], str]] = {
    "no memory": ({"data": None}, "data is NULL"),
    "no height": ({"height": 0}, "0 x 20"),
    "no width": ({"width": 0}, "10 x 0"),
    "a negative height": ({"height": -1}, "-1 x 20"),
    "a huge width": ({"width": 2**31 - 1, "stride": 2**40}, "1 to 32767"),
    "a short stride": ({"stride": 59}, "a row of 20 pixels BGR has 60"),
    "a short stride upwards": ({"stride": -59}, "a row of 20 pixels BGR has 60"),
    "no stride": ({"stride": 0}, "a row of 20 pixels BGR has 60"),
    "a huge stride": ({"stride": 2**62}, "at most 2^40"),
    "the smallest stride": ({"stride": -(2**63)}, "at most 2^40"),
    "no format": ({"format": 0}, "format is 0"),
    "an unknown format": ({"format": 99}, "format is 99"),
    "a negative format": ({"format": -3}, "format is -3"),
    "bits of 8-bit samples": ({"bit_depth": 12}, "BGR, which has 8 bits"),
    "too many bits": ({"format": 2, "bit_depth": 17}, "expected 9 to 16"),
    "an odd stride": ({"format": 2, "stride": 61}, "even number"),
    "a field of later": ({"reserved": 1}, "reserved is 1, expected 0"),
    "an old struct": ({"struct_size": 8}, "struct_size is 8"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_that_are_none(
    library: Any, refused: type[Exception], bundle_dir: Path, as_c_frame: Any, kind: str
) -> None:
    changes, words = FRAMES[kind]
    array = np.zeros((10, 20, 3), np.uint8)
    with library.serving(bundle_dir) as session:
        expected = session.score(array, "BGR").score
        frame = as_c_frame(array, "BGR")
        for name, value in changes.items():
            setattr(frame, name, value)
        with pytest.raises(refused, match=words.replace("^", r"\^")) as caught:
            session.score_frame(frame)
        assert caught.value.status == "INPUT"
        assert session.score(array, "BGR").score == expected  # and goes on


def test_values_above_the_bit_depth(
    library: Any, refused: type[Exception], bundle_dir: Path
) -> None:
    array = np.zeros((10, 20), np.uint16)
    array[9, 19] = 4096
    with library.serving(bundle_dir) as session:
        with pytest.raises(refused, match="the value 4096 and is declared to have 12 bits"):
            session.score(array, "GRAY16", 12)
        session.score(array, "GRAY16", 13)


def test_pointers_that_are_null(
    library: Any, refused: type[Exception], bundle_dir: Path, as_c_frame: Any
) -> None:
    out = ctypes.c_void_p()
    for arguments in ((1, None, None, ctypes.byref(out)), (1, b"x", None, None)):
        with pytest.raises(refused, match="is NULL"):
            library.call("detector_open", *arguments)
    for name, count in (
        ("detector_info", 2),
        ("detector_threshold", 3),
        ("session_open", 2),
        ("session_prepare", 2),
        ("session_score", 3),
        ("session_regions", 4),
        ("session_map_size", 3),
    ):
        with pytest.raises(refused, match="is NULL"):
            library.call(name, *[None] * count)
    for name in ("session_map", "session_heatmap"):
        with pytest.raises(refused, match="session is NULL"):
            library.call(name, None, None, 0, 0)
    with library.serving(bundle_dir) as session:
        for arguments in (
            (None, None),
            (ctypes.byref(as_c_frame(np.zeros((3, 3, 3), np.uint8), "BGR")), None),
        ):
            with pytest.raises(refused, match="is NULL"):
                library.call("session_score", session.handle, *arguments)
    library.c.edgead_detector_close(None)
    library.c.edgead_session_close(None)


def test_the_door_asks_for_a_version(library: Any, refused: type[Exception]) -> None:
    out = ctypes.c_void_p(1)
    for version in (0, 2, 2**32 - 1):
        with pytest.raises(refused, match=f"version {version} of the interface") as caught:
            library.call("detector_open", ctypes.c_uint32(version), b"x", None, ctypes.byref(out))
        assert caught.value.status == "VERSION" and out.value is None
    assert library.c.edgead_api_version() == 1


def test_rates_that_cannot_be_promised(
    library: Any, refused: type[Exception], bundle_dir: Path
) -> None:
    for rate in (0.01, 1.0, -0.5, float("nan"), float("inf")):
        with pytest.raises(refused) as caught:
            library.open(bundle_dir, rate=rate)
        assert caught.value.status == "CALIBRATION"
    with pytest.raises(refused, match="needs 99 images"):
        library.open(bundle_dir, rate=0.01)


def test_memory_for_maps_that_is_too_small(
    library: Any, refused: type[Exception], bundle_dir: Path
) -> None:
    with library.serving(bundle_dir) as session:
        memory = np.zeros((64, 48), np.float32)
        at = memory.ctypes.data
        with pytest.raises(refused, match="no frame was scored"):
            library.call("session_map", session.handle, at, 192, memory.nbytes)
        session.score(np.zeros((10, 20, 3), np.uint8), "BGR")
        for stride, capacity in ((188, 10**6), (193, 10**6), (-192, 10**6), (192, 64 * 192 - 1)):
            with pytest.raises(refused, match="map"):
                library.call("session_map", session.handle, at, stride, capacity)
        library.call("session_map", session.handle, at, 192, memory.nbytes)
        assert memory.max() > 0


def test_the_last_error_is_cut_to_the_callers_memory(
    library: Any, refused: type[Exception]
) -> None:
    with pytest.raises(refused) as caught:
        library.call("session_open", None, None)
    whole = str(caught.value).encode()
    for capacity in (0, 1, 5, len(whole), len(whole) + 1, 500):
        text = ctypes.create_string_buffer(b"?" * 600)
        assert library.c.edgead_last_error(text, capacity) == len(whole)
        kept = whole[: max(capacity - 1, 0)]
        assert text.raw[: len(kept)] == kept
        assert text.raw[len(kept) :][: 1 if capacity else 0] in (b"", b"\0")
        assert text.raw[capacity:600] == b"?" * (600 - capacity)
    assert library.c.edgead_last_error(None, 0) == len(whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 3}, "has schema version 3; this edgead reads up to 2: upgrade"),
        ({"schema_version": 9, "what": "comes"}, "has schema version 9; this edgead reads"),
    ],
)
def test_schemas_that_are_newer(
    library: Any, refused: type[Exception], bundle_copy: Path, edit: Any, change: Any, words: str
) -> None:
    edit(bundle_copy, lambda manifest: manifest.update(change))
    with pytest.raises(refused, match=f"bundle .*{words}") as caught:
        library.open(bundle_copy)
    assert caught.value.status == "UNSUPPORTED"
