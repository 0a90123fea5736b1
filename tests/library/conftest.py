"""libedgead as Python sees it through ctypes: built once, then driven like any C program."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent))

from c_structs import Frame, Info, Params, Region, Stats, Verdict  # type: ignore[import-not-found]
from signal_bundles import write_tiled, write_with_signals  # type: ignore[import-not-found]

ROOT = Path(__file__).resolve().parents[2]
FORMATS = {
    "GRAY8": 1,
    "GRAY16": 2,
    "BGR": 3,
    "RGB": 4,
    "BGRX": 5,
    "RGBX": 6,
    "BGR16": 7,
    "RGB16": 8,
    "GRAY10": 9,
    "GRAY12": 10,
    "NV12": 11,
}
STATUSES = ("OK", "INPUT", "CALIBRATION", "BUNDLE", "DEVICE", "QUALIFICATION", "UNSUPPORTED",
            "VERSION", "MEMORY", "INTERNAL", "SIGNATURE")  # fmt: skip


class Refused(Exception):
    """A status that is not EDGEAD_OK, as a word of STATUSES, and the sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Library:
    """The functions of edgead.h; a status that is not EDGEAD_OK raises Refused."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        for name in ("status_text", "version", "engine"):
            getattr(self.c, f"edgead_{name}").restype = ctypes.c_char_p
        self.c.edgead_last_error.restype = ctypes.c_size_t
        self.c.edgead_last_error.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
        self.c.edgead_detector_set_false_reject_rate.argtypes = (ctypes.c_void_p, ctypes.c_double)
        rows = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t)
        self.c.edgead_session_map.argtypes = self.c.edgead_session_heatmap.argtypes = rows
        for name in ("detector_close", "session_close"):
            getattr(self.c, f"edgead_{name}").restype = None

    def last_error(self) -> str:
        text = ctypes.create_string_buffer(4096)
        self.c.edgead_last_error(text, len(text))
        return text.value.decode("utf-8", "surrogateescape")

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.c, f"edgead_{name}")(*arguments)
        if status != 0:
            word = STATUSES[status] if status < len(STATUSES) else str(status)
            raise Refused(word, self.last_error())

    def info(self, detector: Any) -> Info:
        info = Info(ctypes.sizeof(Info))
        self.call("detector_info", detector, ctypes.byref(info))
        return info

    def open(
        self,
        path: Path | str | int,
        *,
        threads: int = 1,
        rate: float = 0.0,
        precision: str | None = None,
        device: str | None = None,
        trusted_keys: Path | None = None,
        **more: Any,
    ) -> Any:
        """A detector, to be closed; of a path, or of a descriptor."""
        handle = ctypes.c_void_p()
        words = {"precision": precision, "device": device, "trusted_keys": trusted_keys}
        asked = {k: None if word is None else str(word).encode() for k, word in words.items()}
        params = Params(ctypes.sizeof(Params), rate, threads, **asked, **more)
        name, which = path, "detector_open_at"
        if not isinstance(path, int):
            name, which = str(path).encode("utf-8", "surrogateescape"), "detector_open"
        self.call(which, 1, name, ctypes.byref(params), ctypes.byref(handle))
        return handle

    @contextmanager
    def detector(self, path: Path | int, **options: Any) -> Iterator[Any]:
        handle = self.open(path, **options)
        try:
            yield handle
        finally:
            self.c.edgead_detector_close(handle)

    @contextmanager
    def session(self, detector: Any) -> Iterator[Session]:
        handle = ctypes.c_void_p()
        self.call("session_open", detector, ctypes.byref(handle))
        try:
            yield Session(self, handle)
        finally:
            self.c.edgead_session_close(handle)

    @contextmanager
    def serving(self, path: Path | int, **options: Any) -> Iterator[Session]:
        with self.detector(path, **options) as detector, self.session(detector) as session:
            yield session


class Session:
    """A session of C; frames are NumPy arrays in the memory order that the format says."""

    def __init__(self, library: Library, handle: Any) -> None:
        self.library, self.handle = library, handle

    def score(self, array: np.ndarray, kind: str, bit_depth: int = 0) -> Verdict:
        return self.score_frame(frame_of(array, kind, bit_depth))

    def score_frame(self, frame: Frame) -> Verdict:
        verdict = Verdict(ctypes.sizeof(Verdict))
        self.library.call("session_score", self.handle, ctypes.byref(frame), ctypes.byref(verdict))
        return verdict

    def rows(self, what: str, size: tuple[int, int]) -> np.ndarray:
        """``map`` or ``heatmap``, through rows that are longer than asked for."""
        out = np.full((size[0], size[1] + 3), np.nan, np.float32)
        self.library.call(
            f"session_{what}", self.handle, out.ctypes.data, out.strides[0], out.nbytes
        )
        assert np.isnan(out[:, size[1] :]).all()
        return out[:, : size[1]]

    def map_size(self) -> tuple[int, int]:
        height, width = ctypes.c_int32(), ctypes.c_int32()
        sizes = ctypes.byref(height), ctypes.byref(width)
        self.library.call("session_map_size", self.handle, *sizes)
        return height.value, width.value

    def stats(self) -> Stats:
        stats = Stats(ctypes.sizeof(Stats))
        self.library.call("session_stats", self.handle, ctypes.byref(stats))
        return stats

    def regions(self) -> list[tuple[float, ...]]:
        count = ctypes.c_size_t()
        self.library.call("session_regions", self.handle, None, 0, ctypes.byref(count))
        found = (Region * max(count.value, 1))()
        self.library.call("session_regions", self.handle, found, count, ctypes.byref(count))
        names = ("x", "y", "width", "height", "area", "peak")
        return [tuple(getattr(r, name) for name in names) for r in found[: count.value]]


def frame_of(array: np.ndarray, kind: str, bit_depth: int = 0) -> Frame:
    """An array as an edgead_frame; not copied."""
    height, width = array.shape[:2]
    return Frame(
        ctypes.sizeof(Frame),
        array.ctypes.data,
        height,
        width,
        array.strides[0],
        FORMATS[kind],
        bit_depth,
    )


def script_of(name: str) -> Any:
    """csrc/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"csrc/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(folder: Path, kind: str, *options: str) -> Path:
    """libedgead in ``folder``, built where a file of csrc is newer; kept from run to run."""
    script = script_of("build_library")
    for program in ("cmake", "c++", "cc", "strip"):
        if shutil.which(program) is None and not (Path(sys.executable).parent / program).exists():
            pytest.skip(f"{program} is not installed")
    if not (script.package("openvino") / "include").is_dir():
        pytest.skip("this OpenVINO has no headers")
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        script.build(folder, kind, *options)
    return folder


