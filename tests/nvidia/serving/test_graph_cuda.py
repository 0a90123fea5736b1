"""csrc/kernels/graph_cuda.h, compiled against a SIMULATED CUDA runtime; no GPU is involved."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "cuda_runtime"
CSRC = Path(__file__).parents[3] / "csrc" / "kernels"
FLAGS = ("-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror")  # nine builds
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BUGS = {
    "": "",
    "nobody waits for the upload": ("    check(cudaStreamSynchronize(cudaStreamLegacy));\n", ""),
    "another stream is waited for": ("Synchronize(cudaStreamLegacy)", "Synchronize(nullptr)"),
    "an event is always recorded plainly": (
        "captured ? cudaEventRecordExternal : cudaEventRecordDefault",
        "captured ? cudaEventRecordDefault : cudaEventRecordDefault",
    ),
    "the captured graph stays": (
        "    cudaGraphDestroy(graph);\n    check(error);",
        "check(error);",
    ),
    "others are held to the capture": ("CaptureModeRelaxed", "CaptureModeGlobal"),
    "events of a failed constructor stay": ("if (error != cudaSuccess) destroy();", ""),
    "an error stays for the next caller": ("  cudaGetLastError();  // it", "  // it"),
    "an executable graph stays": ("cudaGraphExecDestroy(executable_)", "(void)executable_"),
}


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("bug", BUGS, ids=lambda name: name or "as it is")
def test_events_and_graphs_call_cuda_as_they_should(tmp_path: Path, bug: str) -> None:
    """Also with a bug in it, which has to be found: what the program expects can fail."""
    text = (CSRC / "graph_cuda.h").read_text()
    if bug:
        old, new = BUGS[bug]
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "graph_cuda.h").write_text(text)
    program = tmp_path / "run_graph"
    include = [f"-I{tmp_path}", f"-I{HERE}"]
    source = str(HERE / "run_graph.cpp")
    subprocess.run(["g++", *FLAGS, *SANITIZERS, *include, source, "-o", str(program)], check=True)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # the program counts them
    done = subprocess.run([program], capture_output=True, text=True, env=environment)
    if bug:
        assert done.returncode != 0
    else:
        assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
