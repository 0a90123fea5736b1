"""CPU kernels, built from csrc/. Use edgead.preprocess, anomaly_map, nearest and engine.whiten."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Axis = tuple[int, tuple[int, ...], tuple[int, ...], npt.NDArray[np.float32]]
_Polygons = Sequence[Sequence[tuple[float, float]]]

TYPES: tuple[str, ...]
LAYOUTS: tuple[str, ...]
DISTANCES: tuple[str, ...]
FUSIONS: tuple[str, ...]
POOLINGS: tuple[str, ...]
SEARCHES: tuple[str, ...]
BIT_DEPTHS: tuple[int, int]
MAX_SIDE: int
MAX_LEVELS: int
MAX_NEAREST: int
PARTS: int
WHITEN_EPSILON: float

# The rules of csrc/kernels/arguments.h: what is expected instead, "" where it fits; a problem.
def expected_size(sides: Sequence[int]) -> str: ...
def expected_mean(mean: Sequence[float]) -> str: ...
def expected_std(std: Sequence[float]) -> str: ...
def expected_bit_depth(bits: int) -> str: ...
def expected_weights(weights: Sequence[float], most: int) -> str: ...
def expected_blur_sigma(sigma: float) -> str: ...
def expected_top_k(share: float) -> str: ...
def expected_shape(shape: Sequence[int]) -> str: ...
def expected_memory(rows: int, channels: int) -> str: ...
def expected_scale(scale: Sequence[float], channels: int) -> str: ...
def expected_neighbours(neighbours: int) -> str: ...
def expected_temperature(temperature: float) -> str: ...
def expected_side(side: int) -> str: ...
def expected_epsilon(epsilon: float) -> str: ...
def expected_factors(
    factors: Sequence[int], channels: int, height: int, width: int, side: int
) -> str: ...
def expected_overlap(overlap: int, height: int, width: int) -> str: ...
def problem_of_frame(height: int, width: int) -> str: ...
def problem_of_value(highest: int, bits: int) -> str: ...
def normalisation(
    mean: Sequence[float], std: Sequence[float], bit_depth: int
) -> tuple[list[float], list[float]]: ...
def top_count(share: float, kept: int) -> int: ...
def triangular(factors: npt.NDArray[np.float32]) -> bool: ...
def simd_paths() -> list[str]: ...
def nearest_paths() -> list[str]: ...

# The rules of csrc/runtime/restrictions.h.
def code_refused(library: str) -> str: ...
def cure_of_code(root: str) -> str: ...
def restricted(said: str) -> str: ...
def scarcity(said: str) -> str: ...
def problem_of_addresses(threads: int) -> str: ...
def pool(
    values: npt.NDArray[np.float32], roi: npt.NDArray[np.uint8] | None, pooling: int, share: float
) -> float: ...
def fingerprint(array: npt.NDArray[Any]) -> int: ...
def keep_for_ever(object: object) -> None: ...
def check_false_reject_rate(rate: float, n: int) -> float: ...
def best_false_reject_rate(n: int) -> float: ...
def default_false_reject_rate(n: int) -> float: ...
def typed_rate(best: float) -> str: ...
def images_needed(rate: float) -> float: ...

# Tiles: (length, starts, offsets, weights) along each direction.
def plan_axis(frame: int, tile: int, overlap: int, pixels: int) -> _Axis: ...
def plan_tiles(
    size: tuple[int, int], overlap: int, frame: tuple[int, int], tile_map: tuple[int, int]
) -> tuple[_Axis, _Axis]: ...
def stitch(
    values: npt.NDArray[np.float32],
    y: int,
    x: int,
    down: npt.NDArray[np.float32],
    across: npt.NDArray[np.float32],
    to: npt.NDArray[np.float32],
) -> None: ...

# manifest.json and the names in it; the digest of a file.
SCHEMA_VERSION: int
MODEL_PRECISIONS: tuple[str, ...]

def check_manifest(text: bytes) -> None: ...
def check_names(text: bytes) -> None: ...
def problem_of_digest(bytes: int, found: str, expected: str) -> str: ...

# The ignore mask.
def check_ignore_mask(
    frame_size: tuple[int, int], polygons: _Polygons, has_image: bool
) -> None: ...
def check_frame_size(frame_size: tuple[int, int], frame: tuple[int, ...]) -> None: ...
def ignored_pixels(
    frame_size: tuple[int, int], polygons: _Polygons, image: npt.NDArray[np.uint8] | None
) -> npt.NDArray[np.bool_]: ...
def region_of_interest(
    ignored: npt.NDArray[np.bool_], map: tuple[int, int]
) -> npt.NDArray[np.uint8]: ...

class Ranked:
    def __init__(self, scores: Sequence[float], tolerance: float) -> None: ...
    def p_value(self, score: float) -> float: ...
    def threshold(self, rate: float) -> float: ...

class Preprocess:
    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        strides: Sequence[int],
        sample_bytes: int,
        bit_depth: int,
        size: tuple[int, int],
        order: tuple[int, int, int],
        scale: Sequence[float],
        bias: Sequence[float],
        type: int,
        layout: int,
        simd: str,
    ) -> None: ...
    def run(self, frame: npt.NDArray[Any], image: npt.NDArray[Any]) -> None: ...

class AnomalyMap:
    def __init__(
        self,
        *,
        shapes: Sequence[tuple[int, int, int]],
        weights: Sequence[float],
        size: tuple[int, int],
        distance: int,
        fusion: int,
        pooling: int,
        top_count: int,
        align_corners: bool,
        sigma: float,
        type: int,
        layout: int,
        roi: npt.NDArray[np.uint8] | None,
        simd: str,
    ) -> None: ...
    def run(
        self,
        pairs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
        map: npt.NDArray[np.float32],
        score: npt.NDArray[np.float32],
    ) -> None: ...

class NearestMemory:
    def __init__(
        self,
        *,
        memory: npt.NDArray[Any],
        type: int,
        search: int,
        scale: npt.NDArray[np.float32],
        mean: npt.NDArray[np.float32],
        basis: npt.NDArray[np.float32],
    ) -> None: ...

class Nearest:
    def __init__(
        self,
        memory: NearestMemory,
        *,
        positions: int,
        width: int,
        weights: Sequence[float],
        blended: int,
        temperature: float,
        root: bool,
        type: int,
        layout: int,
        roi: npt.NDArray[np.uint8] | None,
        simd: str,
    ) -> None: ...
    def run(self, query: npt.NDArray[Any], distance: npt.NDArray[np.float32]) -> None: ...
    def rows(self) -> npt.NDArray[np.int32]: ...

class Whiten:
    def __init__(
        self,
        *,
        size: tuple[int, int],
        channels: int,
        outputs: int,
        side: int,
        triangular: bool,
        channel_normal: bool,
        epsilon: float,
        type: int,
        layout: int,
        mean: npt.NDArray[np.float32],
        factor: npt.NDArray[np.float32],
        roi: npt.NDArray[np.uint8] | None,
        simd: str,
    ) -> None: ...
    def run(self, feature: npt.NDArray[Any], distance: npt.NDArray[np.float32]) -> None: ...
