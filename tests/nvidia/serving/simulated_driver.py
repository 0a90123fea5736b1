"""SIMULATION of ``pycuda.driver`` on a ``simulation.Device``; see there.

Names and arguments are PyCUDA's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from simulation import Device, Queue

CAPABILITY, MULTIPROCESSORS, TOTAL_BYTES = (8, 7), 8, 2**30


def make_module(name: str, **attributes: Any) -> ModuleType:
    """A module that ``find_spec`` finds in sys.modules."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    for key, value in attributes.items():
        setattr(module, key, value)
    return module


class Error(Exception):
    """pycuda.driver.Error"""


class CudaMemoryError(Error):
    """pycuda.driver.MemoryError; Python's is not a base of it"""


class LogicError(Error):
    """pycuda.driver.LogicError"""


class LaunchError(Error):
    """pycuda.driver.LaunchError"""


class CudaRuntimeError(Error):
    """pycuda.driver.RuntimeError"""


def native(method: Callable[..., Any]) -> Callable[..., Any]:
    """Raise as native code does, whose frames hold no Python object in a traceback."""

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except BaseException as caught:
            error = caught.with_traceback(None)
        del self, arguments, named
        try:
            raise error
        finally:
            del error

    return call


class Simulated:
    """A class of a simulated library; ``bound`` gives it its device."""

    device: Device

    def __init_subclass__(cls) -> None:
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and not name.startswith("_"):
                setattr(cls, name, native(value))

    def let_go(self, what: str) -> None:
        """Freeing needs the context too; a destructor cannot raise, so the fault is only kept."""
        stack = self.device.stack
        excused = self.device.collecting or self.device.sticky is not None
        if stack[-1:] != ["primary"] and not excused:
            where = stack or "no context"
            self.device.faults.append(f"{what} was let go while {where} is current")


def bound(device: Device, *classes: type[Simulated], **others: Any) -> list[Any]:
    """Subclasses whose ``device`` is this one, and whose ``others`` are class attributes."""
    return [type(one.__name__, (one,), {"device": device, **others}) for one in classes]


class Context(Simulated):
    """pycuda.driver.Context"""

    def push(self) -> None:
        self.device.call("enter", context=False)
        self.device.stack.append("primary")

    def detach(self) -> None:
        self.device.call("detach", context=False)

    @classmethod
    def pop(cls) -> None:
        cls.device.call("leave", context=False)
        if cls.device.stack[-1:] != ["primary"]:
            cls.device.fault(f"pop of a context that is not edgead's: {cls.device.stack}")
        cls.device.stack.pop()


class SimulatedDevice(Simulated):
    """pycuda.driver.Device"""

    context_class: type[Context]

    def __init__(self, index: int) -> None:
        self.device.call("Device", index, context=False)

    @classmethod
    def count(cls) -> int:
        return cls.device.count

    def name(self) -> str:
        return self.device.name

    def compute_capability(self) -> tuple[int, int]:
        return CAPABILITY

    def get_attribute(self, attribute: str) -> int:
        return int(self.device.integrated) if attribute == "INTEGRATED" else MULTIPROCESSORS

    def total_memory(self) -> int:
        return TOTAL_BYTES

    def retain_primary_context(self) -> Context:
        self.device.call("retain_primary_context", context=False)
        return self.context_class()


class Stream(Simulated):
    """pycuda.driver.Stream"""

    def __init__(self, flags: int = 0) -> None:
        self.device.call("Stream", flags)
        if flags != 1:
            self.device.fault("a stream that waits for the default stream")
        self._queue: Queue = self.device.new_stream()
        self.handle = self._queue.handle

    def synchronize(self) -> None:
        self.device.call("synchronize", self.handle)
        self.device.not_while_capturing("synchronising")
        self.device.drain(self.handle)

    def __del__(self) -> None:
        if not hasattr(self, "_queue"):
            return
        self.let_go("a stream")
        if self._queue.pending:
            self.device.fault("a stream was destroyed with work pending")
        self._queue.alive = False


class DeviceAllocation(Simulated):
    """pycuda.driver.DeviceAllocation; making one is mem_alloc."""

    def __init__(self, size: int) -> None:
        self.device.call("allocate", size)
        if size > self.device.free_bytes:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        self._allocation = self.device.allocate(size, "device")

    def __int__(self) -> int:
        return self._allocation.address

    def __del__(self) -> None:
        if hasattr(self, "_allocation"):
            self.let_go("device memory")
            self.device.release(self._allocation)


class HostAllocation(Simulated):
    """pycuda.driver.HostAllocation, base of a pinned array."""

    def __init__(self, size: int, flags: int) -> None:
        self._allocation = self.device.allocate(size, "mapped" if flags & 2 else "pinned")
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self._allocation.address, False),
            "version": 3,
        }

    def get_device_pointer(self) -> int:
        if self._allocation.kind != "mapped":
            self.device.fault("the device's address of memory that is not mapped")
        return self._allocation.address

    def __del__(self) -> None:
        self.let_go("pinned memory")
        self.device.release(self._allocation)


class Functions(Simulated):
    """Functions of pycuda.driver."""

    host_class: type[HostAllocation]

    def init(self) -> None:
        self.device.call("init", context=False)

    def mem_get_info(self) -> tuple[int, int]:
        return self.device.free_bytes, 2**30

    def pagelocked_empty(self, shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        self.device.call("pinned", shape)
        assert np.dtype(dtype) == np.uint8 and order == "C"
        return np.asarray(self.host_class(int(shape), mem_flags))

    def memcpy_htod_async(self, dest: int, src: np.ndarray, stream: Stream) -> None:
        self.device.upload(dest, src, stream.handle)

    def memcpy_dtoh_async(self, dest: np.ndarray, src: int, stream: Stream) -> None:
        self.device.download(dest, src, stream.handle)

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: Stream) -> None:
        self.device.copy(dest, src, size, stream.handle)

    def memcpy_dtoh(self, dest: np.ndarray, src: int) -> None:
        self.device.read(dest, src)


def driver_module(device: Device) -> ModuleType:
    """``pycuda.driver``."""
    context, stream, memory, host = bound(device, Context, Stream, DeviceAllocation, HostAllocation)
    (one,) = bound(device, SimulatedDevice, context_class=context)
    functions = bound(device, Functions, host_class=host)[0]()
    names = [name for name in vars(Functions) if not name.startswith("_") and name != "host_class"]
    return make_module(
        "pycuda.driver",
        Error=Error,
        MemoryError=CudaMemoryError,
        LogicError=LogicError,
        LaunchError=LaunchError,
        RuntimeError=CudaRuntimeError,
        Device=one,
        Context=context,
        Stream=stream,
        mem_alloc=memory,
        host_alloc_flags=SimpleNamespace(DEVICEMAP=2),
        device_attribute=SimpleNamespace(
            INTEGRATED="INTEGRATED", MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT"
        ),
        **{name: getattr(functions, name) for name in names},
    )
