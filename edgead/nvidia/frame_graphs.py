"""Frames as CUDA graphs: captured once for a kind of frame and an address, launched afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgead.errors import DeviceError
from edgead.nvidia.buffers import Shared
from edgead.nvidia.geometries import Geometry
from edgead.nvidia.memory import Stream

MOST_GRAPHS = 8  # per kind of frame, one for each address: a camera's ring of device buffers


class FrameGraphs:
    """Runs what ``enqueue`` enqueues on ``stream`` as one launch, where that is possible.

    ``refusal``: why frames are not captured, None while nothing is against it.
    """

    def __init__(
        self, cuda: Any, stream: Stream, enqueue: Callable[[Geometry, int, Shared | None], None]
    ) -> None:
        self._cuda, self._stream, self._enqueue = cuda, stream, enqueue
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
