"""Frames in the memory of a GPU, as PyCUDA, CuPy and torch have them; taken without a copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.nvidia.memory import Bytes, Memory, Stream
from edgead.preprocess import check_geometry, check_word

_NO_STREAM = "(error 400)"  # cudaErrorInvalidResourceHandle
LEGACY_STREAM = 1  # the default stream of libraries that do not say which one they use


class DeviceFrame:
    """What ``__cuda_array_interface__`` (version 2 or 3) says, checked like a NumPy frame.

    ``stream`` is the handle of the stream on which the frame is being made, None when it is ready.
    Version 2 cannot say (torch has it): the default stream is taken, and another stream has to be
    synchronised before scoring.

    Raises:
        InputError: not a frame, as ``check_frame``; an interface that is damaged or has a mask.

    Source: https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
    """

    def __init__(self, array: Any, color: str) -> None:
        found = array.__cuda_array_interface__
        try:
            self.shape: tuple[int, ...] = tuple(int(side) for side in found["shape"])
            self.dtype: np.dtype[Any] = np.dtype(found["typestr"])
            self.address = int(found["data"][0])
            version, strides = int(found["version"]), found.get("strides")
            stream = found.get("stream") if version >= 3 else LEGACY_STREAM
            self.stream = None if stream is None else int(stream)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"the frame's __cuda_array_interface__ is damaged ({error!r}): it is not an array"
            ) from error
        if version < 2 or found.get("mask") is not None or self.stream == 0:
            raise InputError(
                "the frame's __cuda_array_interface__ is older than version 2, has a mask or names "
                "stream 0, which means two things: expected an array without a mask, version 2 or 3"
            )
        self.array = array
        self.ndim = len(self.shape)
        check_word("color", color, ("bgr", "rgb", "gray"))
        check_geometry(self, color)
        if strides is None:
            strides = contiguous(self.shape, self.dtype)
        self.strides: tuple[int, ...] = tuple(int(step) for step in strides)
        if len(self.strides) != self.ndim:
            raise InputError(f"the frame has shape {self.shape} and strides {self.strides}")
        item = self.dtype.itemsize
        if any(number % item for number in (self.address, *self.strides)):
            raise InputError(  # a GPU that reads there ends CUDA for the process (error 716)
                f"the frame's {self.dtype} samples lie at address {self.address:#x} with strides "
                f"{self.strides}, expected multiples of {item}: copy it to an array of its own "
                "(CuPy: frame.copy(), torch: frame.clone())"
            )

    def read(self, memory: Memory) -> NDArray[Any]:
        """The frame in host memory."""
        reach = [(side - 1) * step for side, step in zip(self.shape, self.strides, strict=True)]
        first = self.address + sum(step for step in reach if step < 0)
        count = sum(map(abs, reach)) + self.dtype.itemsize
        with memory.current():
            held: Bytes = memory.read(first, count)
        view = np.ndarray(self.shape, self.dtype, held, self.address - first, self.strides)
        return np.ascontiguousarray(view)


class Arrivals:
    """Lets ``stream`` wait until frames on the device are ready."""

    def __init__(self, cuda: Any, memory: Memory, stream: Stream) -> None:
        self._cuda, self._memory, self._stream = cuda, memory, stream
        self._event = cuda.Events(1)

    def wait_for(self, frame: DeviceFrame) -> int:
        """Enqueue the wait for what other libraries enqueued; the frame's address on the device.

        Raises:
            InputError: a frame in the memory of another device, or a stream that is gone.
        """
        index = self._memory.index
        place, address = self._cuda.place_of(frame.address, self._memory.integrated)
        if place != index:
            where = f"on cuda:{place}" if place >= 0 else "in no device's memory"
            raise InputError(
                f"the frame lies {where} and the Detector runs on cuda:{index}: copy "
                "it there, or make the Detector on the frame's device; what the host can read, "
                "give as a NumPy array"
            )
        if frame.stream is not None:
            try:
                self._event.record(0, frame.stream)
            except RuntimeError as error:
                if _NO_STREAM not in str(error):
                    raise
                raise InputError(
                    f"the frame names the stream {frame.stream:#x}, which is none of "
                    f"cuda:{index}: keep the stream that fills a frame until the "
                    "frame was scored"
                ) from error
            self._event.wait(0, self._stream.handle)
        return int(address)


def contiguous(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Strides of a C-contiguous array."""
    return tuple(dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
