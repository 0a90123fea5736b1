"""Bugs that the SIMULATED GPU has to find: a wait, an order or a copy that is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_gpu import CSRC, Builder  # type: ignore[import-not-found]

STAGES, SIGNALS = "device_stages.cpp", "held_signals.cpp"
# source, right, wrong, and what has to be said: of the simulation or of the qualification
BUGS = {
    "a frame is uploaded on another stream": (
        STAGES,
        "image_->memory.up(stream, image_->bytes);",
        "image_->memory.up(Stream(), image_->bytes);",
        "race on two streams|work on a stream that is none|does not reproduce",
    ),
    "a frame is not uploaded": (
        STAGES,
        "  image_->memory.up(stream, image_->bytes);\n",
        "",
        "does not reproduce 3 of 3",
    ),
    "the kernel reads before the copy": (
        STAGES,
        "  image_->memory.up(stream, image_->bytes);\n  parts.marks.record(kUploaded, handle);\n",
        "  parts.marks.record(kUploaded, handle);\n",
        "does not reproduce",
    ),
    "nobody waits for a frame": (
        STAGES,
        "    parts_->stream.synchronize();\n    const std::vector<float> spent",
        "    const std::vector<float> spent",
        "does not reproduce|not finite|events that are not over",
    ),
    "the map is not brought back": (
        STAGES,
        "  parts.map.down(stream);\n",
        "",
        "does not reproduce",
    ),
    "an output is taken for another": (
        STAGES,
        "add(restored, stages.gpu_->restored);",
        "add(restored, stages.gpu_->reference);",
        "does not reproduce",
    ),
    "rows are packed and said to have gaps": (
        STAGES,
        "    params.row_stride = pixel_bytes(geometry) * geometry.width;\n",
        "    params.row_stride = pixel_bytes(geometry) * (geometry.width - 1);\n",
        "does not reproduce",
    ),
    "the host reads what lies on the device": (
        STAGES,
        "{ return reinterpret_cast<const float*>(host_.data()); }",
        "{ return static_cast<const float*>(map_.data()); }",
        "killed by signal 11",
    ),
    "device memory is taken in a capture": (
        STAGES,
        "  parts.marks.record(kPreprocessed, handle);\n",
        "  parts.marks.record(kPreprocessed, handle);\n  const Buffer scratch(16);\n",
        "cudaMalloc while a stream is captured",
    ),
    "events of a graph are recorded plainly": (
        "graph_cuda.h",
        "captured ? cudaEventRecordExternal : cudaEventRecordDefault",
        "captured ? cudaEventRecordDefault : cudaEventRecordDefault",
        "an event in a capture has a time only as an external one",
    ),
    "a stream is let go before what needs it": (
        STAGES,
        "      if (parts_) cudaStreamSynchronize(parts_->stream.get());\n      image_.reset();\n",
        "      if (parts_) image_->graph->launch(parts_->stream.handle());\n"
        "      image_.reset();\n",
        "memory was freed while",
    ),
}
PROGRAM = """
import sys
sys.path[:0] = sys.argv[3:]
import ctypes, pathlib
from conftest import Library, Refused
from simulated_gpu import Machine
library = Library(pathlib.Path(sys.argv[1]))
machine = Machine(library.c)
try:
    with library.detector(sys.argv[2], device="gpu"):
        pass
except Refused as error:
    print(error)
print(machine.faults())
"""


# One in `make test`, the others in `make test-all`.
FIRST, *OTHERS = BUGS


@pytest.mark.parametrize(
    "bug", [FIRST, *(pytest.param(bug, marks=pytest.mark.exhaustive) for bug in OTHERS)]
)
def test_a_planted_bug_is_found(
    simulated: Builder,
    half_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bug: str,
) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    name, right, wrong, said = BUGS[bug]
    header = name.endswith(".h")
    folder = CSRC / ("kernels" if header else "runtime/nvidia")
    text = (folder / name).read_text()
    assert text.count(right) == 1, "the source has changed: plant this bug anew"
    (tmp_path / name).write_text(text.replace(right, wrong))
    source = tmp_path / name
    if header:  # found before the one in csrc/kernels, also by what includes it there
        (tmp_path / "memory_cuda.h").write_text((folder / "memory_cuda.h").read_text())
        source = tmp_path / STAGES
        source.write_text((CSRC / "runtime" / "nvidia" / STAGES).read_text())
    made = simulated.compile(source, tmp_path)
    path = simulated.link(tmp_path / "libedgead_bug.so", {STAGES if header else name: made})
    here = Path(__file__).parent
    folders = [here.parent, here, here.parents[1] / "cuda_on_cpu"]
    command = [sys.executable, "-c", PROGRAM, str(path), str(half_path), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    heard = done.stdout + done.stderr
    if done.returncode < 0:
        heard += f"killed by signal {-done.returncode}"
    assert re.search(said, heard), heard
