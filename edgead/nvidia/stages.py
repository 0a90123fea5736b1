"""What runs on the device between a frame and its score, enqueued on one stream."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.anomaly_map import kernel_arguments
from edgead.bundle.manifest import Manifest
from edgead.engine.digests import Hasher
from edgead.errors import DeviceError
from edgead.nvidia.buffers import Shared
from edgead.nvidia.distances import DeviceDistances, Held
from edgead.nvidia.geometries import Geometry, Roi
from edgead.nvidia.loaded_plan import Execution, LoadedPlan
from edgead.nvidia.memory import Stream

MOST_GRAPHS = 8  # per kind of frame, one for each address: a camera's ring of device buffers


class DeviceStages:
    """preprocess, the plan, what was learnt and anomaly_map, with the device memory between them.

    Called while the device's context is current. ``roi``: of the map of a frame that is seen whole.
    """

    def __init__(
        self,
        plan: LoadedPlan,
        cuda: Any,
        stream: Stream,
        manifest: Manifest,
        roi: Roi,
        held: Held = (),
    ) -> None:
        memory, params, shapes = plan.memory, manifest.map_params(), manifest.shapes()
        self._tensors, self._stream = plan.tensors, stream
        self._pairs = [(pair.reference, pair.restored) for pair in manifest.pairs]
        self._map_bytes = 4 * math.prod(params.size)
        maps = [(params, shapes)]
        if (size := manifest.scored_size()) is not None:  # the map that the score is pooled from
            maps.append((replace(params, weights=(1.0,)), ((1, *size),)))
        self._execution = Execution(plan)
        try:
            self._map_kernels = [
                cuda.AnomalyMap(**kernel_arguments(*one, np.float32, "NCHW", roi), batch=1)
                for one in maps
            ]
            self._maps = [memory.allocate(self._map_bytes) for _ in maps]
            self._distances = DeviceDistances(held, memory, stream, cuda, manifest.own_levels)
            self._score = Shared(memory, 4)
        except BaseException:
            self.close()
            raise
        at = self._execution.address
        self._features = [at(one.entry.features) for one in held]
        pairs = [(at(a), at(b)) for a, b in self._pairs] + self._distances.pairs
        self._compared = [pairs, self._distances.scored][: len(maps)]

    def enqueue(
        self, geometry: Geometry, address: int, upload: Shared | None, hasher: Hasher | None = None
    ) -> None:
        """Everything between a frame at ``address`` and its score, or the maps of its tiles.

        Args:
            upload: where the frame lies in host memory, None for one on the device.
            hasher: is shown what the stages made, for which the stream is waited for.
        """
        stream, execution, tiles = self._stream, self._execution, geometry.tiles
        handle, clock = stream.handle, geometry.clock(digests=hasher is not None)
        clock.start(handle)
        if upload is not None:
            upload.up(stream, geometry.frame_bytes)
        clock.mark(handle)
        for index, offset in enumerate(geometry.offsets):
            geometry.filters.run(address + offset, execution.image, handle)
            clock.mark(handle)
            execution.enqueue(handle)
            clock.mark(handle)
            self._distances.enqueue(self._features)
            targets = [m.address for m in self._maps] if tiles is None else tiles.addresses(index)
            for kernel, pairs, target in zip(
                self._map_kernels, self._compared, targets, strict=True
            ):  # the last one's score counts
                kernel.run(pairs, target, self._score.address, handle)
            clock.mark(handle)
            if hasher is not None:
                self._show(hasher)
                clock.mark(handle)
        (self._score if tiles is None else tiles.shared).down(stream)
        clock.mark(handle)

    def copy_map(self, to: int) -> None:
        """Enqueue a copy of the map to another place on the device."""
        self._stream.copy(to, self._maps[0].address, self._map_bytes)

    def score(self) -> float:
        """Of the frame that was waited for."""
        return float(self._score.array.view(np.float32)[0])

    def close(self) -> None:
        """Let go of context and memory, even while the object is referred to."""
        self._execution.close()
        if "_distances" in self.__dict__:
            self._distances.close()
        for name in ("_map_kernels", "_maps", "_score"):
            self.__dict__.pop(name, None)

    def _show(self, hasher: Hasher) -> None:
        """Copy image and pairs of the frame or tile just enqueued to the host."""
        host: dict[str, NDArray[np.float32]] = {}
        for name, shape in self._tensors.items():
            host[name] = np.empty(shape, np.float32)
            flat = host[name].reshape(-1).view(np.uint8)
            self._stream.download(flat, self._execution.address(name))
        compared = self._distances.download()
        self._stream.synchronize()
        image = next(iter(host.values()))[0]
        hasher.add(image, [*((host[a], host[b]) for a, b in self._pairs), *compared])


class FrameGraphs:
    """Frames as CUDA graphs: captured once for a kind of frame and an address, then launched.

    ``refusal`` says why frames are not captured, None while nothing is against it.
    """

    def __init__(self, cuda: Any, stream: Stream, stages: DeviceStages) -> None:
        self._cuda, self._stream, self._enqueue = cuda, stream, stages.enqueue
        self.refusal: str | None = None

    def run(self, geometry: Geometry, address: int, upload: Shared | None) -> None:
        """Enqueue a frame at ``address``; see ``DeviceStages.enqueue``."""
        graphs = geometry.graphs
        if address not in graphs:
            while len(graphs) >= MOST_GRAPHS:
                graphs.popitem(last=False)
            self._enqueue(geometry, address, upload)
            graphs[address] = None
            if upload is None:
                return  # this address may never come back
            self._stream.synchronize()
        if graphs[address] is None and self.refusal is None:
            try:
                graphs[address] = self._capture(geometry, address, upload)
            except (DeviceError, RuntimeError) as error:
                # A DLA, for one, cannot be captured. Whether the device itself fails is seen next.
                self.refusal = str(error)
        graphs.move_to_end(address)
        if graphs[address] is None:
            self._enqueue(geometry, address, upload)
        else:
            graphs[address].launch(self._stream.handle)

    def _capture(self, geometry: Geometry, address: int, upload: Shared | None) -> Any:
        graph, handle = self._cuda.Graph(), self._stream.handle
        try:
            graph.begin(handle)
            self._enqueue(geometry, address, upload)
            graph.end(handle)
        except BaseException:
            graph.abandon(handle)  # or the stream would stay in its capture
            del graph  # now, not whenever the exception goes
            raise
        return graph
