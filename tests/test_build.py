"""What setup.py and csrc/ build with an nvcc that is elsewhere, too old, broken, or complains.

nvcc is a script that only says a version, unless a test asks for the real one. The module _cpu is
not compiled here: a script stands for CMake where it is built, and hands on every other call.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BESIDE = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
CMAKE = shutil.which("cmake", path=BESIDE) or ""
PLAIN = "/usr/bin:/bin"
OLD = "nvcc 11.4 at {} is too old, 11.7 or newer expected"

pytestmark = pytest.mark.skipif(not CMAKE, reason="cmake is not installed")

FIND = f"""
cmake_minimum_required(VERSION 3.24)
include({ROOT}/csrc/find_nvcc.cmake)
edgead_find_nvcc()
file(WRITE found.txt "${{nvcc}}\\n${{nvcc_version}}\\n${{nvcc_problem}}")
"""
STUB = f"""#!/bin/sh
echo "cmake $*"
case "$*" in
  *--install*_cpu*) for last; do :; done; mkdir -p "$last"; touch "$last/_cpu.so";;
  *-B*_cpu\\ *|*--build*_cpu*) ;;
  *) unset PYTHONPATH; exec {CMAKE} "$@";;
esac
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def nvcc(folder: Path, release: str = "11.4", otherwise: str = "exit 1") -> Path:
    """An nvcc that says its release, as NVIDIA's does, and does ``otherwise`` else."""
    says = f'echo "Cuda compilation tools, release {release}, V{release}.99"; exit 0'
    return script(
        folder / "nvcc", f'#!/bin/sh\ncase "$*" in *--version*) {says};; esac\n{otherwise}\n'
    )


def find(tmp_path: Path, **environment: str) -> list[str]:
    """Path, version and problem that csrc/find_nvcc.cmake finds; /usr/local is tmp_path/local."""
    (tmp_path / "find.cmake").write_text(FIND)
    command = [CMAKE, f"-DEDGEAD_TOOLKITS={tmp_path}/local", "-P", "find.cmake"]
    subprocess.run(command, cwd=tmp_path, env={"PATH": "/nowhere", **environment}, check=True)
    return (tmp_path / "found.txt").read_text().split("\n")


def test_jetpacks_nvcc_is_found_outside_of_path(tmp_path: Path) -> None:
    place = nvcc(tmp_path / "local/cuda/bin", "12.6")
    assert find(tmp_path) == [str(place), "12.6", ""]


def test_of_several_toolkits_the_newest_is_taken(tmp_path: Path) -> None:
    for release in ("12.6", "100.1", "13.0"):
        nvcc(tmp_path / f"local/cuda-{release}/bin", release)
    assert find(tmp_path)[1] == "100.1"


def test_what_is_named_comes_before_path_and_path_before_jetpacks(tmp_path: Path) -> None:
    nvcc(tmp_path / "local/cuda/bin", "12.1")
    given = {"PATH": f"/nowhere:{nvcc(tmp_path / 'path', '12.2').parent}"}
    assert find(tmp_path, **given)[1] == "12.2"
    for release, name in (("12.3", "CUDA_HOME"), ("12.4", "CUDA_PATH")):
        given[name] = str(nvcc(tmp_path / name / "bin", release).parents[1])
        assert find(tmp_path, **given)[1] == release
    given["CUDACXX"] = f"{nvcc(tmp_path / 'named', '12.5')} -ccbin g++"
    assert find(tmp_path, **given)[1] == "12.5"


@pytest.mark.parametrize(("release", "usable"), [("11.6", False), ("11.7", True), ("11.10", True)])
def test_grid_constants_need_cuda_11_7(tmp_path: Path, release: str, usable: bool) -> None:
    place = nvcc(tmp_path / "local/cuda/bin", release)
    found, _, problem = find(tmp_path)
    assert found == (str(place) if usable else "")
    assert problem == ("" if usable else OLD.format(place).replace("11.4", release))


def test_an_old_nvcc_on_path_does_not_hide_a_newer_toolkit(tmp_path: Path) -> None:
    """Ubuntu 22.04 has nvcc 11.5 in /usr/bin, and NVIDIA's packages lie in /usr/local."""
    nvcc(tmp_path / "path", "11.5")
    place = nvcc(tmp_path / "local/cuda-12.6/bin", "12.6")
    assert find(tmp_path, PATH=f"{tmp_path}/path") == [str(place), "12.6", ""]


def test_cudacxx_decides_alone(tmp_path: Path) -> None:
    nvcc(tmp_path / "local/cuda/bin", "12.6")
    old = nvcc(tmp_path / "named")
    assert find(tmp_path, CUDACXX=str(old)) == ["", "", OLD.format(old)]
    assert find(tmp_path, CUDACXX="gone")[2] == "CUDACXX is 'gone', which is not there"