@pytest.fixture(scope="session")
def abi() -> Any:
    """csrc/abi.py as a module."""
    return script_of("abi")


@pytest.fixture(scope="session")
def build() -> Any:
    """``build(folder, kind, *options)``; see ``built``."""
    return built


@pytest.fixture(scope="session")
def installed() -> Path:
    """The folder into which `make c-library` installs, built."""
    return built(ROOT / "build" / "c", "Release")


@pytest.fixture(scope="session")
def library(installed: Path) -> Library:
    """The library that is installed there."""
    return Library(installed / "lib" / "libedgead.so")


@pytest.fixture(scope="session")
def library_class() -> type[Library]:
    """For another library than the one that is installed."""
    return Library


@pytest.fixture(scope="session")
def refused() -> type[Refused]:
    return Refused


@pytest.fixture(scope="session")
def as_c_frame() -> Any:
    """``as_c_frame(array, kind, bit_depth)``; see ``frame_of``."""
    return frame_of


@pytest.fixture(scope="session")
def with_signals(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a pair, memories and whitenings of every kind; not to be changed."""
    path = tmp_path_factory.mktemp("signals") / "compared.edgead"
    write_with_signals(tiny, path, 0)
    return path


@pytest.fixture(scope="session")
def tiled(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a pair and signals that sees frames in tiles; not to be changed."""
    return write_tiled(tiny, tmp_path_factory.mktemp("tiled"), 1)


@pytest.fixture(scope="session")
def compiled(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``compiled(source, *options)``: a program of tests/library against the installed library."""

    def make(source: str, *options: str) -> Path:
        program = tmp_path_factory.mktemp("program") / Path(source).stem
        compiler = "cc" if source.endswith(".c") else "c++"
        command = [
            *(compiler, "-O1", "-Wall", "-Wextra", Path(__file__).parent / source, "-o", program),
            *(f"-I{installed / 'include'}", f"-L{installed / 'lib'}", "-ledgead", "-ldl"),
            *(f"-Wl,-rpath,{installed / 'lib'}", *options),
        ]
        subprocess.run(list(map(str, command)), check=True)
        return program

    return make
