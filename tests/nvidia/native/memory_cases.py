"""A program: edgead/nvidia/memory.py on the real ``_cuda``, whose CUDA runtime is SIMULATED.

    python memory_cases.py MODULE: one line of JSON, the cases that fail and why. No GPU here.

tests/library/gpu/simulated says what the simulation holds code to.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOREIGN = 0xC0DE  # another library's context

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("gpu", "kernels")]


def load(path: str) -> Any:
    """The module in the place of the one that is installed, and what steers its device."""
    spec = importlib.util.spec_from_file_location("edgead.nvidia._cuda", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["edgead.nvidia._cuda"] = module
    spec.loader.exec_module(module)
    import edgead.nvidia

    edgead.nvidia._cuda = module
    c = ctypes.CDLL(path)
    c.simulated_faults.restype = ctypes.c_char_p
    c.simulated_current_context.restype = ctypes.c_size_t
    c.simulated_machine.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    return module, c


class Case:
    """A machine as it is when the process starts."""

    def __init__(self, module: Any, c: Any, *, integrated: bool = False) -> None:
        from edgead.nvidia import memory

        self.cuda, self.c = module, c
        memory._opened.clear()
        gc.collect()
        c.simulated_reset()
        c.simulated_machine(1, integrated, b"10.3.0", 0)
        self.before = c.simulated_alive()
        self.memory = memory.open_memory(0)

    def plant(self, call: str, error: int, number: int = 1) -> None:
        self.c.simulated_plant(call.encode(), number, error)

    def context(self) -> int:
        return int(self.c.simulated_current_context())

    def enter_foreign(self) -> None:
        self.c.simulated_current(ctypes.c_size_t(FOREIGN))


def check(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{found!r}, expected {expected!r}")


def said(ask: Callable[[], Any]) -> str:
    try:
        ask()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def case_what_the_device_is(one: Case) -> None:
    memory = one.memory
    check((memory.name, memory.capability, memory.multiprocessors), ("Simulated GPU", (8, 7), 8))
    check((memory.integrated, memory.total_bytes), (False, 7 << 30))
    check(one.cuda.device_count(), 1)


def case_bytes_go_up_along_and_down(one: Case) -> None:
    values = np.arange(1000, dtype=np.uint8)
    with one.memory.current():
        stream = one.memory.stream()
        blocks = [one.memory.allocate(values.size) for _ in range(2)]
        check([block.address % 256 for block in blocks], [0, 0])
        pinned, landing = (one.memory.pinned(values.size) for _ in range(2))
        check(pinned.address, None)
        pinned.array[:] = values
        stream.upload(blocks[0].address, pinned.array)
        stream.copy(blocks[1].address, blocks[0].address, values.size)
        stream.download(landing.array, blocks[1].address)
        assert not np.array_equal(landing.array, values)  # nobody has waited
        stream.synchronize()
        np.testing.assert_array_equal(landing.array, values)
        np.testing.assert_array_equal(one.memory.read(blocks[1].address + 3, 5), values[3:8])


def case_mapped_memory_of_an_integrated_device(one: Case) -> None:
    one = Case(one.cuda, one.c, integrated=True)
    with one.memory.current():
        pinned = one.memory.pinned(64)
        address = pinned.array.ctypes.data
        check(pinned.address, address)
        check(one.cuda.place_of(address, True), (0, address))
        check(one.cuda.place_of(address, False), (-1, 0))
        assert one.memory.integrated


def case_where_memory_lies(one: Case) -> None:
    with one.memory.current():
        block, pinned = one.memory.allocate(64), one.memory.pinned(64)
        pageable = np.zeros(64, np.uint8)
        for integrated in (False, True):
            check(one.cuda.place_of(block.address + 8, integrated), (0, block.address + 8))
            check(one.cuda.place_of(pinned.array.ctypes.data, integrated), (-1, 0))
            check(one.cuda.place_of(pageable.ctypes.data, integrated), (-1, 0))


def case_registered_memory(one: Case) -> None:
    frame = np.arange(64, dtype=np.uint8)
    with one.memory.current():
        block, stream = one.memory.allocate(64), one.memory.stream()
        held = one.memory.registered(frame)
        stream.upload(block.address, frame)
        stream.synchronize()
        np.testing.assert_array_equal(one.memory.read(block.address, 64), frame)
        check(held.address, None)


def case_the_thread_s_context_comes_back(one: Case) -> None:
    for before in (0, FOREIGN):
        one.c.simulated_current(ctypes.c_size_t(before))
        with one.memory.current():
            primary = one.context()
            assert primary not in (0, FOREIGN)
            with one.memory.current():
                check(one.context(), primary)
            check(one.context(), primary)
        check(one.context(), before)


def case_an_earlier_error_on_the_way_out(one: Case) -> None:
    """cuCtxSetCurrent may tell of work that failed long before: the context comes back anyway."""
    one.enter_foreign()

    def leave() -> None:
        with one.memory.current():
            one.plant("cuCtxSetCurrent", 700)

    heard = said(leave)
    assert heard.startswith("DeviceLostError") and "(error 700)" in heard, heard
    check(one.context(), FOREIGN)


def case_an_earlier_error_on_the_way_in(one: Case) -> None:
    one.enter_foreign()
    one.plant("cuCtxSetCurrent", 700)
    heard = said(one.memory.current().__enter__)
    assert "making the context current" in heard and "(error 700)" in heard, heard
    check(one.context(), FOREIGN)


def case_memory_that_runs_out(one: Case) -> None:
    with one.memory.current():
        heard = said(lambda: one.memory.allocate(1 << 30))
        assert heard.startswith("DeviceError") and "of 268 MB are free" in heard, heard
        one.plant("cudaHostAlloc", 2)
        assert "out of memory" in said(lambda: one.memory.pinned(10))
        one.memory.allocate(10)


def case_an_error_that_surfaces_later(one: Case) -> None:
    """A fault on the device is told by whoever asks next, and by everybody after."""
    one.enter_foreign()

    def work() -> None:
        with one.memory.current():
            block, stream = one.memory.allocate(64), one.memory.stream()
            pinned = one.memory.pinned(64)
            one.plant("copy", 700)
            stream.upload(block.address, pinned.array)
            assert "(error 700)" in said(stream.synchronize)
            assert "(error 700)" in said(lambda: one.memory.allocate(8))

    heard = said(work)
    assert "giving the context back" in heard and "(error 700)" in heard, heard
    check(one.context(), FOREIGN)
    one.c.simulated_reset()  # so that what is let go is counted


def case_what_is_let_go_by_another_thread(one: Case) -> None:
    """In the device's context, whichever that thread has; its own comes back."""
    with one.memory.current():
        held = [one.memory.allocate(64), one.memory.pinned(64), one.memory.stream()]
    heard: list[Any] = []

    def free() -> None:
        one.enter_foreign()
        held.clear()
        gc.collect()
        heard.append(one.context())

    thread = threading.Thread(target=free)
    thread.start()
    thread.join()
    check(heard, [FOREIGN])


