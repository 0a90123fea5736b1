"""Bugs planted in the kernels: the interpreter finds each, by the means named here."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from compiled_kernels import compile_ptx, plain, programs
from harness import (
    CSRC,
    KERNELS,
    anomaly_map_case,
    nearest_case,
    nv12_case,
    preprocess_case,
    raise_case,
    whiten_case,
)
from interpreter.text import PtxError

from edgead import reference
from edgead.anomaly_map import MapParams
from edgead.preprocess import PreprocessParams


@dataclass(frozen=True)
class Bug:
    """``right`` stands once in ``file``; ``wrong`` replaces it."""

    name: str
    file: str
    complaint: (
        str  # a regular expression that the interpreter's complaint matches; "": wrong result
    )
    right: str
    wrong: str


RACE, BOUNDS = "race: ", "out of bounds of {} memory"
BUGS = [
    Bug(
        "pixels beyond the frame",
        "nv12_cuda.cu",
        BOUNDS.format("global"),
        "  if (pair >= p.width / 2 || row >= p.height) return;\n",
        "",
    ),
    Bug(
        "U V of the row below",
        "nv12_cuda.cu",
        "",
        "row / 2 * p.chroma_stride",
        "(row + 1) / 2 % (p.height / 2) * p.chroma_stride",
    ),
    Bug(
        "missing barrier before a read",
        "anomaly_map_cuda.cu",
        RACE,
        "  __syncthreads();\n  if ((int)threadIdx.x >= min(kPositions, left)) return;",
        "  if ((int)threadIdx.x >= min(kPositions, left)) return;",
    ),
    Bug(
        "missing barrier before a read of what others staged",
        "nearest_cuda.cu",
        RACE,
        "  __syncthreads();\n  const int position",
        "  const int position",
    ),
    Bug(
        "missing barrier between mean and variance",
        "whiten_cuda.cu",
        RACE,
        "  __syncthreads();  // no thread reads what was there\n",
        "",
    ),
    Bug(
        "missing barrier before the sums of the warps",
        "raise_cuda.cu",
        RACE,
        "  __syncthreads();\n",
        "",
    ),
    Bug(
        "a position too many",
        "raise_cuda.cu",
        BOUNDS.format("global"),
        "i < raise.summed",
        "i <= raise.summed",
    ),
    Bug(
        "the level of the first signal alone",
        "raise_cuda.cu",
        "",
        "sum += raise.distance[k][i]",
        "sum += raise.distance[0][i]",
    ),
    Bug(
        "missing barrier in preprocess",
        "preprocess_cuda.cu",
        RACE,
        "    __syncthreads();  // weights and mid are free\n",
        "",
    ),
    Bug(
        "race between blocks",
        "anomaly_map_cuda.cu",
        RACE,
        "reduce_block<kThreads>(largest, sum, partial + block + blockIdx.x);",
        "reduce_block<kThreads>(largest, sum, partial + block);",
    ),
    Bug(
        "barrier that half of a block reaches",
        "anomaly_map_cuda.cu",
        "do not all reach a barrier",
        "  const int x = x0 + threadIdx.x % kTile;\n",
        "  const int x = x0 + threadIdx.x % kTile;\n  if (threadIdx.x < 128) __syncthreads();\n",
    ),
    Bug(
        "warp operation of a lane that has exited",
        "anomaly_map_cuda.cu",
        "names in its mask a thread that has returned|do not all reach",
        "  if (partial == nullptr) return;  // the same for all threads\n",
        "  if (x >= levels.width) return;\n",
    ),
    Bug(
        "mask without the lane that calls",
        "anomaly_map_cuda.cu",
        "is not in its own mask",
        "__shfl_xor_sync(kAllLanes, s.ab, by)",
        "__shfl_xor_sync(0x0000ffffu, s.ab, by)",
    ),
    Bug(
        "read out of bounds of global memory",
        "whiten_cuda.cu",
        BOUNDS.format("global"),
        "one < p.outputs && c < p.channels",
        "one <= p.outputs && c < p.channels",
    ),
    Bug(
        "write out of bounds of global memory",
        "preprocess_cuda.cu",
        f"{BOUNDS.format('global')}|{RACE}",
        "if (column < columns && row < rows) write",
        "if (column < columns) write",
    ),
    Bug(
        "read out of bounds of shared memory",
        "anomaly_map_cuda.cu",
        f"{BOUNDS.format('shared')}",
        "stretched[r - top][threadIdx.x % kTile]",
        "stretched[r - top + 32][threadIdx.x % kTile]",
    ),
    Bug(
        "shared memory that no thread has written",
        "anomaly_map_cuda.cu",
        "never written in shared",
        "stage[r][c] = inside ? ",
        "if (r != 5) stage[r][c] = inside ? ",
    ),
    Bug("a row too few", "nearest_cuda.cu", "", "row < rows.rows ?", "row < rows.rows - 1 ?"),
    Bug(
        "a product of other codes",
        "nearest_cuda.cu",
        "",
        "code_word(lane % 16, 0)",
        "code_word(0, 0)",
    ),
    Bug(
        "one rounding where two are due",
        "preprocess_cuda.cu",
        "",
        "__fadd_rn(__fmul_rn(value, p.scale[c]), p.bias[c])",
        "__fmaf_rn(value, p.scale[c], p.bias[c])",
    ),
]


@pytest.fixture(scope="module")
def small():
    """One case of each kind that the bugs need, by file, and the exact arrays.

    The map has three tiles, the last of them partial; the features have rows and columns beyond a
    stage, and of one level no whole vectors.
    """
    rng = np.random.default_rng(9)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    params = MapParams((50, 140), weights=(1.0, 1.0))
    pairs = [(normal(1, *shape), normal(1, *shape)) for shape in [(4, 40, 138), (8, 3, 3)]]
    frame, size = rng.integers(0, 256, (120, 50, 3), np.uint8), PreprocessParams((20, 40))
    queries, memory = normal(1, 20, 5, 8), normal(129, 20)
    queries[0, :, 2, 3] = memory[-1]
    features, mean, factors = normal(1, 20, 5, 8), normal(20, 5, 8), normal(4, 20, 20)
    how = {"channel_normal": True}
    far, total = [np.square(normal(300)) for _ in range(2)], np.square(normal(256))
    ones, none = [np.ones(300)] * 2, [None, None]
    raised, _ = reference.signals(far, ones, none, (0.1, 9.0))
    sum_ = total * (raised[0][0] / far[0][0])
    light, chroma = (rng.integers(0, 256, (rows, 10), np.uint8) for rows in (6, 3))
    colors = np.zeros((6, 10, 4), np.uint8)
    colors[:, :, :3] = reference.nv12(light, chroma, 2)
    return {
        "nv12_cuda.cu": (nv12_case(light, chroma, 2, blue_first=False), [colors]),
        "anomaly_map_cuda.cu": (
            anomaly_map_case(pairs, params, shift=4),
            reference.anomaly_map(pairs, params),
        ),
        "preprocess_cuda.cu": (preprocess_case(frame, size), [reference.preprocess(frame, size)]),
        "nearest_cuda.cu": (
            nearest_case(queries, memory),
            [reference.nearest(queries, memory, (1.0,), None)],
        ),
        "raise_cuda.cu": (raise_case(far, total, (0.1, 9.0)), [*raised, sum_]),
        "whiten_cuda.cu": (
            whiten_case(features, mean, factors, 4, **how),
            [reference.whiten(features, mean, factors, side=4, **how)],
        ),
    }


def is_right(found, exact):
    """Images exactly; the others within far less than any of the bugs changes."""
    return all(
        np.array_equal(a, b) if b.dtype == np.float32 else np.allclose(a, b, rtol=1e-5, atol=1e-5)
        for a, b in zip(found, exact, strict=True)
    )


@pytest.mark.parametrize("file", [source.name for source in KERNELS])
def test_without_a_bug_nothing_is_found(file, device, small, tmp_path):
    case, exact = small[file]
    assert is_right(device.run(case, tmp_path), exact)


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_finds(bug, device, small, tmp_path):
    source = (CSRC / bug.file).read_text()
    assert source.count(bug.right) == 1, "the kernel has changed: plant this bug anew"
    (tmp_path / bug.file).write_text(source.replace(bug.right, bug.wrong))
    text = compile_ptx(tmp_path / bug.file, tmp_path).read_text()
    must_find(device.with_programs(programs(text)), small[bug.file], bug.complaint, tmp_path)


def must_find(device, case_and_exact, complaint, folder):
    case, exact = case_and_exact
    if complaint == "":
        assert not is_right(device.run(case, folder), exact)
        return
    with pytest.raises(PtxError, match=complaint):
        device.run(case, folder)


# In the compiled code itself: what a compiler, not a person, would get wrong.
IN_PTX = {
    "wrong constant": ("anomaly_map", r"0d3FF0000000000000", "0d3FF0001000000000", ""),
    "a barrier too few": ("whiten", r"bar\.sync\s+0;", "", RACE),
    "a product too few": ("nearest", r"fma\.rn\.f32\s+(\S+), (\S+), (\S+), (\S+);",
                          r"add.f32 \1, \2, \4;", ""),
    "the word beside": ("preprocess", r"(st\.global\.f32\s+\[%rd\d+)\]", r"\1+4]",
                        f"{BOUNDS.format('global')}|{RACE}"),
    "an offset between words": ("nearest", r"(ld\.shared\.f32\s+%f\d+, \[%r\d+)\]", r"\1+2]",
                                "misaligned in shared memory"),
    "a part of a product left out": ("nearest", r"(dp4a\.s32\.s32\s+\S+ %r\d+, )%r\d+",
                                     r"\g<1>0", ""),
}  # fmt: skip


@pytest.mark.parametrize("bug", IN_PTX)
def test_finds_in_compiled_code(bug, compiled, device, small, tmp_path):
    name, right, wrong, complaint = IN_PTX[bug]
    text = (compiled / f"{name}_cuda.ptx").read_text()
    changed, count = re.subn(right, wrong, text)
    assert count > 0
    case = small[f"{name}_cuda.cu"]
    must_find(device.with_programs(programs(changed)), case, complaint, tmp_path)


def test_finds_a_vector_load_that_is_not_aligned(compiled, device, small, tmp_path):
    """The kernel for aligned features in the place of that for others."""
    text = (compiled / "anomaly_map_cuda.ptx").read_text()
    every = programs(text)
    aligned = {name: program for name, program in every.items() if re.search(r"0ELb1EE", name)}
    assert len(aligned) == 2 and all("Kf" not in plain(name) for name in aligned)
    swapped = {name.replace("Lb1", "Lb0"): program for name, program in aligned.items()}
    case = small["anomaly_map_cuda.cu"]
    must_find(device.with_programs(swapped), case, "16 bytes misaligned in global memory", tmp_path)
