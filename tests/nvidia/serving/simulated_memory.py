"""SIMULATION of the device, memory and streams of ``edgead.nvidia._cuda``; see ``simulation``.

What they give is let go in the device's context, which they see to themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from simulated_driver import CAPABILITY, MULTIPROCESSORS, TOTAL_BYTES, Simulated, bound
from simulation import Allocation, CudaError
from simulation import Device as Machine


class Held(Simulated):
    """An allocation."""

    def __init__(self, allocation: Allocation) -> None:
        self._allocation = allocation

    @property
    def address(self) -> int | None:
        return self._allocation.address

    def __del__(self) -> None:
        self.device.release(self._allocation)


class HostMemory(Held):
    """edgead.nvidia._cuda.HostMemory: a buffer."""

    def __init__(self, allocation: Allocation) -> None:
        super().__init__(allocation)
        self.__array_interface__ = {
            "shape": (allocation.size,),
            "typestr": "|u1",
            "data": (allocation.address, False),
            "version": 3,
        }

    @property
    def address(self) -> int | None:
        return self._allocation.address if self._allocation.kind == "mapped" else None


class Stream(Simulated):
    """edgead.nvidia._cuda.Stream"""

    def __init__(self) -> None:
        self._queue = self.device.new_stream()
        self.handle = self._queue.handle

    def upload(self, to: int, source: np.ndarray) -> None:
        self.device.upload(to, source, self.handle)

    def download(self, to: np.ndarray, source: int) -> None:
        self.device.download(to, source, self.handle)

    def copy(self, to: int, source: int, count: int) -> None:
        self.device.copy(to, source, count, self.handle)

    def synchronize(self) -> None:
        self.device.call("synchronize", self.handle)
        self.device.not_while_capturing("synchronising")
        self.device.drain(self.handle)

    def __del__(self) -> None:
        if self._queue.pending and self.device.sticky is None:
            self.device.fault("a stream was destroyed with work pending")
        self._queue.alive = False


class Device(Simulated):
    """edgead.nvidia._cuda.Device"""

    parts: dict[str, Any]
    capability = CAPABILITY
    multiprocessors = MULTIPROCESSORS
    total_bytes = TOTAL_BYTES

    def __init__(self, index: int) -> None:
        self.device.call("Device", index, context=False)
        self.name, self.integrated = self.device.name, self.device.integrated

    def enter(self) -> str | None:
        before = self.device.current_context
        self.device.call("enter", context=False)
        self.device.current_context = "primary"
        return before

    def leave(self, before: str | None) -> None:
        self.device.current_context = before  # also when it reports what failed long before
        self.device.call("leave", context=False)

    def memory_info(self) -> tuple[int, int]:
        return self.device.free_bytes, TOTAL_BYTES

    def allocate(self, count: int) -> Held:
        self.device.call("allocate", count)
        if count > self.device.free_bytes:
            raise CudaError("out of memory", 2)
        return self.parts["held"](self.device.allocate(count, "device"))

    def pinned(self, count: int) -> HostMemory:
        self.device.call("pinned", count)
        kind = "mapped" if self.integrated else "pinned"
        return self.parts["host"](self.device.allocate(count, kind))

    def registered(self, memory: Any) -> Held:
        self.device.call("registered", len(memory))
        kind = "mapped" if self.integrated else "pinned"
        return self.parts["registered"](self.device.adopt(memory, kind))

    def stream(self) -> Stream:
        self.device.call("Stream", 1)
        return self.parts["stream"]()

    def read(self, to: np.ndarray, source: int) -> None:
        self.device.read(to, source)


class RegisteredMemory(HostMemory):
    """edgead.nvidia._cuda.RegisteredMemory"""


def memory_names(machine: Machine) -> dict[str, Any]:
    """What ``edgead.nvidia._cuda`` has beside its kernels."""
    held, host, registered, stream = bound(machine, Held, HostMemory, RegisteredMemory, Stream)
    parts = {"held": held, "host": host, "registered": registered, "stream": stream}
    (device,) = bound(machine, Device, parts=parts)
    names = {"DeviceMemory": held, "HostMemory": host, "RegisteredMemory": registered}
    return {**names, "Device": device, "Stream": stream, "device_count": lambda: machine.count}
