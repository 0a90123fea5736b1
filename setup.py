"""Hands csrc/ to CMake and pybind11; everything else is in pyproject.toml.

EDGEAD_CUDA=AUTO|ON|OFF     build edgead.nvidia._cuda where a usable nvcc is found and say where
                            it is left out, fail where it cannot be built, or leave it out (AUTO)
EDGEAD_CUDA_ARCHITECTURES   CMake list, for example "87-real" (all supported ones)
EDGEAD_WERROR=ON            warnings of the compilers are errors, also with AUTO; for CI (OFF)
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
WERROR = os.environ.get("EDGEAD_WERROR", "OFF")
NOT_BUILT = "_cuda.not_built.txt"  # in its place: why there is no _cuda, for edgead doctor


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


def run(*command: str) -> str:
    """The command's output, which is shown as it comes. CalledProcessError has it too."""
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, errors="backslashreplace", **pipes) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, "".join(lines))
    return "".join(lines)


def build_folder(module: str) -> Path:
    """Where CMake builds it; kept between builds, also an editable and an isolated one."""
    return (
        ROOT / "build" / f"cmake-{sys.implementation.cache_tag}-{sysconfig.get_platform()}{module}"
    )


def configure(module: str, cuda: str) -> str:
    """CMake's output. The cache is stale where it names what pip deletes: that is named again."""
    import pybind11

    json = importlib.util.find_spec("nlohmann_json")
    found = str(Path(json.origin).parent / "include") if json and json.origin else None
    options = {
        "EDGEAD_JSON": found or "EDGEAD_JSON-NOTFOUND",  # then CMake looks for the system's
        "Python_EXECUTABLE": sys.executable,
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_COMPILE_WARNING_AS_ERROR": WERROR,
        "EDGEAD_PYTHON": "ON",
        "EDGEAD_LIBRARY": "OFF",
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "EDGEAD_CUDA": cuda,
        "EDGEAD_CUDA_ARCHITECTURES": os.environ.get("EDGEAD_CUDA_ARCHITECTURES", ""),
    }
    if os.environ.get("CMAKE_TOOLCHAIN_FILE"):  # whose Python cannot be asked
        options["Python_INCLUDE_DIR"] = sysconfig.get_path("include")
    cmake, ninja, build = tool("cmake"), tool("ninja"), build_folder(module)
    if cmake is None:
        raise SystemExit("edgead: building needs CMake 3.24 or newer: pip install cmake ninja")
    command = [cmake, "-S", str(ROOT / "csrc"), "-B", str(build)]
    if ninja is not None:
        command += ["-G", "Ninja"]
        options["CMAKE_MAKE_PROGRAM"] = ninja
    command += [f"-D{name}={value}" for name, value in options.items()]
    if cuda != "OFF":  # CMake would go on with the nvcc that it found last time
        return run(*command, "--fresh")
    kept = (build / "CMakeCache.txt").exists()
    try:
        return run(*command)
    except subprocess.CalledProcessError:
        if not kept:
            raise
        return run(*command, "--fresh")  # it was of another generator, compiler or folder


def build_and_install(module: str, place: Path) -> None:
    cmake, build = tool("cmake"), str(build_folder(module))
    jobs = str(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", os.cpu_count() or 1))
    run(cmake, "--build", build, "--target", module, "-j", jobs)
    run(cmake, "--install", build, "--component", module, "--strip", "--prefix", str(place))


def first_error(output: str) -> str:
    """What went wrong: the first line of a compiler that says so, else CMake's message."""
    for line in re.sub(r"\n  (?=\S)", " ", output).splitlines():  # CMake wraps what it quotes
        if re.search(r"\b(error|fatal)\b", line, re.IGNORECASE) and "CMake Error" not in line:
            return line.strip()[:300]
    last = "\n".join(output.splitlines()[-2:])
    message = re.search(r"^CMake Error.*?:\n(.*?)^Call Stack", output, re.MULTILINE | re.DOTALL)
    return " ".join((message[1] if message else last).split())[:300]


def build_cuda(cuda: str, place: Path) -> str:
    """Build edgead.nvidia._cuda into ``place``. Returns "", or why there is none."""
    if cuda == "OFF":
        return "EDGEAD_CUDA=OFF when edgead was installed"
    output = ""
    # pip's nvcc (nvidia-cuda-nvcc), the last to be found on PATH: a toolkit there goes before it.
    wheels = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("cu*/bin"))
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, wheels)])
    try:
        output = configure("_cuda", cuda)
        _, left_out, why = output.partition("-- edgead.nvidia._cuda: not built: ")
        if left_out:
            return why.partition("\n")[0]
        build_and_install("_cuda", place)
        return ""
    except subprocess.CalledProcessError as error:
        if cuda == "ON" or WERROR == "ON":  # CI must not pass over a warning
            raise SystemExit(
                f"edgead: EDGEAD_CUDA={cuda}, EDGEAD_WERROR={WERROR}, and the CUDA kernels cannot "
                "be built, see above; EDGEAD_CUDA=AUTO alone installs edgead without them"
            ) from None
        output += error.output
    used = re.search(r"^-- edgead\.nvidia\._cuda: (nvcc .+)$", output, re.MULTILINE)
    return f"{used[1] if used else 'CMake'} failed: {first_error(output)}"


class CMakeBuild(build_ext):
    """Builds edgead._cpu and then edgead.nvidia._cuda, or the note that says why there is none."""

    def copy_extensions_to_source(self) -> None:  # the last step of an editable installation
        remove_cuda(ROOT / "edgead/nvidia")
        super().copy_extensions_to_source()
        note = Path(self.build_lib, "edgead/nvidia", NOT_BUILT)
        if note.exists():
            shutil.copy(note, ROOT / "edgead/nvidia")

    def build_extension(self, ext: Extension) -> None:
        place = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        cuda = os.environ.get("EDGEAD_CUDA", "AUTO")
        if cuda not in ("AUTO", "ON", "OFF"):
            raise SystemExit(f"edgead: EDGEAD_CUDA is {cuda!r}, expected AUTO, ON or OFF")
        if ext.name == "edgead._cpu":
            try:
                configure("_cpu", "OFF")
                build_and_install("_cpu", place)
            except subprocess.CalledProcessError:
                raise SystemExit("edgead: the CPU kernels cannot be built, see above") from None
            return
        remove_cuda(place)
        why = build_cuda(cuda, place)
        if why:
            place.mkdir(parents=True, exist_ok=True)
            (place / NOT_BUILT).write_text(f"{why}\n", encoding="utf-8")
            print(f"edgead: the CUDA kernels are not built: {why}\nedgead: it scores on the CPU")


if __name__ == "__main__":
    setup(
        ext_modules=[
            Extension("edgead._cpu", sources=[]),
            Extension("edgead.nvidia._cuda", sources=[], optional=True),
        ],
        cmdclass={"build_ext": CMakeBuild},
    )
