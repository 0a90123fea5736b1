"""edgead's CUDA kernels as nvcc compiles them for compute_87: the host's code as a library whose
launches come here, the device's code as PTX for the interpreter.

Cases and their files are those of tests/cuda_on_cpu (``run_cases.cpp``), the execution is not.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cuda_on_cpu"))

from harness import CSRC, HOST, KERNELS, Case, read_outputs
from harness import HERE as SIMULATION
from interpreter.machine import launch
from interpreter.memory import Memory, Place, Traffic
from interpreter.program import Program
from interpreter.text import PtxError, parse

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c++17", "-O3", f"-I{CSRC}", f"-I{SIMULATION}")
DEVICE = ("-gencode", "arch=compute_87,code=compute_87")
LAUNCH = ctypes.CFUNCTYPE(
    None,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_uint),
    ctypes.POINTER(ctypes.c_uint),
    ctypes.POINTER(ctypes.c_void_p),
)
WATCH = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


def nvcc() -> str:
    """Where it is; skips the test where there is none."""
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("nvcc is not installed")
    return found


def build(folder: Path) -> None:
    """The library and the PTX of every kernel's file."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*map(str, KERNELS), *map(str, HOST), str(HERE / "runtime.cpp")]
    command = [nvcc(), *FLAGS, *DEVICE, "-cudart", "none", "-shared", "-Xcompiler", "-fPIC"]
    command += ["--keep", "--keep-dir", str(folder), "-o", str(folder / "kernels.so"), *sources]
    subprocess.run(command, check=True, cwd=folder)


def compile_ptx(source: Path, folder: Path) -> Path:
    """PTX of one file."""
    path = folder / f"{source.stem}.ptx"
    command = [nvcc(), *FLAGS, f"-I{source.parent}", "-arch=compute_87", "--ptx"]
    subprocess.run([*command, str(source), "-o", str(path)], check=True)
    return path


def plain(name: str) -> str:
    """A kernel's name without the marks of its file, which depend on where that lies."""
    return re.sub(r"\d+_GLOBAL__N__[0-9a-f]{8}_\d+_\w+?_cu_[0-9a-f]{8}(_\d+)?", "", name)


def programs(text: str) -> dict[str, Program]:
    """The kernels of a PTX file."""
    return {plain(name): Program(kernel) for name, kernel in parse(text).items()}


@dataclass
class Device:
    """Runs cases: the host's code in this process, its launches in the interpreter."""

    library: Path
    programs: dict[str, Program]
    count_traffic: bool = False
    races: bool = True
    traffic: list[tuple[str, Traffic]] = field(default_factory=list)  # of each launch
    launched: set[str] = field(default_factory=set)
    _buffers: list[tuple[str, int, int]] = field(default_factory=list)
    _problem: BaseException | None = None

    @staticmethod
    def of(folder: Path, **options: Any) -> Device:
        """From what :func:`build` left."""
        found: dict[str, Program] = {}
        for source in KERNELS:
            found |= programs((folder / f"{source.stem}.ptx").read_text())
        return Device(folder / "kernels.so", found, **options)

    def with_programs(self, changed: Mapping[str, Program]) -> Device:
        """Others for some kernels."""
        return Device(self.library, {**self.programs, **changed})

    def run(self, case: Case, folder: Path) -> list[np.ndarray]:
        """The arrays that a case gives; :class:`PtxError` where a kernel does what it must not."""
        folder.mkdir(parents=True, exist_ok=True)
        library = ctypes.CDLL(str(self.library))
        callbacks = LAUNCH(self._launch), WATCH(self._watch)
        library.ptx_connect(*callbacks)
        self._buffers, self._problem = [], None
        (folder / "input").write_bytes(case.data)
        words = [b"run_cases", *(str(folder / name).encode() for name in ("input", "output")), b"0"]
        if library.main(len(words), (ctypes.c_char_p * len(words))(*words)) != 0:
            raise PtxError("run_cases failed")
        if self._problem is not None:
            raise self._problem
        (found,) = read_outputs([case], folder / "output")
        return found

    def _watch(self, name: bytes, begin: int | None, size: int) -> None:
        if size:
            self._buffers.append((name.decode(), begin or 0, size))

    def _launch(self, name: bytes, grid: Any, block: Any, arguments: Any) -> None:
        if self._problem is None:  # else nothing more is of interest
            try:
                self._run_kernel(plain(name.decode()), list(grid[:3]), list(block[:3]), arguments)
            except Exception as problem:
                self._problem = problem

    def _run_kernel(
        self, name: str, grid: Sequence[int], block: Sequence[int], arguments: Any
    ) -> None:
        self.launched.add(name)
        program = self.programs[name]
        traffic = Traffic() if self.count_traffic else None
        memory, places = self._memory(program, traffic)
        given = [
            ctypes.string_at(arguments[i], variable.size)
            for i, variable in enumerate(program.kernel.parameters)
        ]
        launch(program, grid, block, given, memory)
        for place in places:
            data = memory.bytes[place.at : place.at + place.size].tobytes()
            ctypes.memmove(place.begin, data, place.size)
        if traffic is not None:
            self.traffic.append((name, traffic))

    def _memory(self, program: Program, traffic: Traffic | None) -> tuple[Memory, list[Place]]:
        """A copy of every buffer that was handed in, each at the alignment that it has."""
        places, at = [], 0
        for name, begin, size in self._buffers:
            at += begin % 256
            places.append(Place(name, begin, size, at))
            at = (at + size + 1023) // 256 * 256
        granule = program.granule("global") if self.races else None
        memory = Memory("global", places, granule=granule, traffic=traffic)
        for place in places:
            memory.fill(place, ctypes.string_at(place.begin, place.size))
        return memory, places
