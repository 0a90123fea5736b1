"""Frames in NV12 whose planes lie in the memory of a GPU: they become colours there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from numpy.typing import NDArray

from edgead.images.nv12 import COLOR_SPACES, Nv12, check_color
from edgead.nvidia.device_frame import Arrivals, DeviceFrame
from edgead.nvidia.memory import Memory, Stream


class DeviceNv12:
    """As ``DeviceFrame``, of the colours that ``enqueue`` makes: [H, W, 3], four bytes a pixel.

    Raises:
        InputError: planes whose interface is damaged, or ``color`` "gray".
    """

    def __init__(self, frame: Nv12, color: str) -> None:
        check_color(color)
        self._layout, self._color = frame.layout, color
        height, width, stride, chroma_stride, _ = frame.layout
        self.shape, self.dtype = frame.shape, frame.dtype
        self.strides = (4 * width, 4, 1)
        self.color_bytes = 4 * height * width
        self._planes = (
            _plane(frame.light, (height, width), stride),
            _plane(frame.chroma, (height // 2, width), chroma_stride),
        )

    def enqueue(self, cuda: Any, arrivals: Arrivals, colors: int, stream: Stream) -> None:
        """Make the colours, ``color_bytes`` from address ``colors`` on, once the planes are ready.

        Raises:
            InputError: a plane in the memory of another device, or a stream that is gone.
        """
        light, chroma = (arrivals.wait_for(plane) for plane in self._planes)
        blue_first = self._color == "bgr"
        cuda.nv12(*self._layout, blue_first, light, chroma, colors, stream.handle)

    def read(self, memory: Memory) -> NDArray[Any]:
        """The colours in host memory."""
        light, chroma = (plane.read(memory) for plane in self._planes)
        return Nv12(light, chroma, COLOR_SPACES[self._layout[4]]).colors(self._color)


def _plane(array: Any, shape: tuple[int, int], stride: int) -> DeviceFrame:
    said = {**array.__cuda_array_interface__, "shape": shape, "strides": (stride, 1)}
    return DeviceFrame(SimpleNamespace(__cuda_array_interface__=said), "gray")
