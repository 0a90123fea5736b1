"""Builds tests/native, of each of the types in its CMakeLists.txt; type Fuzz with tests/fuzz."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

HERE = Path(__file__).resolve().parent
BUILDS = HERE.parents[1] / "build"

# What a compiler must be able to build and run for a CMAKE_BUILD_TYPE of CMakeLists.txt.
FLAGS = {
    "Release": [],
    "Asan": ["-fsanitize=address,undefined"],
    "Tsan": ["-fsanitize=thread"],
    "Fuzz": ["-fsanitize=fuzzer,address,undefined"],
}
EMPTY = {
    kind: "int main() { return 0; }" if kind != "Fuzz" else
    'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }'
    for kind in FLAGS
}  # fmt: skip


@cache
def tool(*names: str) -> str:
    """The first of these that is installed, beside this Python or on PATH; skips without one."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for name in names:
        if found := shutil.which(name, path=places):
            return found
    pytest.skip(f"{' and '.join(names)}: not installed")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600)


@cache
def built(kind: str, folder: Path) -> Path:
    """The folder of one build type. Builds are kept in build/, so that only changes cost time."""
    compiler = tool("clang++") if kind == "Fuzz" else tool(os.environ.get("CXX", "c++"))
    probe, source = folder / f"probe_{kind}", folder / f"probe_{kind}.cpp"
    source.write_text(EMPTY[kind])
    works = run(compiler, *FLAGS[kind], source, "-o", probe).returncode == 0
    if not works or run(probe, *["-runs=1"] * (kind == "Fuzz")).returncode != 0:
        pytest.skip(f"{compiler} cannot build and run {' '.join(FLAGS[kind])} here")
    cmake, build = tool("cmake"), BUILDS / f"native-{kind.lower()}"
    options = [f"-DCMAKE_BUILD_TYPE={kind}", f"-DCMAKE_CXX_COMPILER={compiler}"]
    if kind == "Fuzz":  # of tests/fuzz, which reads JSON and PNG files as libedgead does
        options.append(f"-DCMAKE_C_COMPILER={tool('clang')}")
        if found := importlib.util.find_spec("nlohmann_json"):
            options.append(f"-DCMAKE_PREFIX_PATH={Path(str(found.origin)).parent}")
    BUILDS.mkdir(exist_ok=True)
    with FileLock(f"{build}.lock"):  # of another worker or another run
        done = run(cmake, "-S", HERE, "-B", build, *options)
        if done.returncode == 0:
            done = run(cmake, "--build", build, "--parallel", os.cpu_count() or 1)
    assert done.returncode == 0, done.stdout + done.stderr
    return build
