"""The memory layer of ``edgead.nvidia._cuda``: its real bindings, the kernels' real sources and
edgead/nvidia/memory.py, on a SIMULATED CUDA runtime. No GPU is involved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "cuda_on_cpu"))
sys.path.insert(0, str(Path(__file__).parent))

from harness import KERNELS, Build, Program
from memory_cases import CASES

ROOT = Path(__file__).resolve().parents[3]
CSRC, SIMULATED = ROOT / "csrc", ROOT / "tests" / "library" / "gpu" / "simulated"
FLAGS = (
    *("-std=c++17", "-O0", "-Wall", "-Wextra", "-fPIC", "-ffp-contract=off"),
    *("-fvisibility=hidden", '-DEDGEAD_CUDA_ARCHITECTURES="simulated sm_87"'),
)
SOURCES = (
    *(CSRC / "python" / f"bindings_{name}.cpp" for name in ("cuda", "device")),
    *(SIMULATED / name for name in ("simulated_device.cpp", "streams.cpp")),
    *(
        CSRC / "kernels" / f"{name}.cpp"
        for name in (
            "anomaly_map",
            "preprocess",
            "nearest",
            "nearest_codes",
            "whiten",
            "arguments",
            "wording",
        )
    ),
)
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("objcopy") is None, reason="needs g++ and objcopy"
)
DEVICE = "bindings_device.cpp"  # the only one that memory_cuda.h is in
# source, right, wrong, the case that finds it
BUGS = {
    "the thread's context is not given back": (
        "kernels/memory_cuda.h",
        "    error = driver_.set_current(before);\n",
        "",
        "case_the_thread_s_context_comes_back",
    ),
    "an error on the way out is kept quiet": (
        "kernels/memory_cuda.h",
        "    return error;\n  }\n\n private:",
        "    return 0;\n  }\n\n private:",
        "case_an_earlier_error_on_the_way_out",
    ),
    "an error on the way in leaves the context": (
        "kernels/memory_cuda.h",
        "    if (error != 0) leave(before);",
        "    if (error == 1) leave(before);",
        "case_an_earlier_error_on_the_way_in",
    ),
    "memory is let go in whatever context the thread has": (
        "python/bindings_device.cpp",
        "let_go(*context_, [this] { thing_.reset(); });",
        "thing_.reset();",
        "case_what_is_let_go_by_another_thread",
    ),
    "a copy is waited for": (
        "python/bindings_device.cpp",
        "  stream->copy(to, from, count, kind);\n",
        "  stream->copy(to, from, count, kind);\n  stream->synchronize();\n",
        "case_bytes_go_up_along_and_down",
    ),
    "a fork frees the parent's memory": (
        "python/bindings_device.cpp",
        "if (getpid() == process_)",
        "if (process_ != 0)",
        "case_a_fork_calls_nothing",
    ),
    "pinned memory is never mapped": (
        "python/bindings_device.cpp",
        "context_, count, integrated());",
        "context_, count, false);",
        "case_mapped_memory_of_an_integrated_device",
    ),
}


def compile_one(source: Path, folder: Path) -> Path:
    """An object in ``folder``, whose headers go before those of csrc/."""
    import pybind11

    include = [folder, *(CSRC / name for name in ("kernels", "bundle", "include", "python"))]
    include += [SIMULATED, pybind11.get_include(), sysconfig.get_path("include")]
    made = folder / f"{source.stem}.o"
    command = ["g++", *FLAGS, *(f"-I{one}" for one in include), "-c", source, "-o", made]
    subprocess.run(command, check=True)
    return made


def link(folder: Path, objects: list[Path], cuda: Path) -> Path:
    """The module in ``folder``; ``cuda``: where the kernels' objects are."""
    module = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    kernels = [cuda / f"{source.stem}.o" for source in KERNELS]
    files = [*objects, *kernels, cuda / "cuda_on_cpu.o"]
    subprocess.run(["g++", "-shared", *files, "-lpthread", "-o", module], check=True)
    return module


@pytest.fixture(scope="session")
def built(once: Callable[..., Path]) -> tuple[Path, Path]:
    """Folders of the module's objects and of the kernels'."""
    build = Build("g++", "plain")
    cuda = once(f"cuda_on_cpu-{build}", lambda to: Program(build, to).compile())

    def make(folder: Path) -> None:
        with ThreadPoolExecutor(2) as pool:
            link(folder, list(pool.map(lambda one: compile_one(one, folder), SOURCES)), cuda)

    return once("native_memory", make), cuda


def failures(module: Path) -> dict[str, str]:
    """The cases that fail, and why."""
    program = str(Path(__file__).parent / "memory_cases.py")
    done = subprocess.run([sys.executable, program, str(module)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def found(built: tuple[Path, Path]) -> dict[str, str]:
    """``failures`` of the code as it is."""
    return failures(next(built[0].glob("_cuda*")))


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_the_memory_layer_on_a_simulated_runtime(found: dict[str, str], case: str) -> None:
    assert found.get(case) is None, found[case]


@needs_compiler
@pytest.mark.parametrize("bug", [next(iter(BUGS)), *(pytest.param(bug, marks=pytest.mark.exhaustive)
                                                     for bug in list(BUGS)[1:])])  # fmt: skip
def test_a_planted_bug_is_found(built: tuple[Path, Path], tmp_path: Path, bug: str) -> None:
    name, right, wrong, case = BUGS[bug]
    text = (CSRC / name).read_text()
    assert text.count(right) == 1, "the source has changed: plant this bug anew"
    (tmp_path / Path(name).name).write_text(text.replace(right, wrong))
    source = tmp_path / DEVICE
    if not source.exists():
        source.write_text((CSRC / "python" / DEVICE).read_text())
    changed = compile_one(source, tmp_path)
    objects = [built[0] / f"{one.stem}.o" for one in SOURCES if one.name != DEVICE]
    assert case in failures(link(tmp_path, [*objects, changed], built[1]))
