"""libedgead with its TensorRT engine on a SIMULATED GPU (simulated/simulated.h): built from the
objects of the library that is installed, and steered. Nothing that it shows may be called run on a
GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import KERNELS  # type: ignore[import-not-found]

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent / "simulated"
CSRC = ROOT / "csrc"

CHOICE = "engines.cpp"  # it knows which engines are in
FLAGS = (
    *("-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-fPIC", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-DEDGEAD_OPENVINO", "-DEDGEAD_TENSORRT"),
    '-DEDGEAD_CUDA_ARCHITECTURES="simulated"',
    *(f"-I{CSRC / folder}" for folder in ("kernels", "bundle", "include", "runtime")),
    *(f"-I{CSRC / 'runtime' / 'nvidia'}", f"-I{HERE}"),
)


def sources() -> list[Path]:
    """What is compiled against the simulation, and the simulation."""
    found = [*(CSRC / "runtime" / "nvidia").glob("*.cpp"), CSRC / "runtime" / CHOICE]
    return sorted([*found, *HERE.glob("*.cpp")])


class Builder:
    """Compiles ``sources`` into ``folder``, and links the library.

    Args:
        installed: where libedgead is, with libedgead.a.
        cuda: objects of the CUDA kernels on the CPU (tests/cuda_on_cpu).
        openvino: folder of the package.
    """

    def __init__(self, folder: Path, installed: Path, cuda: Path, openvino: Path) -> None:
        self.folder, self.installed, self.cuda = folder, installed, cuda
        self.openvino = openvino
        self.objects: dict[str, Path] = {}

    def compile(self, source: Path, folder: Path | None = None) -> Path:
        """The object of one file; headers beside it go before those of csrc."""
        made = (folder or self.folder) / f"{source.stem}.o"
        include = (f"-I{source.parent}", *FLAGS, "-isystem", str(self.openvino / "include"))
        command = ["g++", *include, "-c", str(source), "-o", str(made)]
        subprocess.run(command, check=True)
        if folder is None:
            self.objects[source.name] = made
        return made

    def compile_all(self) -> None:
        """All ``sources``."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.compile, sources()))

    def find(self) -> None:
        """What ``compile_all`` made before."""
        self.objects = {one.name: self.folder / f"{one.stem}.o" for one in sources()}

    def archive(self) -> Path:
        """The objects of libedgead but the choice of engines."""
        own = self.folder / "libedgead.a"
        if not own.exists():
            shutil.copy(self.installed / "lib" / "libedgead.a", own)
            subprocess.run(["ar", "d", str(own), f"{CHOICE}.o"], check=True)
        return own

    def link(self, path: Path, changed: Mapping[str, Path] | None = None) -> Path:
        """The library, with other objects in the place of some."""
        own = {**self.objects, **(changed or {})}
        cuda = [self.cuda / f"{source.stem}.o" for source in KERNELS]
        runtime = next((self.openvino / "libs").glob("libopenvino.so*"))
        rpath = f"-Wl,-rpath,{runtime.parent}"
        whole = ["-Wl,--whole-archive", self.archive(), "-Wl,--no-whole-archive"]
        files = [*own.values(), *cuda, self.cuda / "cuda_on_cpu.o", *whole, runtime]
        command = ["g++", "-shared", *files, rpath, "-lpng", "-lpthread", "-o", path]
        subprocess.run(list(map(str, command)), check=True)
        return path


class Machine:
    """What the simulated machine is told; ``c``: the loaded library."""

    def __init__(self, c: Any) -> None:
        self.c = c
        c.simulated_faults.restype = ctypes.c_char_p
        c.simulated_machine.argtypes = (
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_size_t,
        )

    def reset(self) -> None:
        self.c.simulated_reset()

    def be(
        self,
        *,
        devices: int = 1,
        integrated: bool = False,
        version: str = "10.3.0",
        free_bytes: int = 0,
    ) -> None:
        self.c.simulated_machine(devices, integrated, version.encode(), free_bytes)

    def plant(self, call: str, error: int, number: int = 1) -> None:
        """The ``number``-th call from now on gives this cudaError_t."""
        self.c.simulated_plant(call.encode(), number, error)

    def refuse(self, call: str, text: str) -> None:
        """TensorRT's ``call`` gives nothing, and logs ``text``."""
        self.c.simulated_refuse(call.encode(), text.encode())

    def calls(self, name: str) -> int:
        return int(self.c.simulated_calls(name.encode()))

    def alive(self) -> int:
        return int(self.c.simulated_alive())

    def faults(self) -> str:
        return str(self.c.simulated_faults().decode())
