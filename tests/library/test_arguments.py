"""Every function of edgead.h with every pointer NULL, and structs of other headers."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_structs import Frame, Info, Params, Region, Stats, Verdict  # type: ignore[import-not-found]

HEADER = (Path(__file__).resolve().parents[2] / "csrc/include/edgead.h").read_text()


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
    "info": (Info, "detector_info", Info.chosen.offset),
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
