"""``make wheel``, ``make wheel-aarch64``: a wheel for machines without a compiler or a toolkit.

Usage: build_wheel.py [aarch64]. Writes into dist/ and ends with one line of JSON:
{"wheels": [{"file", "tag", "bytes", "modules": {NAME: bytes}}]}.

A wheel is for one version of Python, that of the interpreter which runs this. With ``aarch64`` it
is compiled on another machine, by Debian's g++-aarch64-linux-gnu. Where there is an nvcc
(EDGEAD_CUDA and EDGEAD_CUDA_ARCHITECTURES as of setup.py), it has the CUDA kernels with CUDA's
runtime in them, so that a device needs NVIDIA's driver alone, one for nvcc's CUDA or newer. For
another machine they are linked with CUDA's libraries for it, which lie in the folder EDGEAD_CUDART:
that of NVIDIA's package nvidia-cuda-runtime for that machine, on PyPI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def main() -> None:
    """Build one wheel."""
    machine = "".join(sys.argv[1:])
    if machine not in ("", "aarch64"):
        raise SystemExit(f"build_wheel: {machine!r}: expected aarch64, or nothing for this machine")
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(DIST)]
    environment = {**os.environ, **(cross(machine) if machine else {})}
    subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=sys.stderr)
    newest = max(DIST.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)
    print(json.dumps({"wheels": [described(newest)]}))


def cross(machine: str) -> dict[str, str]:
    """What tells setuptools, pybind11 and CMake that the wheel is for another machine."""
    if not sysconfig.get_config_var("EXT_SUFFIX").endswith("-linux-gnu.so"):
        raise SystemExit("build_wheel: a wheel for another machine is built on Linux with glibc")
    given = {
        "CMAKE_TOOLCHAIN_FILE": str(ROOT / f"csrc/{machine}.cmake"),
        "SETUPTOOLS_EXT_SUFFIX": f".{sys.implementation.cache_tag}-{machine}-linux-gnu.so",
        "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
    }
    if os.environ.get("EDGEAD_CUDART"):
        given["CUDACXX"] = str(cross_toolkit(machine, Path(os.environ["EDGEAD_CUDART"]).resolve()))
        given["EDGEAD_CUDA"] = "ON"
    else:
        given["EDGEAD_CUDA"] = "OFF"
    return given


def cross_toolkit(machine: str, libraries: Path) -> Path:
    """nvcc of a folder as NVIDIA's packages for cross-compiling make it, beside what is there."""
    if not (libraries / "libcudart_static.a").exists():
        raise SystemExit(f"build_wheel: EDGEAD_CUDART={libraries}: no libcudart_static.a there")
    said = subprocess.run(["nvcc", "--dryrun", "-v", "-c", "x.cu"], capture_output=True, text=True)
    tops = [line.partition("TOP=")[2] for line in said.stderr.splitlines() if "TOP=" in line]
    if not tops:
        raise SystemExit("build_wheel: nvcc is not on PATH: install CUDA, or unset EDGEAD_CUDART")
    top, folder = Path(tops[0]).resolve(), ROOT / f"build/cuda-{machine}"
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / f"targets/{machine}-linux"
    for place in (folder / "bin", target / "lib"):
        place.mkdir(parents=True)
    for tool in (top / "bin").iterdir():
        if tool.name == "nvcc":  # which looks for everything around itself
            shutil.copy(tool, folder / "bin")
        else:
            (folder / "bin" / tool.name).symlink_to(tool)
    (folder / "nvvm").symlink_to(top / "nvvm")
    (target / "include").symlink_to((top / "include").resolve())
    for library in libraries.iterdir():
        name = "libcudart.so" if library.name.startswith("libcudart.so") else library.name
        (target / "lib" / name).symlink_to(library)
    return folder / "bin/nvcc"


def described(wheel: Path) -> dict[str, object]:
    """What the wheel is, and how large its modules are as they are packed."""
    with zipfile.ZipFile(wheel) as packed:
        modules = {
            Path(one.filename).name.partition(".")[0]: one.compress_size
            for one in packed.infolist()
            if one.filename.endswith(".so")
        }
    tag = wheel.stem.split("-", 2)[2]
    return {
        "file": str(wheel.relative_to(ROOT)),
        "tag": tag,
        "bytes": wheel.stat().st_size,
        "modules": modules,
    }


if __name__ == "__main__":
    main()