def test_no_nvcc_is_said_with_the_places(tmp_path: Path) -> None:
    problem = find(tmp_path)[2]
    assert problem.startswith("no nvcc in CUDACXX, CUDA_PATH/bin, CUDA_HOME/bin, PATH, ")
    assert f"{tmp_path}/local/cuda/bin" in problem


@pytest.mark.parametrize("text", ["echo hello", "exit 1", "kill -SEGV $$"])
def test_a_strange_nvcc_is_no_compiler(tmp_path: Path, text: str) -> None:
    place = script(tmp_path / "local/cuda/bin/nvcc", f"#!/bin/sh\n{text}\n")
    assert find(tmp_path) == ["", "", f"{place} --version names no version of CUDA"]


Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """``build(EDGEAD_CUDA="ON", …)`` runs setup.py on a copy; tmp_path/out/edgead is what it makes.

    An earlier build has left a module _cuda there.
    """
    pytest.importorskip("pybind11")
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    shutil.copy(ROOT / "setup.py", tmp_path)
    script(tmp_path / "stub/bin/cmake", STUB)
    (tmp_path / "stub/cmake.py").write_text(f"CMAKE_BIN_DIR = {str(tmp_path / 'stub/bin')!r}\n")
    (tmp_path / "out/edgead/nvidia").mkdir(parents=True)
    (tmp_path / "out/edgead/nvidia/_cuda.so").touch()

    def run(python: str = sys.executable, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("EDGEAD_", "CUDA"))}
        paths = os.pathsep.join((str(tmp_path / "stub"), *sys.path))
        kept |= {"PATH": PLAIN, "PYTHONPATH": paths, **environment}
        command = [python, "setup.py", "build_ext", "--build-lib", "out"]
        return subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True)

    return run


