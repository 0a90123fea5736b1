"""Hands csrc/ to CMake and pybind11; everything else is in pyproject.toml.

EDGEAD_CUDA=AUTO|ON|OFF     build edgead._cuda where nvcc is found, always, or never (AUTO)
EDGEAD_CUDA_ARCHITECTURES   CMake list, for example "87-real" (all supported ones)
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def tool(name: str) -> "str | None":
    """Path of cmake or ninja: the wheel beside this interpreter, else the one on PATH."""
    try:
        module = __import__(name)
        directory = getattr(module, "CMAKE_BIN_DIR", None) or getattr(module, "BIN_DIR", "")
    except ImportError:
        directory = ""
    beside = os.path.dirname(sys.executable)
    return shutil.which(name, path=os.pathsep.join((directory, beside, os.environ["PATH"])))


def remove_cuda(folder: Path) -> None:
    """What an earlier build with CUDA left must not stay when this one is without."""
    for stale in folder.glob("_cuda.*"):
        if stale.suffix != ".pyi":
            stale.unlink()


class CMakeBuild(build_ext):
    """Configures, builds and installs csrc/ beside the place of edgead._cpu."""

    def copy_extensions_to_source(self) -> None:  # the last step of an editable installation
        remove_cuda(ROOT / "edgead")
        super().copy_extensions_to_source()

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        if ext.name == "edgead._cuda":
            return  # CMake made it together with _cpu, where there is nvcc

        cmake, ninja = tool("cmake"), tool("ninja")
        if cmake is None:
            raise SystemExit("edgead: building needs CMake 3.24 or newer: pip install cmake ninja")
        # Kept between builds, also between an editable and an isolated one. Whatever pip deletes
        # afterwards (ninja, pybind11) is named again on each call: it overrides the stale cache.
        tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
        build = ROOT / "build" / f"cmake-{tag}"
        place = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        configure = [cmake, "-S", str(ROOT / "csrc"), "-B", str(build)]
        configure += [f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Release"]
        configure += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
        configure += [f"-DEDGEAD_CUDA={os.environ.get('EDGEAD_CUDA', 'AUTO')}"]
        configure += [f"-DEDGEAD_ARCHITECTURES={os.environ.get('EDGEAD_CUDA_ARCHITECTURES', '')}"]
        if ninja is not None:
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        jobs = str(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", os.cpu_count() or 1))
        try:
            subprocess.run(configure, check=True)
        except subprocess.CalledProcessError:  # a cache of another generator, compiler or folder
            shutil.rmtree(build, ignore_errors=True)
            subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build), "-j", jobs], check=True)
        remove_cuda(place)
        subprocess.run([cmake, "--install", str(build), "--prefix", str(place)], check=True)


setup(
    ext_modules=[
        Extension("edgead._cpu", sources=[]),
        Extension("edgead._cuda", sources=[], optional=True),
    ],
    cmdclass={"build_ext": CMakeBuild},
)
