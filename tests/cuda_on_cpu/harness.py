"""Builds run_cases.cpp with a compiler and its sanitizers, and runs cases of the kernels in it."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.anomaly_map import DISTANCES, FUSIONS, POOLINGS, MapParams
from edgead.images.bits import full_scale
from edgead.nearest import MEMORY_DTYPES, Blend
from edgead.preprocess import DTYPES, LAYOUTS, PreprocessParams, normalisation

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc" / "kernels"
FLAGS = (
    *("-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
    *("-DEDGEAD_CUDA_ON_CPU", f"-I{HERE}", f"-I{CSRC}"),
    "-fPIC",  # tests/library makes a library of the same objects
    # As nvcc compiles: no contraction beyond what is written, vector loads from float pointers.
    *("-ffp-contract=off", "-fno-strict-aliasing"),
)
KERNELS = tuple(
    CSRC / f"{name}_cuda.cu"
    for name in ("anomaly_map", "preprocess", "nearest", "whiten", "nv12", "raise")
)
HOST = (
    *(CSRC / f"{name}.cpp" for name in ("anomaly_map", "preprocess", "nearest", "nearest_codes")),
    HERE / "run_cases.cpp",
)
SANITIZERS = {
    "plain": (),
    "address,undefined": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
# Fake stacks would outlive the fibers.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_stack_use_after_return=0", "TSAN_OPTIONS": "exitcode=66"}


@dataclass(frozen=True)
class Build:
    """A compiler and what it adds: one of SANITIZERS."""

    compiler: str
    sanitizer: str

    def __str__(self) -> str:
        return f"{self.compiler}-{self.sanitizer}"


def compile_object(build: Build, source: Path, folder: Path, flags: Sequence[str] = ()) -> Path:
    """Compile one file; ``flags`` come last. A .cu file is C++ here."""
    object_file = folder / f"{source.stem}.o"
    language = ["-x", "c++"] if source.suffix == ".cu" else []
    command = [build.compiler, *FLAGS, *flags, *language, "-c", str(source), "-o", str(object_file)]
    subprocess.run(command, check=True)
    if source.suffix == ".cu":
        # All static memory of a kernel's file is __shared__. (GCC ignores a section attribute
        # within templates, so the object file is changed.)
        rename = ["objcopy", "--rename-section", ".bss=cuda_shared", str(object_file)]
        subprocess.run(rename, check=True)
    return object_file


class Program:
    """run_cases of ``build`` in ``folder``; kernels can be replaced, which builds only these."""

    def __init__(self, build: Build, folder: Path) -> None:
        self.build = build
        self.flags = SANITIZERS[build.sanitizer]
        self.core = folder / "cuda_on_cpu.o"
        self.objects = {s.name: folder / f"{s.stem}.o" for s in (*HOST, *KERNELS)}
        self.path = folder / "run_cases"

    def compile(self) -> None:
        """Build it."""
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        compile_object(self.build, HERE / "cuda_on_cpu.cpp", folder)  # no sanitizer
        for source in (*HOST, *KERNELS):
            compile_object(self.build, source, folder, self.flags)
        self._link(self.objects, folder)

    def replaced(self, sources: Mapping[str, str], folder: Path) -> Path:
        """A program with other text for some of KERNELS, by name, and for headers they include."""
        folder.mkdir(parents=True, exist_ok=True)
        objects = dict(self.objects)
        for name, text in sources.items():
            (folder / name).write_text(text)
        for name in sources.keys() & objects.keys():
            objects[name] = compile_object(self.build, folder / name, folder, self.flags)
        return self._link(objects, folder)

    def with_bug(
        self, name: str, right: str, wrong: str, folder: Path, header: str | None = None
    ) -> Path:
        """A program with ``wrong`` in the place of ``right``, which stands once in that source.

        Or in a ``header`` that the source includes.
        """
        sources = {file: (CSRC / file).read_text() for file in (header, name) if file is not None}
        changed = header or name
        assert sources[changed].count(right) == 1, "the kernel has changed: plant this bug anew"
        sources[changed] = sources[changed].replace(right, wrong)
        return self.replaced(sources, folder)

    def _link(self, objects: Mapping[str, Path], folder: Path) -> Path:
        path = folder / "run_cases"
        files = [str(self.core), *map(str, objects.values())]
        command = [self.build.compiler, *self.flags, *files, "-o", str(path), "-lstdc++", "-lm"]
        subprocess.run(command, check=True)
        return path


@dataclass(frozen=True)
class Out:
    """What becomes of the distances [N, H, W]: ``DistanceOut`` of csrc/kernels/common.h."""

    counts: np.ndarray | None = None  # [H, W] float32, as the next one
    scored: np.ndarray | None = None  # None: there is no sum
    before: np.ndarray | None = None  # [N, H, W], what the sum held; None: it begins here
    shown: bool = True  # the distances are written

    def data(self) -> bytes:
        data = _integers(int(self.shown))
        for array in (self.counts, self.scored, self.before):
            data += _array(np.zeros(0, np.float32) if array is None else array, 0)
        return data

    def outputs(self, *shape: int) -> tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]:
        count = int(self.shown) + int(self.scored is not None)
        return ((shape, np.dtype(np.float32)),) * count

    def exact(self, distance: np.ndarray) -> list[np.ndarray]:
        """The arrays that are written, in float64."""
        found = []
        if self.shown:
            found.append(distance * (1.0 if self.counts is None else self.counts.astype(float)))
        if self.scored is not None:
            before = 0.0 if self.before is None else self.before.astype(float)
            found.append(before + distance * self.scored.astype(float))
        return found

    @staticmethod
    def number(number: int, rng: np.random.Generator, *shape: int) -> Out:
        """One of six kinds."""
        counts, scored, before = (
            np.float32(rng.random(size) + 0.1) for size in (shape[1:], shape[1:], shape)
        )
        return (
            Out(),
            Out(counts),
            Out(counts, scored),
            Out(counts, scored, before),
            Out(None, scored, before, shown=False),
            Out(None, scored),
        )[number % 6]


@dataclass(frozen=True)
class Case:
    """One call of a kernel: what run_cases reads, and the shapes and dtypes that it writes."""

    data: bytes
    outputs: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]


def run_cases(
    program: Path, cases: Sequence[Case], folder: Path, *, seed: int = 0
) -> list[list[np.ndarray]]:
    """The arrays that each case gives. The program's complaint is the error's ``stderr``."""
    (folder / "input").write_bytes(b"".join(case.data for case in cases))
    subprocess.run(
        [str(program), str(folder / "input"), str(folder / "output"), str(seed)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    return read_outputs(cases, folder / "output")


def read_outputs(cases: Sequence[Case], path: Path) -> list[list[np.ndarray]]:
    """The arrays that run_cases wrote."""
    data, at, results = path.read_bytes(), 0, []
    for case in cases:
        arrays = []
        for shape, dtype in case.outputs:
            arrays.append(np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape))
            at += arrays[-1].nbytes
        results.append(arrays)
    assert at == len(data)
    return results


def marks(sanitizer: str) -> Any:
    """A build with a sanitizer takes its time."""
    return () if sanitizer == "plain" else pytest.mark.exhaustive


def named(bugs: Mapping[str, tuple[str, ...]]) -> list[Any]:
    """Names of planted bugs, whose first entry is what finds them, for a test of each."""
    return [pytest.param(name, marks=marks(bug[0])) for name, bug in bugs.items()]


def must_fail(
    program: Path,
    cases: Sequence[Case],
    folder: Path,
    complaint: str,
    is_right: Callable[[Any], bool],
) -> None:
    """Fail unless a program with a bug complains; without a ``complaint`` its outputs are wrong."""
    if complaint == "":
        assert not is_right(run_cases(program, cases, folder))
        return
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run_cases(program, cases, folder)
    assert re.search(complaint, raised.value.stderr), raised.value.stderr


def preprocess_case(
    frame: np.ndarray,
    params: PreprocessParams,
    *,
    color: str = "bgr",
    dtype: Any = np.float32,
    layout: str = "NCHW",
    shift: int = 0,
) -> Case:
    """A frame, or a view of one; its memory begins ``shift`` bytes off its alignment."""
    grey = frame.ndim == 2 or frame.shape[2] == 1
    strides = frame.strides if frame.ndim == 3 else (*frame.strides, 0)
    whole = frame if frame.base is None else frame.base
    first = frame.ctypes.data - whole.ctypes.data
    order = {"gray": (0, 0, 0), "bgr": (2, 1, 0), "rgb": (0, 1, 2)}["gray" if grey else color]
    scale, bias = normalisation(params, frame.dtype)
    bits = full_scale(frame.dtype, params.bit_depth).bit_length()
    data = _integers(0, *frame.shape[:2], 1 if grey else 3, frame.dtype.itemsize, bits, *strides)
    data += _integers(*params.size)
    for channel, factor, offset in zip(order, scale, bias, strict=True):
        data += _integers(channel) + struct.pack("<2d", factor, offset)
    dtype = np.dtype(dtype)
    data += _integers(DTYPES.index(dtype.name), LAYOUTS.index(layout), first)
    data += _array(whole, shift)
    shape = (3, *params.size) if layout == "NCHW" else (*params.size, 3)
    return Case(data, ((shape, dtype),))


def anomaly_map_case(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    params: MapParams,
    *,
    layout: str = "NCHW",
    roi: np.ndarray | None = None,
    shift: int = 0,
) -> Case:
    """Pairs [N, C, H, W] of one dtype, laid out here; ``shift`` as above."""
    pixels = params.size[0] * params.size[1]
    kept = pixels if roi is None else int(np.count_nonzero(roi))
    batch, dtype = len(pairs[0][0]), pairs[0][0].dtype
    data = _integers(1, len(pairs))
    for (a, _), weight in zip(pairs, params.weights, strict=True):
        data += _integers(*a.shape[1:]) + struct.pack("<d", weight)
    data += _integers(
        *params.size,
        DISTANCES.index(params.distance),
        FUSIONS.index(params.fusion),
        POOLINGS.index(params.pooling),
        params.top_count(kept),
        int(params.align_corners),
        DTYPES.index(dtype.name),
        LAYOUTS.index(layout),
        int(roi is not None),
    )
    data += struct.pack("<d", params.blur_sigma) + _integers(batch)
    data += _array(np.zeros(0, np.uint8) if roi is None else roi.astype(np.uint8), 0)
    for feature in (array for pair in pairs for array in pair):
        data += _array(feature if layout == "NCHW" else feature.transpose(0, 2, 3, 1), shift)
    f32 = np.dtype(np.float32)
    return Case(data, (((batch, *params.size), f32), ((batch,), f32)))


def nearest_case(
    queries: np.ndarray,
    memory: np.ndarray,
    weights: Sequence[float] | Blend = (1.0,),
    *,
    scale: np.ndarray | None = None,
    root: bool = False,
    layout: str = "NCHW",
    shares: np.ndarray | None = None,
    roi: np.ndarray | None = None,
    out: Out = Out(),
    shift: int = 0,
) -> Case:
    """Queries [N, C, H, W], laid out here; memory [rows, channels]; ``shift`` as above."""
    batch, channels, height, width = queries.shape
    blended, temperature = 0, 0.0
    if isinstance(weights, Blend):
        blended, temperature = min(weights.neighbours, len(memory)), weights.temperature
        weights = (0.0,) * min(weights.neighbours + 1, len(memory))
    data = _integers(2, height * width, channels, len(memory), len(weights))
    data += struct.pack(f"<{len(weights)}d", *weights)
    data += _integers(blended) + struct.pack("<d", temperature) + _integers(root)
    data += _integers(DTYPES.index(queries.dtype.name), LAYOUTS.index(layout))
    data += _integers(MEMORY_DTYPES.index(memory.dtype.name), batch)
    data += _array(queries if layout == "NCHW" else queries.transpose(0, 2, 3, 1), shift)
    data += _array(memory, shift)
    data += _array(np.zeros(0, np.float32) if scale is None else scale, 0)
    data += _array(np.zeros(0, np.uint8) if roi is None else roi.astype(np.uint8), 0)
    data += _array(np.zeros(0, np.float32) if shares is None else shares, 0)
    return Case(data + out.data(), out.outputs(batch, height, width))


def whiten_case(
    features: np.ndarray,
    mean: np.ndarray,
    factors: np.ndarray,
    side: int | None = None,
    *,
    triangular: bool = False,
    channel_normal: bool = False,
    epsilon: float = 1e-5,
    layout: str = "NCHW",
    centre: np.ndarray | None = None,
    roi: np.ndarray | None = None,
    out: Out = Out(),
    shift: int = 0,
) -> Case:
    """Features [N, C, H, W], laid out here; mean, factors as of ``Whiten``; ``shift`` as above."""
    batch, channels, height, width = features.shape
    data = _integers(3, height, width, channels, factors.shape[1], side or max(height, width))
    data += _integers(int(triangular), int(channel_normal)) + struct.pack("<d", epsilon)
    data += _integers(DTYPES.index(features.dtype.name), LAYOUTS.index(layout), batch)
    data += _array(features if layout == "NCHW" else features.transpose(0, 2, 3, 1), shift)
    data += _array(mean.astype(np.float32), shift) + _array(factors.astype(np.float32), shift)
    data += _array(np.zeros(0, np.uint8) if roi is None else roi.astype(np.uint8), 0)
    data += _array(np.zeros(0, np.float32) if centre is None else centre, 0)
    return Case(data + out.data(), out.outputs(batch, height, width))


def nv12_case(
    light: np.ndarray, chroma: np.ndarray, color_space: int, blue_first: bool, shift: int = 0
) -> Case:
    """Planes [H, W] and [H / 2, W], or views of arrays; their memory begins ``shift`` bytes off."""
    data = _integers(4, *light.shape, light.strides[0], chroma.strides[0])
    data += _integers(color_space, int(blue_first))
    wholes = [plane if plane.base is None else plane.base for plane in (light, chroma)]
    for plane, whole in zip((light, chroma), wholes, strict=True):
        data += _integers(plane.ctypes.data - whole.ctypes.data)
    data += b"".join(_array(whole, shift) for whole in wholes)
    return Case(data, (((*light.shape, 4), np.dtype(np.uint8)),))


def raise_case(
    distances: Sequence[np.ndarray],
    total: np.ndarray | None,
    own_levels: tuple[float, float],
    shift: int = 0,
) -> Case:
    """Distances [positions] of each signal and the sum [summed], which are written over."""
    data = _integers(5, len(distances), len(distances[0])) + struct.pack("<2d", *own_levels)
    arrays = [*distances, *([] if total is None else [total])]
    data += b"".join(_array(one, shift) for one in distances)
    data += _array(np.zeros(0, np.float32) if total is None else total, shift)
    return Case(data, tuple((one.shape, np.dtype(np.float32)) for one in arrays))


def _integers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _array(array: np.ndarray, shift: int) -> bytes:
    return _integers(array.nbytes, shift) + np.ascontiguousarray(array).tobytes()
