"""Every function of edgead.h with every pointer NULL, structs of other headers, the log, the
watchdog's view, and what becomes of the bundle while it serves."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_structs import Frame, Info, Params, Region, Stats, Verdict  # type: ignore[import-not-found]

from edgead import Detector
from edgead.errors import DeviceError

HEADER = (Path(__file__).resolve().parents[2] / "csrc/include/edgead.h").read_text()
LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
ERROR, WARNING, INFO = 1, 2, 3


def functions() -> dict[str, list[tuple[str, int]]]:
    """Of each function of the header its arguments: name and how many stars."""
    found = {}
    text = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    for name, given in re.findall(r"\bedgead_(\w+)\(([^()]+)\);", text):
        arguments = [] if given.strip() == "void" else given.split(",")
        found[name] = [(re.findall(r"\w+", one)[-1], one.count("*")) for one in arguments]
    return found


MAY_BE_NULL = {
    ("last_error", "text"),
    ("detector_open", "params"),
    ("detector_open_at", "params"),
    ("detector_close", "detector"),
    ("session_close", "session"),
    ("detector_threshold", "false_reject_rate"),
    ("detector_threshold", "threshold"),
}


class Given:
    """An argument of each name, all of which fit."""

    def __init__(self, library: Any, bundle: Path, detector: Any, session: Any) -> None:
        self.array = np.full((20, 30, 3), 99, np.uint8)
        self.descriptor = os.open(bundle, os.O_RDONLY | os.O_DIRECTORY)
        self.rows = np.zeros((64, 64), np.float32)
        self.made = ctypes.c_void_p()
        self.regions = (Region * 4)()
        self.values: dict[tuple[str, int], Any] = {
            ("version", 0): ctypes.c_uint32(1),
            ("path", 1): str(bundle).encode(),
            ("descriptor", 0): self.descriptor,
            ("params", 1): ctypes.byref(Params(ctypes.sizeof(Params), 0, 1)),
            ("detector", 1): detector,
            ("detector", 2): ctypes.byref(self.made),
            ("session", 1): session.handle,
            ("session", 2): ctypes.byref(self.made),
            ("frame", 1): ctypes.byref(self.frame()),
            ("result", 1): ctypes.byref(Verdict(ctypes.sizeof(Verdict))),
            ("info", 1): ctypes.byref(Info(ctypes.sizeof(Info))),
            ("stats", 1): ctypes.byref(Stats(ctypes.sizeof(Stats))),
            ("false_reject_rate", 0): ctypes.c_double(0.1),
            ("regions", 1): self.regions,
            ("capacity", 0): ctypes.c_size_t(self.rows.nbytes),
            ("heatmap", 1): ctypes.c_void_p(self.rows.ctypes.data),
            ("map", 1): ctypes.c_void_p(self.rows.ctypes.data),
            ("stride", 0): ctypes.c_int64(self.rows.strides[0]),
            ("text", 1): ctypes.create_string_buffer(100),
            ("status", 0): 0,
            ("index", 0): ctypes.c_size_t(0),
        }
        for name, kind in (
            ("count", ctypes.c_size_t),
            ("height", ctypes.c_int32),
            ("width", ctypes.c_int32),
            ("false_reject_rate", ctypes.c_double),
            ("threshold", ctypes.c_double),
        ):
            self.values[name, 1] = ctypes.byref(kind())

    def frame(self) -> Frame:
        height, width = self.array.shape[:2]
        data, stride = self.array.ctypes.data, self.array.strides[0]
        return Frame(ctypes.sizeof(Frame), data, height, width, stride, 3, 0)

    def to(self, name: str, arguments: list[tuple[str, int]]) -> list[Any]:
        given = [self.values[one] for one in arguments]
        if name == "session_regions":
            given[2] = ctypes.c_size_t(4)
        if name == "last_error":
            given[1] = ctypes.c_size_t(100)
        return given


@pytest.fixture
def given(library: Any, bundle_dir: Path) -> Iterator[Given]:
    with library.detector(bundle_dir) as detector, library.session(detector) as session:
        made = Given(library, bundle_dir, detector, session)
        session.score_frame(made.frame())
        yield made
        os.close(made.descriptor)


@pytest.mark.parametrize("name", functions())
def test_every_pointer_of_every_function_null(
    library: Any, refused: type[Exception], given: Given, name: str
) -> None:
    arguments = functions()[name]
    fitting = given.to(name, arguments)
    pointers = [i for i, (_, stars) in enumerate(arguments) if stars]
    subsets = itertools.chain.from_iterable(
        itertools.combinations(pointers, n) for n in range(1, len(pointers) + 1)
    )
    for subset in subsets:
        changed = [None if i in subset else one for i, one in enumerate(fitting)]
        named = [arguments[i][0] for i in subset if (name, arguments[i][0]) not in MAY_BE_NULL]
        if not named:  # and every other subset gives a status
            if not name.endswith(("_open", "_open_at")):
                getattr(library.c, f"edgead_{name}")(*changed)
            continue
        with pytest.raises(refused, match=rf"^({'|'.join(named)}) is NULL, expected") as caught:
            library.call(name, *changed)
        assert caught.value.status == "INPUT"
        assert given.made.value is None
    if name.endswith("_close") or name in ("api_version", "version", "engine", "status_text"):
        return
    if name == "last_error":
        return
    library.call(name, *fitting)
    if given.made.value is not None:  # what was opened
        close = "session_close" if name == "session_open" else "detector_close"
        getattr(library.c, f"edgead_{close}")(given.made)


STRUCTS = {
    "params": (Params, "detector_open", Params.log.offset),
    "frame": (Frame, "session_prepare", Frame.chroma.offset),
    "result": (Verdict, "session_score", ctypes.sizeof(Verdict)),
    "info": (Info, "detector_info", ctypes.sizeof(Info)),
    "stats": (Stats, "session_stats", ctypes.sizeof(Stats)),
}
IN = ("params", "frame")


def laid_out(given: Given, name: str, size: int, beyond: bytes) -> Any:
    """A struct of ``size`` bytes: ours, and after it what a newer header may have."""
    kind = STRUCTS[name][0]
    own = kind(size, 0, 1) if name == "params" else kind(size)
    if name == "frame":
        own = given.frame()
        own.struct_size = size
    return ctypes.create_string_buffer(bytes(own) + beyond + b"guard", ctypes.sizeof(kind) + 64)


def call_with(library: Any, given: Given, name: str, memory: Any) -> None:
    function = STRUCTS[name][1]
    arguments = functions()[function]
    values = given.to(function, arguments)
    values[[one for one, _ in arguments].index(name)] = memory
    library.call(function, *values)
    if given.made.value is not None:
        library.c.edgead_detector_close(given.made)
        given.made.value = None


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_of_other_headers(
    library: Any, refused: type[Exception], given: Given, name: str
) -> None:
    kind, _, first = STRUCTS[name]
    size = ctypes.sizeof(kind)
    # A newer header, whose fields beyond ours are not set.
    memory = laid_out(given, name, size + 16, bytes(16))
    call_with(library, given, name, memory)
    assert memory.raw[size : size + 21] == bytes(16) + b"guard"
    memory = laid_out(given, name, size + 16, b"\1" * 16)
    if name in IN:
        with pytest.raises(refused, match=f"{name} has {size + 16} bytes of which .* {size}"):
            call_with(library, given, name, memory)
        assert memory.raw[size : size + 16] == b"\1" * 16
    else:
        call_with(library, given, name, memory)
        assert memory.raw[size : size + 21] == bytes(16) + b"guard"
    # An older one, whose struct ends before ours: what lies behind it is neither read nor written.
    memory = laid_out(given, name, first, b"")
    end = memory.raw[first:]
    memory[first : len(memory)] = b"\xee" * len(end)
    call_with(library, given, name, memory)
    assert memory.raw[first:] == b"\xee" * len(end)
    for wrong in (0, 8, first - 8, first - 1, 4097, 2**40, 2**64 - 1):
        memory = laid_out(given, name, wrong, b"")
        with pytest.raises(refused, match=f"{name}->struct_size is {wrong}, expected {size}"):
            call_with(library, given, name, memory)


@contextmanager
def listening(**params: Any) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """What was logged, as (user data, level, sentence, thread), and the parameters for it."""
    heard: list[Any] = []

    @LOG
    def log(user: int, level: int, sentence: bytes) -> None:
        heard.append((user, level, sentence.decode(), threading.get_ident()))

    yield heard, {"log": ctypes.cast(log, ctypes.c_void_p), "log_user_data": 77, **params}


def test_the_log_is_told_what_happens(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray
) -> None:
    with listening() as (heard, params), library.detector(bundle_dir, **params) as handle:
        info = library.info(handle)
        assert [entry[:2] for entry in heard] == [(77, INFO)]
        for word in ("device", "version", "precision", "kernels"):
            assert getattr(info, word).decode() in heard[0][2]
        assert "3 golden frames" in heard[0][2] and str(bundle_dir) in heard[0][2]
        with library.session(handle) as session:
            session.score(frame, "BGR")
            assert heard[1][1] == WARNING and "edgead_session_prepare" in heard[1][2]
            session.score(frame, "BGR")
            assert len(heard) == 2
            library.call("detector_set_false_reject_rate", handle, 0.5)
            assert heard[2][1] == INFO and "rate 0.5" in heard[2][2]
            with pytest.raises(refused) as caught:
                session.score(frame, "GRAY16", 99)
            assert heard[3][1:3] == (ERROR, str(caught.value))
            assert {entry[3] for entry in heard} == {threading.get_ident()}
            thread = threading.Thread(target=session.score, args=(frame[:50], "BGR"))
            thread.start()
            thread.join()
            assert len(heard) == 5 and heard[4][3] == thread.ident


@pytest.mark.parametrize("level", [0, ERROR, WARNING, INFO])
def test_the_log_has_a_level(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray, level: int
) -> None:
    with (
        listening(log_level=level) as (heard, params),
        library.serving(bundle_dir, **params) as session,
    ):
        session.score(frame, "BGR")
        with pytest.raises(refused):
            session.score(frame, "GRAY8", 9)
    most = level or INFO
    assert [entry[1] for entry in heard] == [one for one in (INFO, WARNING, ERROR) if one <= most]


@pytest.mark.parametrize("level", [-1, 4, 2**31 - 1])
def test_no_such_level(
    library: Any, refused: type[Exception], bundle_dir: Path, level: int
) -> None:
    with pytest.raises(refused, match=f"log_level is {level}, expected"):
        library.open(bundle_dir, log_level=level)


def test_the_log_is_told_of_a_bundle_that_does_not_open(
    library: Any, refused: type[Exception], tmp_path: Path
) -> None:
    with listening() as (heard, params):
        with pytest.raises(refused) as caught:
            library.open(tmp_path, **params)
        assert [entry[1:3] for entry in heard] == [(ERROR, str(caught.value))]


def test_the_watchdog_sees_a_session(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray
) -> None:
    with library.serving(bundle_dir) as session:
        before = session.stats()
        assert (before.scored, before.failed, before.last_ms, before.worst_ms) == (0, 0, 0, 0)
        assert before.running_ms == 0 and before.idle_ms > 0
        took = []
        for _ in range(3):
            total = session.score(frame, "BGR").total_ms
            stats = session.stats()
            assert stats.last_ms >= total > 0  # the whole call
            took.append(stats.last_ms)
            assert stats.worst_ms == max(took) and stats.running_ms == 0
        with pytest.raises(refused):
            session.score(frame, "GRAY8", 9)
        with pytest.raises(refused):
            library.call("session_score", session.handle, None, None)
        stats = session.stats()
        assert (stats.scored, stats.failed) == (3, 2)
        assert session.stats().idle_ms >= stats.idle_ms > 0


def test_the_watchdog_sees_a_call_in_progress(
    library: Any, refused: type[Exception], bundle_dir: Path, frame: np.ndarray
) -> None:
    # The log function is called while the frame is scored: by it, and so by another thread.
    seen: list[Any] = []

    @LOG
    def log(_user: int, level: int, _sentence: bytes) -> None:
        if level != WARNING:
            return
        threads = [threading.Thread(target=look), threading.Thread(target=use)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def look() -> None:
        seen.append(session.stats())

    def use() -> None:
        for call in (lambda: session.score(frame, "BGR"), session.regions, session.map_size):
            with pytest.raises(refused, match="the session is in use by another thread"):
                call()
        seen.append("refused")

    params = {"log": ctypes.cast(log, ctypes.c_void_p)}
    with library.serving(bundle_dir, **params) as session:
        score = session.score(frame, "BGR").score
        (stats,) = (one for one in seen if one != "refused")
        assert len(seen) == 2
        assert stats.running_ms > 0 and stats.idle_ms == 0 and stats.scored == 0
        assert session.score(frame, "BGR").score == score
        assert (session.stats().scored, session.stats().failed) == (2, 0)


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


def not_finite_in_the_dark(model: bytes, output: str) -> bytes:
    """The graph, of which one output is NaN where the image's darkest pixel is almost black."""
    import onnx
    from onnx import helper, numpy_helper

    made = onnx.load_model_from_string(model)
    for node in made.graph.node:
        node.output[:] = [f"{name}_own" if name == output else name for name in node.output]
        node.input[:] = [f"{name}_own" if name == output else name for name in node.input]
    constants = {"lifted_by": 1.7, "nothing": 0.0}
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
