"""The CUDA kernels on NumPy arrays: up to the device, one launch, and down again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import anomaly_map, nearest, preprocess
from edgead.anomaly_map import MapParams
from edgead.bundle.storage import Bundle
from edgead.engine.signals import read_memories, read_whitenings
from edgead.errors import DeviceError
from edgead.nearest import Blend
from edgead.nvidia.distances import DeviceDistances, Held
from edgead.nvidia.memories import hold_memories
from edgead.nvidia.memory import Block, Memory, open_memory
from edgead.nvidia.whitenings import hold_whitenings
from edgead.preprocess import PreprocessParams

Pairs = Sequence[tuple[NDArray[Any], NDArray[Any]]]


def open_device() -> OnDevice:
    """cuda:0. Errors: DeviceError: no kernels, PyCUDA, driver or device."""
    try:
        from edgead.nvidia import _cuda
    except ImportError as error:
        raise DeviceError(f"edgead.nvidia._cuda is not built ({error}): make install") from error
    return OnDevice(open_memory(0), _cuda)


class OnDevice:
    """A device with a stream; everything wants its context to be current."""

    def __init__(self, memory: Memory, kernels: ModuleType) -> None:
        self.memory, self.kernels = memory, kernels
        with memory.current():
            self.stream = memory.stream()

    def up(self, array: NDArray[Any]) -> Block:
        """A copy of ``array`` on the device, C-contiguous."""
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        block, pinned = self.memory.allocate(flat.size), self.memory.pinned(flat.size)
        pinned.array[:] = flat
        self.stream.upload(block.address, pinned.array)
        self.stream.synchronize()
        return block

    def down(self, block: Block, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """What lies on the device, as an array."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pinned = self.memory.pinned(count)
        self.stream.download(pinned.array, block.address)
        self.stream.synchronize()
        return pinned.array.copy().view(dtype).reshape(shape)

    def preprocess(
        self, frame: NDArray[Any], params: PreprocessParams, color: str = "bgr",
        dtype: Any = np.float32, layout: str = "NCHW", captured: bool = False,
    ) -> NDArray[Any]:  # fmt: skip
        """``edgead.preprocess.preprocess`` by the CUDA twin; ``captured``: in a CUDA graph."""
        held = _base(frame)
        block = self.up(held)
        offset = _address(frame) - _address(held)
        shape = (3, *params.size) if layout == "NCHW" else (*params.size, 3)
        image = self.memory.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        given = preprocess.kernel_arguments(frame, params, color, dtype, layout)
        kernel = self.kernels.Preprocess(**given)

        def run() -> None:
            kernel.run(block.address + offset, image.address, self.stream.handle)

        if captured:
            graph = self.kernels.Graph()
            graph.begin(self.stream.handle)
            run()
            graph.end(self.stream.handle)
            graph.launch(self.stream.handle)
        else:
            run()
        return self.down(image, shape, dtype)

    def anomaly_map(
        self, pairs: Pairs, params: MapParams, layout: str = "NCHW", roi: Any = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``AnomalyMap`` by the CUDA twin: maps [N, H, W] and scores [N]. pairs are NCHW."""
        batch, dtype = len(pairs[0][0]), pairs[0][0].dtype
        shapes = [a.shape[1:] for a, _ in pairs]
        given = anomaly_map.kernel_arguments(params, shapes, dtype, layout, roi)
        kernel = self.kernels.AnomalyMap(**given, batch=batch)
        axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
        blocks = [tuple(self.up(x.transpose(axes)) for x in pair) for pair in pairs]
        maps = self.memory.allocate(4 * batch * params.size[0] * params.size[1])
        scores = self.memory.allocate(4 * batch)
        addresses = [(a.address, b.address) for a, b in blocks]
        kernel.run(addresses, maps.address, scores.address, self.stream.handle)
        return (
            self.down(maps, (batch, *params.size), np.float32),
            self.down(scores, (batch,), np.float32),
        )

    def nearest(
        self, queries: NDArray[Any], memory: NDArray[Any], weights: Sequence[float] | Blend,
        scale: Any = None, layout: str = "NCHW", roi: Any = None, counts: Any = None,
        shares: Any = None,
    ) -> NDArray[np.float32]:  # fmt: skip
        """``Nearest`` by the CUDA twin: distances [N, H, W]. queries are NCHW."""
        batch, channels, height, width = queries.shape
        sought, blended, temperature = nearest.sought(weights, len(memory))
        kernel = self.kernels.Nearest(
            memory,
            scale,
            positions=height * width,
            width=width,
            weights=sought,
            blended=blended,
            temperature=temperature,
            root=False,
            type=preprocess.DTYPES.index(queries.dtype.name),
            layout=preprocess.LAYOUTS.index(layout),
            channels=channels,
            rows=len(memory),
            memory_type=nearest.MEMORY_DTYPES.index(memory.dtype.name),
        )
        axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
        held = [self.up(queries.transpose(axes)), self.up(memory)]
        more = [None if array is None else self.up(array) for array in (scale, shares, roi, counts)]
        at_scale, *places = (0 if block is None else block.address for block in more)
        distance = self.memory.allocate(4 * batch * height * width)
        workspace = self.memory.allocate(kernel.workspace_bytes(batch))
        kernel.run(
            held[1].address,
            at_scale,
            held[0].address,
            batch,
            *places,
            distance.address,
            *(0, 0, False),
            workspace.address,
            self.stream.handle,
        )
        return self.down(distance, (batch, height, width), np.float32)

    def whiten(
        self, features: NDArray[Any], mean: NDArray[Any], factors: NDArray[Any], side: int,
        *, triangular: bool, channel_normal: bool, layout: str = "NCHW", centre: Any = None,
        roi: Any = None,
    ) -> NDArray[np.float32]:  # fmt: skip
        """``Whiten`` by the CUDA twin: distances [N, H, W]. features are NCHW."""
        batch, channels, height, width = features.shape
        kernel = self.kernels.Whiten(
            size=(height, width),
            channels=channels,
            outputs=factors.shape[1],
            side=side,
            triangular=triangular,
            channel_normal=channel_normal,
            epsilon=1e-5,
            type=preprocess.DTYPES.index(features.dtype.name),
            layout=preprocess.LAYOUTS.index(layout),
        )
        axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
        held = [self.up(mean), self.up(factors), self.up(features.transpose(axes))]
        more = [None if array is None else self.up(array) for array in (centre, roi)]
        distance = self.memory.allocate(4 * batch * height * width)
        addresses = [block.address for block in held]
        places = [0 if block is None else block.address for block in more]
        out = 0, distance.address, 0, 0, False  # counts, distance, scored, sum, add
        kernel.run(*addresses, batch, *places, *out, self.stream.handle)
        return self.down(distance, (batch, height, width), np.float32)

    def distances(
        self, bundle: Bundle, features: Mapping[str, NDArray[np.float32]]
    ) -> tuple[list[tuple[NDArray[np.float32], NDArray[np.float32]]], NDArray[np.float32]]:
        """The pairs and the sum of the score that ``bundle`` makes of features [1, C, H, W] of each
        output."""
        held: Held = (
            *hold_memories(
                bundle.manifest.memories, read_memories(bundle), self.kernels, self.memory
            ),
            *hold_whitenings(
                bundle.manifest.whitenings, read_whitenings(bundle), self.kernels, self.memory
            ),
        )
        found = DeviceDistances(
            held, self.memory, self.stream, self.kernels, bundle.manifest.own_levels
        )
        blocks = {name: self.up(one) for name, one in features.items()}
        for _ in range(2):  # the sum begins anew
            found.enqueue([blocks[one.entry.features].address for one in held])
        pairs, total = found.download(), found.download_sum()
        self.stream.synchronize()
        found.close()
        return pairs, total


def _base(array: NDArray[Any]) -> NDArray[Any]:
    """The C-contiguous array that ``array`` is a view of, or ``array`` itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
