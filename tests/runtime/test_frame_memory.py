"""A frame whose memory the camera used again, and Results and Detectors as programs pass them."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle  # noqa: TID251  # as process pools do
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.lib.stride_tricks import as_strided

import edgead
from edgead import BundleError, Detector, Drift, InputError, _cpu
from edgead.bundle.entries import Golden
from edgead.bundle.storage import open_bundle, write_bundle
from edgead.images import encode_png
from edgead.result import Result
from edgead.tiling import Tiling, plan_tiles


@pytest.fixture(scope="module")
def detector(bundle_dir: Path) -> Iterator[Detector]:
    with Detector(bundle_dir, digests=True) as one:
        yield one


def loaded(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301


def pickled(one: Any) -> Any:
    return loaded(pickle.dumps(one))


COPIES = [copy.copy, copy.deepcopy, pickled]


@st.composite
def views(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """(memory, a view of it): any order of axes, steps of any sign, gaps, 1 or 2 bytes."""
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    axes = draw(st.integers(1, 4))
    shape = [draw(st.integers(1, 6)) for _ in range(axes - 1)] + [draw(st.integers(1, 90))]
    memory = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 255, shape).astype(dtype)
    view = memory.transpose(draw(st.permutations(range(axes))))
    for axis in range(axes):
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        view = view[(slice(None),) * axis + (slice(None, None, step),)]
    return memory, view


@settings(max_examples=300)
@given(views(), st.data())
def test_a_fingerprint_is_of_all_bytes_of_a_view_and_of_no_other(
    pair: tuple[np.ndarray, np.ndarray], data: Any
) -> None:
    memory, view = pair
    before = _cpu.fingerprint(view)
    assert _cpu.fingerprint(view) == before
    marks = np.zeros(memory.shape, np.uint8)
    steps = [stride // memory.itemsize for stride in view.strides]
    start = (view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // (
        memory.itemsize
    )
    as_strided(marks.reshape(-1)[start:], view.shape, steps)[...] = 1
    place = data.draw(st.integers(0, memory.size - 1))
    bit = data.draw(st.integers(0, 8 * memory.itemsize - 1))
    flat = memory.reshape(-1)
    flat[place] ^= flat.dtype.type(1 << bit)
    assert (_cpu.fingerprint(view) != before) == bool(marks.reshape(-1)[place])
    flat[place] ^= flat.dtype.type(1 << bit)
    assert _cpu.fingerprint(view) == before


def test_a_fingerprint_knows_places() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (64, 256), np.uint8)
    found = {_cpu.fingerprint(np.roll(frame, 64 * step)) for step in range(256)}
    assert len(found) == 256  # whole stripes of 64 bytes change their places
    zeros = {_cpu.fingerprint(np.zeros(size, np.uint8)) for size in range(1, 300)}
    assert len(zeros) == 299
    assert _cpu.fingerprint(np.broadcast_to(frame[:1], frame.shape)) == _cpu.fingerprint(frame[:1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_an_overlay_is_never_drawn_on_the_next_frame(
    detector: Detector, make_frame: Any, dtype: type, channels: int | None
) -> None:
    shape = (40, 50) if channels is None else (40, 50, channels)
    buffer = make_frame(1, shape, dtype)
    result = detector.score(buffer)
    drawn = result.overlay()
    kept = buffer.copy()
    buffer[...] = make_frame(2, shape, dtype)
    for late in (result, copy.copy(result)):
        for ask in (Result.overlay, lambda one: one.frame, pickle.dumps):
            with pytest.raises(InputError, match=r"detector\.score\(frame\.copy\(\)\)"):
                ask(late)
        assert late.regions == result.regions  # need no pixels of the frame
        assert late.heatmap().shape == (40, 50)
    buffer[...] = kept
    np.testing.assert_array_equal(result.overlay(), drawn)
    buffer[20, 30] ^= 1  # the last bit of one pixel
    with pytest.raises(InputError):
        result.overlay()


def test_of_a_large_frame_every_few_rows_are_looked_at(detector: Detector) -> None:
    """12 megapixels are 8.6 times 4 MiB: whatever is nine rows high is noticed."""
    buffer = np.zeros((3000, 4000, 3), np.uint8)
    result = detector.score(buffer)
    for top in range(1490, 1500):
        buffer[top : top + 9, 2000, 1] = 1
        with pytest.raises(InputError):
            result.overlay()
        buffer[top : top + 9, 2000, 1] = 0
    assert result.frame is buffer


def test_of_a_large_frame_in_tiles_every_byte_is_looked_at(
    tiny: Any, tmp_path: Any, make_frame: Any, to_npy: Any
) -> None:
    """One bit of one pixel, between the rows that a frame of this size gives otherwise."""
    tiling = Tiling((900, 900), 64)
    size = plan_tiles(tiling, (910, 910), tiny.manifest.map.size).map_size
    golden = encode_png(make_frame(3, (910, 910, 3)))
    loose = replace(tiny.manifest.tolerance["float32"], score=1e6, map=1e6)
    manifest = replace(
        tiny.manifest,
        tiling=tiling,
        tolerance={"float32": loose},
        golden=(Golden("golden/0.png", "golden/0.npy", 1.0),),
    )
    files = {
        "model.onnx": tiny.files["model.onnx"],
        "golden/0.png": golden,
        "golden/0.npy": to_npy(np.zeros(size, np.float32)),
    }
    bundle = write_bundle(tmp_path / "tiled.edgead", manifest, files)
    buffer = np.zeros((1500, 1500, 3), np.uint8)
    with Detector(bundle, device="cpu", threads=1) as detector:
        result = detector.score(buffer)
    assert result.frame is buffer
    for place in ((0, 0, 0), (1, 700, 1), (1498, 3, 2), (1499, 1499, 2)):
        buffer[place] ^= 1
        with pytest.raises(InputError):
            result.overlay()
        buffer[place] ^= 1


def test_the_fourth_channel_of_the_buffer_may_change(detector: Detector, make_frame: Any) -> None:
    buffer = make_frame(1, (40, 50, 4))
    result = detector.score(buffer)
    drawn = result.overlay()
    buffer[:, :, 3] = 0
    np.testing.assert_array_equal(result.overlay(), drawn)


def test_a_result_has_no_truth(detector: Detector, frame: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"result\.is_anomalous"):
        bool(detector.score(frame))


def test_the_dictionary_is_plain(detector: Detector, make_frame: Any) -> None:
    frame = make_frame(4, (128, 96, 3))
    frame[60:70, 20:60] = (255, 255, 0)
    result = detector.score(frame)
    found = result.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == [
        "score", "p_value", "is_anomalous", "threshold", "regions", "timings_ms", "digests"
    ]  # fmt: skip
    assert found["is_anomalous"] is True
    assert found["regions"][0] == dataclasses.asdict(result.regions[0])
    values = [*found["timings_ms"].values(), found["score"], found["p_value"], found["threshold"]]
    assert {type(value) for value in values} == {float}


def test_dataclasses_show_neither_frame_nor_private_fields(
    detector: Detector, frame: np.ndarray
) -> None:
    result = detector.score(frame)
    assert {field.name for field in dataclasses.fields(result)} == set(dataclasses.asdict(result))
    assert not any(name.startswith("_") or name == "frame" for name in dataclasses.asdict(result))
    small = dataclasses.replace(result, frame=frame[::2, ::2])
    assert small.overlay().shape == (45, 55, 3)
    other = dataclasses.replace(result, threshold=7.0)
    assert (other.threshold, other.score) == (7.0, result.score)
    np.testing.assert_array_equal(other.overlay(), result.overlay())
    assert result.overlay().shape == (90, 110, 3)


@pytest.mark.parametrize("again", COPIES)
def test_results_can_be_copied(detector: Detector, frame: np.ndarray, again: Any) -> None:
    result = detector.score(frame[:, ::-1])
    found = again(result)
    assert type(found) is Result
    assert found.to_dict() == result.to_dict()
    np.testing.assert_array_equal(found.map, result.map)
    np.testing.assert_array_equal(found.overlay(), result.overlay())
    if again is not copy.copy:
        assert not np.shares_memory(found.frame, result.frame)


@pytest.mark.parametrize("again", COPIES)
def test_a_detector_is_opened_again(bundle_dir: Path, frame: np.ndarray, again: Any) -> None:
    detector = Detector(bundle_dir, color="rgb", digests=True, threads=1)
    detector.false_reject_rate = 0.1
    found = again(detector)
    assert found is not detector
    assert (found.color, found.false_reject_rate) == ("rgb", 0.1)
    assert found.threshold == detector.threshold
    ours, theirs = detector.score(frame), found.score(frame)
    assert ours.score == theirs.score
    assert ours.digests == theirs.digests  # threads and color are in it
    detector.close()
    assert found.score(frame).score == theirs.score
    with pytest.raises(InputError, match="closed"):
        pickle.dumps(detector)


def test_a_pickle_of_a_bundle_that_changed_is_refused(
    bundle_copy: Path, frame: np.ndarray, edit: Any
) -> None:
    detector = Detector(bundle_copy)
    detector_pickle, bundle_pickle = pickle.dumps(detector), pickle.dumps(detector.bundle)
    assert loaded(bundle_pickle) == detector.bundle
    edit(bundle_copy, lambda manifest: manifest.update(name="another"))
    for data in (detector_pickle, bundle_pickle):
        with pytest.raises(BundleError, match="no longer the one"):
            loaded(data)
    shutil.rmtree(bundle_copy)
    for data in (detector_pickle, bundle_pickle):
        with pytest.raises(BundleError, match="does not exist"):
            loaded(data)
    assert math.isfinite(detector.score(frame).score)  # what is open goes on


def score_there(detector: Detector, frame: np.ndarray) -> Result:
    return detector.score(frame)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_detector_and_its_results_go_through_a_process_pool(
    bundle_dir: Path, frame: np.ndarray, method: str
) -> None:
    detector = Detector(bundle_dir)
    expected = detector.score(frame)
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        found = pool.submit(score_there, detector, frame).result(timeout=120)
    assert found.score == expected.score
    assert found.regions == expected.regions
    np.testing.assert_array_equal(found.overlay(), expected.overlay())


@pytest.mark.parametrize("form", [str, Path, lambda path: str(path).encode()])
def test_a_relative_path_outlives_chdir(
    bundle_copy: Path, frame: np.ndarray, tmp_path: Path, monkeypatch: Any, form: Any
) -> None:
    monkeypatch.chdir(bundle_copy.parent)
    detector = Detector(form(bundle_copy.name))
    bundle = open_bundle(form(bundle_copy.name))
    expected = detector.score(frame).score
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert detector.score(frame).score == expected
    again = pickled(detector)
    assert again.score(frame).score == expected
    assert Detector(bundle).score(frame).score == expected
    assert bundle.read("model.onnx")


def test_paths_that_are_none() -> None:
    with pytest.raises(BundleError, match="expanduser"):
        Detector("~/nowhere.edgead")
    for path in (None, 7, ["a.edgead"]):
        with pytest.raises(BundleError, match="expected a directory"):
            Detector(path)  # type: ignore[arg-type]


def test_drift_takes_results(bundle_dir: Path, detector: Detector, frame: np.ndarray) -> None:
    one, other = Drift(open_bundle(bundle_dir)), Drift(open_bundle(bundle_dir))
    result = detector.score(frame)
    assert one.update(result) is other.update(result.score) is None
    assert one.evidence == other.evidence
    for wrong in (frame, None, "3", math.nan):
        with pytest.raises(InputError, match=r"detector\.score\(frame\)\.score"):
            one.update(wrong)  # type: ignore[arg-type]
    assert pickled(one).evidence == one.evidence


def test_there_is_one_frame_to_a_score() -> None:
    """Nothing public takes several frames, so nothing takes the rows of one for frames."""
    assert not hasattr(Detector, "score_batch")
    assert [name for name in edgead.__all__ if "batch" in name.lower()] == []
