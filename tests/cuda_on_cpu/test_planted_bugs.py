"""Bugs planted in the real kernels: the simulation finds each of them, by the means named here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from harness import (
    SANITIZERS,
    Build,
    anomaly_map_case,
    marks,
    must_fail,
    preprocess_case,
    run_cases,
)

from edgead import reference
from edgead.anomaly_map import MapParams
from edgead.preprocess import PreprocessParams


@dataclass(frozen=True)
class Bug:
    """``right`` stands once in ``file``; ``wrong`` replaces it."""

    name: str
    sanitizer: str
    complaint: str  # a regular expression that the program's complaint matches; "": a wrong result
    right: str
    wrong: str
    file: str = "anomaly_map_cuda.cu"


RACE, ADDRESS = "ThreadSanitizer: data race", "AddressSanitizer: heap-buffer-overflow"
BUGS = [
    Bug(
        "missing barrier before a read",
        "thread",
        RACE,
        "  __syncthreads();\n  if ((int)threadIdx.x >= min(kPositions, left)) return;",
        "  if ((int)threadIdx.x >= min(kPositions, left)) return;",
    ),
    Bug(
        "missing barrier before a read, seen as NaN",
        "plain",
        "",
        "  __syncthreads();\n  if ((int)threadIdx.x >= min(kPositions, left)) return;",
        "  if ((int)threadIdx.x >= min(kPositions, left)) return;",
    ),
    Bug(
        "missing barrier before a write",
        "thread",
        RACE,
        "    __syncthreads();  // no thread reads what the stage had\n",
        "",
    ),
    Bug(
        "missing barrier in preprocess",
        "thread",
        RACE,
        "    __syncthreads();  // weights and mid are free\n",
        "",
        "preprocess_cuda.cu",
    ),
    Bug(
        "every uint16 frame has 16 bits",
        "plain",
        "",
        "sizeof(Sample) == 1 ? 8 : tile.p.bit_depth;",
        "8 * (int)sizeof(Sample);",
        "preprocess_cuda.cu",
    ),
    Bug(
        "barrier that half of a block reaches",
        "plain",
        "divergent __syncthreads|after a thread has exited|thread exited while others wait",
        "  const int x = x0 + threadIdx.x % kTile;\n",
        "  const int x = x0 + threadIdx.x % kTile;\n  if (threadIdx.x < 128) __syncthreads();\n",
    ),
    Bug(
        "mask without the lane that calls",
        "plain",
        "a lane is not in its own mask",
        "__shfl_xor_sync(kAllLanes, s.ab, by)",
        "__shfl_xor_sync(0x0000ffffu, s.ab, by)",
    ),
    Bug(
        "shuffle from outside the mask",
        "plain",
        "lanes disagree on mask|reads a lane outside its mask",
        "__shfl_xor_sync(kAllLanes, s.ab, by)",
        "__shfl_xor_sync(threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u, s.ab, by)",
    ),
    Bug(
        "warp operation of a lane that has exited",
        "plain",
        "the mask names a lane that has exited",
        "  if (partial == nullptr) return;  // the same for all threads\n",
        "  if (x >= levels.width) return;\n",
    ),
    Bug(
        "read out of bounds of global memory",
        "address,undefined",
        ADDRESS,
        "kTogether, left, 0,",
        "kTogether, left + 1, 0,",
    ),
    Bug(
        "write out of bounds of global memory",
        "address,undefined",
        ADDRESS,
        "    if (x >= levels.width || y >= levels.height) continue;\n",
        "    if (x >= levels.width) continue;\n",
    ),
    Bug(
        "read out of bounds of shared memory",
        "address,undefined",
        "out of bounds|insufficient space|global-buffer-overflow",
        "stretched[r - top][threadIdx.x % kTile]",
        "stretched[r - top + 1][threadIdx.x % kTile]",
    ),
    Bug(
        "misaligned vector",
        "address,undefined",
        "misaligned address",
        "bits % vector_bytes == 0",
        "bits % vector_bytes != 1",
    ),
    Bug(
        "shared memory that no thread has written",
        "plain",
        "",
        "stage[r][c] = inside ? ",
        "if (r != 5) stage[r][c] = inside ? ",
    ),
    Bug(
        "race between blocks",
        "thread",
        RACE,
        "reduce_block<kThreads>(largest, sum, partial + block + blockIdx.x);",
        "reduce_block<kThreads>(largest, sum, partial + block);",
    ),
]


@pytest.fixture(scope="module")
def small():
    """One case of each kernel with everything that the bugs need, and the exact arrays.

    The map has three tiles, the last of them partial; the features have rows and columns beyond a
    stage; they are not aligned, and of one level no whole vectors.
    """
    rng = np.random.default_rng(9)
    shapes, params = [(4, 40, 138), (8, 3, 3)], MapParams((50, 140), weights=(1.0, 1.0))
    pairs = [
        tuple(rng.standard_normal((1, *shape)).astype(np.float32) for _ in "ab") for shape in shapes
    ]
    frame = rng.integers(0, 256, (120, 50, 3), np.uint8)
    deep = rng.integers(0, 4096, (61, 50, 3), np.uint16)  # 12 bits in 16
    size = PreprocessParams((20, 40))
    cases = [
        anomaly_map_case(pairs, params, shift=4),
        anomaly_map_case(pairs[:1], MapParams((50, 140), weights=(1.0,)), shift=4),
        preprocess_case(frame, size),
        preprocess_case(deep, size.declared(12)),
    ]
    exact = [reference.anomaly_map(pairs, params)]
    exact.append(reference.anomaly_map(pairs[:1], MapParams((50, 140), weights=(1.0,))))
    images = [reference.preprocess(frame, size), reference.preprocess(deep, size, bit_depth=12)]
    return cases, [*exact, *((image,) for image in images)]


def is_right(found, exact):
    """All arrays, within far less than any of the bugs changes."""
    return all(
        np.allclose(a, b, rtol=0, atol=1e-4)
        for one, other in zip(found, exact, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    "sanitizer", [pytest.param(name, marks=marks(name)) for name in SANITIZERS]
)
def test_without_a_bug_nothing_is_found(sanitizer, built, small, tmp_path):
    cases, exact = small
    assert is_right(run_cases(built(Build("g++", sanitizer)).path, cases, tmp_path), exact)


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=marks(bug.sanitizer), id=bug.name) for bug in BUGS]
)
def test_finds(bug, built, small, tmp_path):
    program = built(Build("g++", bug.sanitizer)).with_bug(bug.file, bug.right, bug.wrong, tmp_path)
    cases, exact = small
    must_fail(program, cases, tmp_path, bug.complaint, lambda found: is_right(found, exact))
