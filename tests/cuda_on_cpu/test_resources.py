"""What ptxas reports of the CUDA kernels: no spilled register, no stack frame. Needs nvcc."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import KERNELS

ORIN = "87"
OTHERS = ("75", "80", "86", "89", "90", "100", "110", "120")  # and these: as in csrc/CMakeLists.txt
ARCHITECTURES = [ORIN, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS)]

REPORT = re.compile(
    r"Function properties for (\w+)\n"
    r" +(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)


def resources(source: Path, architecture: str, folder: Path) -> dict[str, tuple[int, int, int]]:
    """Bytes of stack frame, spill stores and spill loads of each kernel in ``source``."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    codes = subprocess.run([nvcc, "--list-gpu-code"], check=True, capture_output=True, text=True)
    if f"sm_{architecture}" not in codes.stdout.split():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    command = [nvcc, "-std=c++17", "-O3", f"-arch=sm_{architecture}", "-Werror", "all-warnings"]
    command += ["-Xptxas=-v", "-cubin", str(source), "-o", str(folder / "kernel.cubin")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = REPORT.findall(done.stderr)
    return {name: (int(frame), int(stores), int(loads)) for name, frame, stores, loads in found}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", KERNELS, ids=lambda source: source.stem)
def test_no_kernel_spills_or_has_a_stack_frame(source, architecture, tmp_path):
    kernels = resources(source, architecture, tmp_path)
    # Kinds: distances 2 dtypes x 2 layouts x aligned or not, map, pool | 2 x 2 frames x 2 images.
    # Of nearest: 2 kinds of queries, the scan, 2 x 3 kinds of memories; of whiten: 2 of features.
    expected = {
        "anomaly_map_cuda": 10,
        "preprocess_cuda": 8,
        "nearest_cuda": 9,
        "whiten_cuda": 2,
        "nv12_cuda": 1,
        "raise_cuda": 1,
    }
    assert len(kernels) == expected[source.stem]
    assert {name: found for name, found in kernels.items() if any(found)} == {}


def test_a_stack_frame_is_found(tmp_path):
    source = tmp_path / "kernel.cu"
    source.write_text(
        "__global__ void kernel(const int* at, float* to) {\n"
        "  float values[64];\n"
        "  for (int i = 0; i < 64; ++i) values[at[i]] = to[i];\n"
        "  *to = values[at[64]];\n"
        "}\n"
    )
    ((frame, _, _),) = resources(source, "87", tmp_path).values()
    assert frame >= 256
