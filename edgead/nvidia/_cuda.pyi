"""CUDA kernels and a device's memory, built from csrc/ where there was a CUDA compiler.

Addresses and stream handles are integers. Everything but ``Device.enter`` and ``leave`` acts on the
thread's current CUDA context; constructors of kernels allocate and upload, the rest only enqueues.
Errors: RuntimeError "… (error N)".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ARCHITECTURES: str

def status() -> tuple[int, str]: ...
def available() -> bool: ...
def device_count() -> int: ...
def place_of(address: int, integrated: bool) -> tuple[int, int]: ...
def nv12(
    height: int,
    width: int,
    stride: int,
    chroma_stride: int,
    color_space: int,
    blue_first: bool,
    light: int,
    chroma: int,
    colors: int,
    stream: int,
) -> None: ...

class Device:  # edgead.nvidia.backend.NativeDevice
    name: str
    capability: tuple[int, int]
    integrated: bool
    multiprocessors: int
    total_bytes: int
    def __init__(self, index: int) -> None: ...
    def enter(self) -> int: ...
    def leave(self, before: int) -> None: ...
    def memory_info(self) -> tuple[int, int]: ...
    def allocate(self, count: int) -> DeviceMemory: ...
    def pinned(self, count: int) -> HostMemory: ...
    def registered(self, memory: Any) -> RegisteredMemory: ...
    def stream(self) -> Stream: ...
    def read(self, to: Any, source: int) -> None: ...

class DeviceMemory:
    address: int

class HostMemory:  # a buffer of bytes
    address: int | None

class RegisteredMemory:
    address: int | None

class Stream:  # edgead.nvidia.backend.NativeStream
    handle: int
    def upload(self, to: int, source: Any) -> None: ...
    def download(self, to: Any, source: int) -> None: ...
    def copy(self, to: int, source: int, count: int) -> None: ...
    def synchronize(self) -> None: ...

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
    ) -> None: ...
    def run(self, frame: int, image: int, stream: int) -> None: ...

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
        batch: int,
    ) -> None: ...
    def run(self, pairs: Sequence[tuple[int, int]], map: int, score: int, stream: int) -> None: ...

class Nearest:
    def __init__(
        self,
        memory: npt.NDArray[Any],
        scale: npt.NDArray[np.float32] | None,
        *,
        positions: int,
        width: int,
        weights: Sequence[float],
        blended: int,
        temperature: float,
        root: bool,
        type: int,
        layout: int,
        channels: int,
        rows: int,
        memory_type: int,
    ) -> None: ...
    @staticmethod
    def codes_bytes(rows: int, channels: int) -> int: ...
    def workspace_bytes(self, batch: int) -> int: ...
    def run(
        self,
        memory: int,
        scale: int,
        query: int,
        batch: int,
        shares: int,
        roi: int,
        counts: int,
        distance: int,
        scored: int,
        sum: int,
        add: bool,
        workspace: int,
        stream: int,
    ) -> None: ...

def raise_distances(
    distances: list[int],
    positions: int,
    sum: int,
    summed: int,
    lowest: float,
    highest: float,
    stream: int,
) -> None: ...

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
    ) -> None: ...
    def run(
        self,
        mean: int,
        factor: int,
        feature: int,
        batch: int,
        centre: int,
        roi: int,
        counts: int,
        distance: int,
        scored: int,
        sum: int,
        add: bool,
        stream: int,
    ) -> None: ...

class Events:
    def __init__(self, count: int) -> None: ...
    def record(self, index: int, stream: int) -> None: ...
    def wait(self, index: int, stream: int) -> None: ...
    def intervals_ms(self) -> list[float]: ...

class Graph:
    def __init__(self) -> None: ...
    def begin(self, stream: int) -> None: ...
    def end(self, stream: int) -> None: ...
    def abandon(self, stream: int) -> None: ...
    def launch(self, stream: int) -> None: ...
