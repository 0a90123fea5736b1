"""A SIMULATION of a CUDA device in host memory. No GPU is involved, and nothing here proves that a
GPU would agree; it holds the code that drives one to the rules of CUDA.

Device memory is host memory with bounds and lifetimes. Work is queued on streams and done only when
somebody synchronises, in the order of each stream and as late as possible, so that a missing
synchronise or a buffer that is written again too early gives wrong numbers. What breaks a rule is a
``Fault``: raised, and kept in ``Device.faults``, as some places may not raise.

What it cannot see: time, real concurrency on a device, the driver's own behaviour, TensorRT's own
kernels (ONNX Runtime executes the graph), the CUDA kernels (their CPU twins stand in).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ALIGNMENT = 256
LEGACY_STREAM = 1
POISON = 0xFF  # of float32: NaN


class Fault(AssertionError):
    """The code under test broke a rule of CUDA."""


@dataclass(eq=False)
class Allocation:
    """Bytes of the device, or pinned ones of the host."""

    address: int
    size: int
    kind: str  # "device" | "pinned" | "mapped"
    bytes: np.ndarray
    alive: bool = True


@dataclass(eq=False)
class Op:
    """Work on a stream. ``touches``: (first address, bytes, whether it writes)."""

    name: str
    run: Callable[[], None]
    touches: tuple[tuple[int, int, bool], ...] = ()
    done: bool = False


@dataclass(eq=False)
class Queue:
    """A stream."""

    handle: int
    pending: list[Op] = field(default_factory=list)
    capture: list[Op] | None = None
    capturing_thread: int = 0
    alive: bool = True


class Device:
    """The simulated machine: one device (more can be counted), its contexts, memory and streams.

    ``plant(name, at, error)`` makes the ``at``-th coming call of a name raise. ``sticky``: what
    every call raises from now on. ``log``: (name, details) of every call, in order.
    """

    def __init__(self, *, integrated: bool = False, count: int = 1) -> None:
        self.integrated = integrated
        self.count = count
        self.name = "Simulated GPU"
        self.free_bytes = 2**30
        self.lock = threading.RLock()
        self.faults: list[str] = []
        self.log: list[tuple[str, Any]] = []
        self.sticky: Exception | None = None
        self.ticks_ms = 0.0
        self.collecting = False  # Python's collector runs, which ends native objects in no order
        self.refuse_plan: bool | str = False  # deserialisation gives None, and logs the text
        self.shares_profiles = True  # as from TensorRT 10 on; else one context has the profile
        self.profile_users = 0
        self._plants: dict[str, list[tuple[int, BaseException]]] = {}
        self._allocations: list[Allocation] = []
        self._local = threading.local()
        self._handles = itertools.count(0x5000)
        self.queues = {LEGACY_STREAM: Queue(LEGACY_STREAM)}

    # Calls

    def call(self, name: str, details: Any = None, *, context: bool = True) -> None:
        """Every call passes here: recorded, planted errors, the rule of the current context."""
        with self.lock:
            self.log.append((name, details))
            left = [(at - 1, error) for at, error in self._plants.get(name, [])]
            self._plants[name] = [(at, error) for at, error in left if at > 0]
            try:
                if left and left[0][0] == 0:
                    raise left[0][1]
            finally:
                del left  # a cycle of frame and error would keep what the callers hold
            if self.sticky is not None:
                raise self.sticky
            if context and (not self.stack or self.stack[-1] != "primary"):
                self.fault(f"{name} while {self.stack[-1:] or 'no context'} is current")

    def plant(self, name: str, at: int, error: BaseException) -> None:
        """Make the ``at``-th call of ``name`` from now on raise ``error``."""
        self._plants.setdefault(name, []).append((at, error))

    def fault(self, text: str) -> None:
        """A rule was broken."""
        self.faults.append(text)
        raise Fault(text)

    def count_of(self, *names: str) -> int:
        """Calls so far of any of ``names``."""
        return sum(name in names for name, _ in self.log)

    # Contexts

    @property
    def stack(self) -> list[str]:
        """This thread's contexts, the current one last."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[str] = self._local.stack
        return stack

    @contextmanager
    def foreign_context(self, name: str) -> Iterator[None]:
        """Another library's context is current in this thread, and must still be afterwards."""
        self.stack.append(name)
        yield
        if self.stack[-1:] != [name]:
            self.fault(f"the context {name} is not current any more: {self.stack}")
        self.stack.pop()

    # Memory

    def allocate(self, size: int, kind: str) -> Allocation:
        """Poisoned bytes; more than ``free_bytes`` is the caller's to refuse."""
        with self.lock:
            self.not_while_capturing(f"allocating {kind} memory")
            whole = np.full(size + 2 * ALIGNMENT, POISON, np.uint8)
            start = -whole.ctypes.data % ALIGNMENT
            found = Allocation(whole.ctypes.data + start, size, kind, whole[start : start + size])
            self._allocations.append(found)
            if kind == "device":
                self.free_bytes -= size
            return found

    def release(self, allocation: Allocation) -> None:
        """Free it; its bytes stay poisoned and reserved, so that a later use is found."""
        with self.lock:
            if not allocation.alive:
                self.fault(f"{allocation.kind} memory was freed twice")
            first, last = allocation.address, allocation.address + allocation.size
            for queue in self.queues.values():
                for op in queue.pending:
                    if any(a < last and a + n > first for a, n, _ in op.touches):
                        self.fault(f"memory was freed while {op.name} on a stream needs it")
            allocation.alive = False
            allocation.bytes[:] = POISON
            if allocation.kind == "device":
                self.free_bytes += allocation.size

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """A view of ``size`` bytes that lie in one living allocation."""
        for found in reversed(self._allocations):
            if found.address <= address < found.address + max(found.size, 1):
                if not found.alive:
                    self.fault(f"use of freed {found.kind} memory")
                if address + size > found.address + found.size:
                    self.fault(f"{size} bytes at {address - found.address} of {found.size} bytes")
                start = address - found.address
                return found.bytes[start : start + size]
        self.fault(f"address {address:#x} is nobody's")
        raise AssertionError

    def on_device(self, address: int) -> bool:
        """Whether the device reaches ``address``."""
        return any(
            a.alive and a.kind in ("device", "mapped") and a.address <= address < a.address + a.size
            for a in self._allocations
        )

    def living(self, kind: str) -> int:
        """Living allocations of a kind."""
        return sum(a.alive and a.kind == kind for a in self._allocations)

    # Streams

    def new_stream(self) -> Queue:
        """A stream with a handle of its own."""
        with self.lock:
            queue = Queue(next(self._handles))
            self.queues[queue.handle] = queue
            return queue

    def queue(self, handle: int) -> Queue:
        """The stream with this handle."""
        if handle == 0 or handle not in self.queues:
            self.fault(f"work on stream {handle}, which is the default stream or none")
        if not self.queues[handle].alive:
            self.fault("work on a stream that was destroyed")
        return self.queues[handle]

    def enqueue(self, handle: int, op: Op) -> None:
        """Queue or capture ``op``."""
        with self.lock:
            queue = self.queue(handle)
            for address, size, _ in op.touches:
                self.bytes_at(address, size)
            if queue.capture is not None:
                queue.capture.append(op)
                return
            self._check_order(queue, op)
            queue.pending.append(op)

    def _check_order(self, queue: Queue, op: Op) -> None:
        """Work on other streams that meets the same bytes has to be over, or waited for."""
        for other in self.queues.values():
            waited = [getattr(p, "until", None) for p in queue.pending]
            for place, earlier in enumerate(other.pending):
                if other is queue or not _collide(earlier, op):
                    continue
                if not any(later in waited for later in other.pending[place:]):
                    self.fault(f"{op.name} and {earlier.name} race on two streams")

    def drain(self, handle: int, until: Op | None = None) -> None:
        """Do what is pending on a stream, at most to ``until``."""
        with self.lock:
            queue = self.queue(handle)
            while queue.pending and not (until is not None and until.done):
                op = queue.pending[0]
                for address, size, _ in op.touches:
                    self.bytes_at(address, size)
                op.run()
                op.done = True
                queue.pending.pop(0)

    def begin_capture(self, handle: int) -> None:
        """Record what comes, instead of queueing it."""
        with self.lock:
            queue = self.queue(handle)
            if queue.capture is not None:
                self.fault("a capture inside a capture")
            queue.capture, queue.capturing_thread = [], threading.get_ident()

    def end_capture(self, handle: int) -> list[Op]:
        """What was recorded."""
        with self.lock:
            queue = self.queue(handle)
            ops, queue.capture = queue.capture, None
            if ops is None:
                self.fault("the end of a capture that did not begin")
            return ops or []

    def abandon_capture(self, handle: int) -> None:
        """Forget what was recorded, if anything was."""
        self.queue(handle).capture = None

    def not_while_capturing(self, what: str) -> None:
        """Of the thread that captures: edgead's own rule, which it does not ask CUDA to enforce."""
        for queue in self.queues.values():
            if queue.capture is not None and queue.capturing_thread == threading.get_ident():
                self.fault(f"{what} while a stream is captured")


class Wait(Op):
    """Work that waits for an event of another stream."""

    until: Op | None = None


def _collide(one: Op, other: Op) -> bool:
    return any(
        a < b + m and b < a + n and (write or writes)
        for a, n, write in one.touches
        for b, m, writes in other.touches
    )


def span(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...], item: int
) -> tuple[int, int]:
    """(first address, bytes) of a strided array whose element [0, 0, …] is at ``address``."""
    reach = [(side - 1) * step for side, step in zip(shape, strides, strict=True)]
    first = address + sum(step for step in reach if step < 0)
    return first, sum(map(abs, reach)) + item