def made(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out/edgead").rglob("_c*"))


def made_cuda(tmp_path: Path) -> list[str]:
    return [name for name in made(tmp_path) if name.startswith("_cuda.c")]


def why_not(tmp_path: Path) -> str:
    """Why there is no _cuda; that it is so, and that _cpu is there."""
    assert made(tmp_path) == ["_cpu.so", "_cuda.not_built.txt"]
    return (tmp_path / "out/edgead/nvidia/_cuda.not_built.txt").read_text()


BROKEN = {
    "at once": ("12.6", 'echo "x.h:1:2: error: unsupported GNU version" >&2; exit 1'),
    "too old": ("11.4", ""),
}
REASON = {
    "at once": "nvcc 12.6 at {} failed: x.h:1:2: error: unsupported GNU version\n",
    "too old": OLD + "\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_nvcc_costs_only_the_cuda_kernels(tmp_path: Path, build: Build, kind: str) -> None:
    place = nvcc(tmp_path / "named", *BROKEN[kind])
    done = build(CUDACXX=str(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert why_not(tmp_path) == REASON[kind].format(place)
    assert f"the CUDA kernels are not built: {REASON[kind].format(place)}" in done.stdout


def test_the_nvcc_of_pip_is_found_in_the_environment(tmp_path: Path, build: Build) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    place = nvcc(packages / "nvidia/cu13/bin", *BROKEN["at once"])
    done = build(str(tmp_path / "venv/bin/python"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert why_not(tmp_path) == REASON["at once"].format(place)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_nvcc_is_an_error_where_cuda_is_asked_for(
    tmp_path: Path, build: Build, kind: str
) -> None:
    done = build(CUDACXX=str(nvcc(tmp_path / "named", *BROKEN[kind])), EDGEAD_CUDA="ON")
    assert done.returncode != 0
    assert "EDGEAD_CUDA=ON, EDGEAD_WERROR=OFF, and the CUDA kernels cannot be built" in done.stderr
    assert "Traceback" not in done.stderr
    assert ("is too old" in " ".join(done.stdout.split())) == (kind == "too old")


def test_off_builds_no_cuda_and_looks_for_no_nvcc(tmp_path: Path, build: Build) -> None:
    done = build(CUDACXX=str(nvcc(tmp_path / "named", "12.6")), EDGEAD_CUDA="OFF")
    assert done.returncode == 0, done.stdout + done.stderr
    assert why_not(tmp_path) == "EDGEAD_CUDA=OFF when edgead was installed\n"
    assert "nvcc" not in done.stdout
    assert "-DCMAKE_COMPILE_WARNING_AS_ERROR=OFF" in done.stdout


def test_another_word_is_refused(build: Build) -> None:
    done = build(EDGEAD_CUDA="yes")
    assert done.returncode != 0
    assert "EDGEAD_CUDA is 'yes', expected AUTO, ON or OFF" in done.stderr


@pytest.mark.parametrize("architecture", ["native", "all-major", "87-real;sm_90", "8.7"])
def test_architectures_that_are_no_numbers_are_refused(tmp_path: Path, architecture: str) -> None:
    command = [CMAKE, "-S", str(ROOT / "csrc"), "-B", str(tmp_path), "-DEDGEAD_LIBRARY=OFF"]
    command += ["-DEDGEAD_CUDA=OFF", f"-DEDGEAD_CUDA_ARCHITECTURES={architecture}"]
    done = subprocess.run(command, capture_output=True, text=True)
    said = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert f"holds '{architecture.split(';')[-1]}', expected compute capabilities" in said
    assert "87-real" in said


REAL = shutil.which("nvcc", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
needs_nvcc = pytest.mark.skipif(REAL is None, reason="nvcc is not installed")
SMALL = """#include <pybind11/pybind11.h>
PYBIND11_MODULE(_cuda, m) { m.attr("ARCHITECTURES") = EDGEAD_CUDA_ARCHITECTURES; }
"""


@pytest.fixture
def small(tmp_path: Path, build: Build) -> Build:
    """``build`` with the real nvcc and next to no source; one file has a warning of nvcc's."""
    for name in ("preprocess", "anomaly_map", "nearest", "nv12", "whiten"):
        kernel = f"__global__ void {name}() {{ int unused; }}"
        (tmp_path / f"csrc/kernels/{name}_cuda.cu").write_text(kernel)
        if (tmp_path / f"csrc/kernels/{name}.cpp").exists():
            (tmp_path / f"csrc/kernels/{name}.cpp").write_text("")
    (tmp_path / "csrc/kernels/nearest_codes.cpp").write_text("")
    (tmp_path / "csrc/python/bindings_cuda.cpp").write_text(SMALL)
    return lambda **given: build(**{"CUDACXX": str(REAL), **given})


@needs_nvcc
def test_a_module_names_its_code_and_its_ptx(tmp_path: Path, small: Build) -> None:
    done = small(EDGEAD_CUDA="ON", EDGEAD_CUDA_ARCHITECTURES="87-real;89;90-virtual")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" in done.stdout  # which is no error
    assert "_cuda.so" not in made(tmp_path) and "_cuda.not_built.txt" not in made(tmp_path)
    code = "import _cuda; print(_cuda.ARCHITECTURES)"
    at = {
        "cwd": tmp_path / "out/edgead/nvidia",
        "check": True,
        "capture_output": True,
        "text": True,
    }
    said = subprocess.run([sys.executable, "-c", code], **at).stdout
    assert said == "sm_87 sm_89 compute_89 compute_90\n"
    # So that nine kinds of code stay small: no names, and all code is compressed.
    assert b".symtab" not in (at["cwd"] / next(iter(made_cuda(tmp_path)))).read_bytes()
    rules = "".join(path.read_text() for path in (tmp_path / "build").rglob("build.ninja"))
    rules += "".join(path.read_text() for path in (tmp_path / "build").rglob("flags.make"))
    assert "-Xfatbin -compress-all" in rules


@needs_nvcc
def test_a_warning_of_nvcc_is_an_error_in_ci(small: Build) -> None:
    done = small(EDGEAD_WERROR="ON", EDGEAD_CUDA_ARCHITECTURES="87-real")
    assert done.returncode != 0
    assert "EDGEAD_CUDA=AUTO, EDGEAD_WERROR=ON, and the CUDA kernels cannot be" in done.stderr
    assert '"unused" was declared but never referenced' in done.stdout


@needs_nvcc
def test_another_nvcc_than_last_time_is_used(tmp_path: Path, small: Build) -> None:
    """CMake alone would go on with the compiler that its cache names."""
    for name in ("one", "two"):
        fails = f'case "$*" in *preprocess_cuda.cu*) echo "nvcc error : {name}" >&2; exit 1;; esac'
        place = nvcc(tmp_path / name, "12.6", f'{fails}\nexec {REAL} "$@"')
        done = small(EDGEAD_CUDA_ARCHITECTURES="87-real", CUDACXX=str(place))
        assert done.returncode == 0, done.stdout + done.stderr
        assert why_not(tmp_path) == f"nvcc 12.6 at {place} failed: nvcc error : {name}\n"


@needs_nvcc
@pytest.mark.usefixtures("small")
def test_the_cuda_kernels_can_be_built_without_python(tmp_path: Path) -> None:
    command = [CMAKE, "-S", "csrc", "-B", "build", "-DEDGEAD_LIBRARY=OFF", "-DEDGEAD_CUDA=ON"]
    command += ["-DEDGEAD_CUDA_ARCHITECTURES=87-real"]
    environment = {**os.environ, "CUDACXX": str(REAL)}
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    command = [CMAKE, "--build", "build", "--target", "kernels_cuda"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert list(tmp_path.glob("build/**/preprocess_cuda.cu.o"))