def case_pinned_memory_stays_as_long_as_a_view_of_it(one: Case) -> None:
    with one.memory.current():
        alive = one.c.simulated_alive()
        view = one.memory.pinned(64).array[3:5]
        check(one.c.simulated_alive(), alive + 1)
        view[:] = 7
        del view
        check(one.c.simulated_alive(), alive)


def case_a_fork_calls_nothing(one: Case) -> None:
    with one.memory.current():
        held = [one.memory.allocate(64), one.memory.stream()]
    child = os.fork()
    if child == 0:
        calls = one.c.simulated_calls(b"cudaFree")
        held.clear()
        same = one.c.simulated_calls(b"cudaFree") == calls
        refused = "spawn" in said(one.memory.current().__enter__)
        os._exit(0 if same and refused else 1)
    check(os.waitpid(child, 0)[1], 0)


def case_the_kernels_through_their_bindings(one: Case) -> None:
    """tests/gpu's own driver of them: what goes up, is launched, and comes down."""
    from on_device import OnDevice

    from edgead import reference
    from edgead.anomaly_map import MapParams
    from edgead.preprocess import PreprocessParams, preprocess

    rng = np.random.default_rng(3)
    with one.memory.current():
        device = OnDevice(one.memory, one.cuda)
        for dtype in (np.uint8, np.uint16):
            frame = rng.integers(0, 255, (37, 41, 3)).astype(dtype)[::-1, 2:]
            params = PreprocessParams((16, 24))
            for captured in (False, True):
                found = device.preprocess(frame, params, captured=captured)
                np.testing.assert_array_equal(found, preprocess(frame, params))
        pair = tuple(rng.standard_normal((1, 5, 7, 9)).astype(np.float32) for _ in range(2))
        params = MapParams((12, 10), weights=(1.0,))
        maps, scores = device.anomaly_map([pair], params)
        truth, peak = reference.anomaly_map([pair], params)
        np.testing.assert_allclose(maps, truth, rtol=0, atol=1e-5)
        np.testing.assert_allclose(scores, peak, rtol=0, atol=1e-5)
        memory = rng.standard_normal((19, 5)).astype(np.float32)
        far = device.nearest(pair[0], memory, (1.0,))
        at = pair[0].transpose(0, 2, 3, 1)[..., None, :] - memory
        np.testing.assert_allclose(far, (at.astype(np.float64) ** 2).sum(-1).min(-1), rtol=1e-4)


def case_events_order_and_time_streams(one: Case) -> None:
    with one.memory.current():
        stream, events = one.memory.stream(), one.cuda.Events(2)
        block = one.memory.allocate(64)
        events.record(0, stream.handle)
        stream.copy(block.address, block.address, 64)
        events.record(1, stream.handle)
        stream.synchronize()
        check(events.intervals_ms() > [0], True)


CASES = {name: run for name, run in dict(globals()).items() if name.startswith("case_")}


def main(path: str) -> None:
    module, c = load(path)
    failed = {}
    for name, run in CASES.items():
        try:
            one = Case(module, c)
            run(one)
            c.simulated_current(ctypes.c_size_t(0))
            del one
            sys.modules["edgead.nvidia.memory"]._opened.clear()
            gc.collect()
            check(c.simulated_faults().decode(), "")
            check(c.simulated_alive(), 0)
        except Exception:
            failed[name] = traceback.format_exc()
            c.simulated_current(ctypes.c_size_t(0))
    print(json.dumps(failed))


if __name__ == "__main__":
    main(sys.argv[1])
