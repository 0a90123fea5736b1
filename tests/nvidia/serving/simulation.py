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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from simulated_work import Allocation, Op, Queue, collide, flat

ALIGNMENT = 256
LEGACY_STREAM = 1
POISON = 0xFF  # of float32: NaN


class Fault(AssertionError):
    """The code under test broke a rule of CUDA."""


class CudaError(RuntimeError):
    """What edgead.nvidia._cuda raises when CUDA says no."""

    def __init__(self, text: str, code: int = 719) -> None:  # cudaErrorLaunchFailure
        super().__init__(f"CUDA: {text} (error {code})")


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
        self.logs_elsewhere = False  # TensorRT says why on a thread of its own
        self.refuses_capture = ""  # what TensorRT logs when it is asked to run in a capture
        self.shares_profiles = True  # as from TensorRT 10 on; else one context has the profile
        self.profile_users = 0
        self._plants: dict[str, list[tuple[int, BaseException]]] = {}
        self._later: dict[str, tuple[Exception, int]] = {}
        self._coming: tuple[Exception, int] | None = None
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
            self._surface()
            if self.sticky is not None:
                raise self.sticky
            if context and (not self.stack or self.stack[-1] != "primary"):
                self.fault(f"{name} while {self.stack[-1:] or 'no context'} is current")

    def plant(self, name: str, at: int, error: BaseException) -> None:
        """Make the ``at``-th call of ``name`` from now on raise ``error``."""
        self._plants.setdefault(name, []).append((at, error))

    def fail_later(self, name: str, error: Exception, calls: int) -> None:
        """Let the next work of this name fail on the device: ``calls`` calls later, or when it is
        waited for, the error surfaces, and stays."""
        self._later[name] = (error, calls)

    def _surface(self) -> None:
        if self._coming is not None:
            error, calls = self._coming
            self._coming = (error, calls - 1)
            if calls <= 0:
                self.sticky, self._coming = error, None

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

    @property
    def current_context(self) -> str | None:
        """This thread's current context."""
        return self.stack[-1] if self.stack else None

    @current_context.setter
    def current_context(self, name: str | None) -> None:
        """As cuCtxSetCurrent, which replaces the top of the stack."""
        del self.stack[-1:]
        if name is not None:
            self.stack.append(name)

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

    def adopt(self, memory: Any, kind: str) -> Allocation:
        """Host memory of somebody else's, page-locked until it is released."""
        with self.lock:
            view = np.frombuffer(memory, np.uint8)
            found = Allocation(view.ctypes.data, view.size, kind, view, adopted=True)
            self._allocations.append(found)
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
            if not allocation.adopted:
                allocation.bytes[:] = POISON
            if allocation.kind == "device":
                self.free_bytes += allocation.size

    def allocation_at(self, address: int, size: int) -> Allocation:
        """The living allocation that ``size`` bytes lie in."""
        for found in reversed(self._allocations):
            if found.address <= address < found.address + max(found.size, 1):
                if not found.alive:
                    self.fault(f"use of freed {found.kind} memory")
                if address + size > found.address + found.size:
                    self.fault(f"{size} bytes at {address - found.address} of {found.size} bytes")
                return found
        self.fault(f"address {address:#x} is nobody's")
        raise AssertionError

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """A view of ``size`` bytes that lie in one living allocation."""
        found = self.allocation_at(address, size)
        start = address - found.address
        return found.bytes[start : start + size]

    def kind_of(self, address: int) -> str:
        """What memory lies at ``address``; "" for memory that CUDA does not know."""
        kinds = (
            a.kind
            for a in self._allocations
            if a.alive and a.address <= address < a.address + a.size
        )
        return next(kinds, "")

    def living(self, kind: str) -> int:
        """Living allocations of a kind."""
        return sum(a.alive and a.kind == kind for a in self._allocations)

    # Copies

    def upload(self, to: int, source: np.ndarray, stream: int) -> None:
        """Of page-locked host memory: from pageable memory CUDA would wait."""
        data = flat(source)
        self.bytes_at(data.ctypes.data, data.size)  # or it is nobody's

        def run() -> None:
            self.bytes_at(to, data.size)[:] = data

        touches = ((to, data.size, True), (data.ctypes.data, data.size, False))
        self.call("upload", (to, data.ctypes.data, stream))
        self.enqueue(stream, Op("upload", run, touches, copies=True))

    def download(self, to: np.ndarray, source: int, stream: int) -> None:
        """To any host memory."""
        data = flat(to)

        def run() -> None:
            data[:] = self.bytes_at(source, data.size)

        self.call("download", (data.ctypes.data, source, stream))
        touches = ((source, data.size, False),)
        self.enqueue(stream, Op("download", run, touches, copies=True))

    def copy(self, to: int, source: int, count: int, stream: int) -> None:
        """On the device."""

        def run() -> None:
            self.bytes_at(to, count)[:] = self.bytes_at(source, count)

        self.call("copy", (to, source, stream))
        touches = ((to, count, True), (source, count, False))
        self.enqueue(stream, Op("copy", run, touches, copies=True))

    def read(self, to: np.ndarray, source: int) -> None:
        """At once."""
        self.call("read", source)
        self.not_while_capturing("a copy on the default stream")
        self.drain(LEGACY_STREAM)
        flat(to)[:] = self.bytes_at(source, to.nbytes)

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
                kind = self.allocation_at(address, size).kind
                if kind == "pinned" and not op.copies:
                    self.fault(f"{op.name} on the device, of host memory that is not mapped")
            if queue.capture is not None:
                queue.capture.append(op)
                return
            self._check_order(queue, op)
            queue.pending.append(op)
            if op.name in self._later:
                self._coming = self._later[op.name]

    def _check_order(self, queue: Queue, op: Op) -> None:
        """Work on other streams that meets the same bytes has to be over, or waited for."""
        for other in self.queues.values():
            waited = [getattr(p, "until", None) for p in queue.pending]
            for place, earlier in enumerate(other.pending):
                if other is queue or not collide(earlier, op):
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
                if op.name in self._later:
                    self.lose(self._later.pop(op.name)[0])
                op.run()
                op.done = True
                queue.pending.pop(0)

    def lose(self, error: Exception) -> None:
        """A fault on the device: every call from now on is this error."""
        self.sticky, self._coming = error, None
        for queue in self.queues.values():
            queue.pending.clear()
        raise error

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
