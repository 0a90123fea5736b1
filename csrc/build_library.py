"""``make c-library``: build libedgead with this Python's OpenVINO and nlohmann-json.

Usage: build_library.py [FOLDER [CMAKE_BUILD_TYPE]]. Installs into FOLDER (build/c), builds beside
it, and ends with one line of JSON: where library, headers and edgead.pc are, the engines, and the
bytes of the stripped libraries.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str) -> str:
    """The program beside this Python, or on PATH."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found = shutil.which(name, path=places)
    if found is None:
        raise SystemExit(f"build_library: there is no {name}: install it")
    return found


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"build_library: there is no Python package {name}: pip install -e '.[test]'"
        )
    return Path(spec.origin).parent


def build(folder: Path, kind: str = "Release", *options: str) -> None:
    """Configure, build and install into ``folder``; CMake works in ``folder`` with ``.build``."""
    work = folder.with_name(f"{folder.name}.build")
    cmake, openvino = tool("cmake"), package("openvino")
    # Sanitizers make compilers warn of what is fine.
    strict = os.environ.get("EDGEAD_WERROR", "OFF") if kind == "Release" else "OFF"
    prefixes = [package("nlohmann_json")] if importlib.util.find_spec("nlohmann_json") else []
    command = [
        *(cmake, "-S", ROOT / "csrc", "-B", work),
        f"-DCMAKE_BUILD_TYPE={kind}",
        f"-DCMAKE_INSTALL_PREFIX={folder}",
        "-DCMAKE_INSTALL_BINDIR=bin",  # an older build of this folder had another
        "-DCMAKE_INSTALL_LIBDIR=lib",
        f"-DCMAKE_PREFIX_PATH={';'.join(map(str, prefixes))}",
        f"-DOpenVINO_DIR={openvino / 'cmake'}",
        f"-DCMAKE_COMPILE_WARNING_AS_ERROR={strict}",
        "-DEDGEAD_CUDA=OFF",
        *options,
    ]
    for step in (
        command,
        [cmake, "--build", work, "--parallel", str(os.cpu_count() or 1)],
        [cmake, "--install", work],
    ):
        done = subprocess.run(list(map(str, step)), stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout)
    beside = folder / "edgead-score"
    beside.unlink(missing_ok=True)
    beside.symlink_to("bin/edgead-score")


def bytes_stripped(folder: Path) -> int:
    """Of libedgead.so and its library for OpenVINO, without symbols; OpenVINO is not counted."""
    found = 0
    with tempfile.TemporaryDirectory() as place:
        stripped = Path(place) / "stripped.so"
        for library in ("lib/libedgead.so", "lib/edgead/libedgead_openvino.so.1"):
            if (folder / library).exists():
                subprocess.run([tool("strip"), "-o", stripped, folder / library], check=True)
                found += stripped.stat().st_size
    return found


def _signatures(folder: Path) -> str:
    """What checks signatures of bundles: "libcrypto", or "none" where that is not built in."""
    cache = (folder.with_name(f"{folder.name}.build") / "CMakeCache.txt").read_text()
    return "libcrypto" if "EDGEAD_SIGNATURES:BOOL=ON\n" in cache else "none"


def described(folder: Path) -> dict[str, object]:
    """What the line of JSON says."""
    library = folder / "lib" / "libedgead.so"
    loaded = ctypes.CDLL(str(library))
    loaded.edgead_engine.restype = ctypes.c_char_p
    loaded.edgead_engine.argtypes = loaded.edgead_engine_check.argtypes = (ctypes.c_size_t,)
    engines = []
    while name := loaded.edgead_engine(len(engines)):
        if loaded.edgead_engine_check(len(engines)) != 0:
            why = ctypes.create_string_buffer(4096)
            loaded.edgead_last_error(why, ctypes.c_size_t(len(why)))
            raise SystemExit(f"build_library: {name.decode()}: {why.value.decode()}")
        engines.append(name.decode())
    return {
        "library": str(library),
        "headers": str(folder / "include"),
        "pkg_config": str(folder / "lib" / "pkgconfig" / "edgead.pc"),
        "engines": engines,
        "signatures": _signatures(folder),
        "bytes_stripped": bytes_stripped(folder),
    }


def main(arguments: list[str]) -> None:
    """Build, and say where everything is."""
    folder = Path(arguments[0]).resolve() if arguments else ROOT / "build" / "c"
    build(folder, *arguments[1:])
    print(json.dumps(described(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
