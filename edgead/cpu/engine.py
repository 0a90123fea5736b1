"""OpenVINO on the CPU: the embedded engine, the one that calibration scores come from."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.bundle.storage import Bundle
from edgead.cpu.precision import HINTS, check_computed, check_offered, computed_in, layers_of
from edgead.cpu.processor import affinity, cores, free_memory, others_run
from edgead.cpu.restrictions import check_addresses, restricted
from edgead.engine.interface import Pairs
from edgead.engine.signals import open_signals
from edgead.errors import BundleError, DeviceError, EdgeadError

MOST_LANES = 16
"""Tiles that run at once, each in one thread and buffers of its own."""


SETTLE_S = 0.25
"""How long a fork waits at most until OpenVINO's threads sleep, after the end of an inference."""


class OpenVINOEngine:
    """A graph of a bundle, compiled for the CPU with a batch of one.

    Args:
        threads: of one inference; None for OpenVINO's choice.
        precision: float32 or bfloat16 (both of ``model.onnx``; float32 is kept where the CPU offers
            bfloat16, which would change scores), float16 (``model.fp16.onnx``) or int8
            (``model.int8.onnx``).

    Raises:
        DeviceError: no OpenVINO or CPU plugin, or a precision that the processor does not offer or
            that OpenVINO does not really compute in.
        BundleError: no graph for the precision, or another one than the manifest describes.
    """

    kernels: str = _cpu.simd_paths()[0]

    def __init__(
        self, bundle: Bundle, threads: int | None = None, precision: str = "float32"
    ) -> None:
        ov = import_openvino()
        with _opening:
            self._open(ov, bundle, threads, precision)

    def _open(self, ov: Any, bundle: Bundle, threads: int | None, precision: str) -> None:
        core = _cpu_core(ov)
        name = bundle.manifest.model_of(precision)
        self.device, capabilities = _processor(core)
        check_offered(capabilities, precision, self.device)
        data = bundle.read(name)
        with _sentences(f"bundle {bundle.path}: OpenVINO cannot read {name}", BundleError):
            model = core.read_model(data)
        _fix_shapes(model, bundle, name)
        layers = layers_of(model)
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "EXECUTION_MODE_HINT": "ACCURACY",
            "PERFORMANCE_HINT": "LATENCY",
            # A thread that is bound to a core waits for that core while another one is free. Beside
            # other work that was the slowest of all: 8.6 ms at best for a frame of 4.0 ms.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is None and cores() < affinity():
            threads = cores()  # OpenVINO counts the affinity mask, and not a container's CPU quota
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        # Tiles that may run at once.
        self.lanes = 1 if bundle.manifest.tiling is None else min(threads or cores(), MOST_LANES)
        if self.lanes > 1:
            config["NUM_STREAMS"] = self.lanes
        with _sentences("OpenVINO cannot compile the graph"):
            self._compiled = core.compile_model(model, "CPU", config)
        _process.count(self, config)
        if precision != "float32":  # which every CPU has, and which nothing stands in for
            check_computed(layers, computed_in(self._compiled), precision)
        self.precision = precision
        self._pairs = [(pair.reference, pair.restored) for pair in bundle.manifest.pairs]
        self._features = [signal.features for signal in bundle.manifest.signals()]
        self.signals = open_signals(bundle, free_memory)
        self.version = f"OpenVINO {ov.__version__.split('-')[0]}"
        _process.engines.add(self)

    def __repr__(self) -> str:
        return f"OpenVINOEngine({self.device}, {self.precision}, {self.version})"

    def session(self) -> OpenVINOSession:
        """Buffers for one thread; DeviceError when OpenVINO cannot make them."""
        with _opening, _sentences("OpenVINO cannot make a request"):
            return OpenVINOSession(self._compiled, self._pairs, self._features)


class OpenVINOSession:
    """One infer request whose input and outputs are memory that we own and see from NumPy.

    Nothing is copied or allocated per frame: preprocess writes into ``image``, the graph writes
    into the outputs, and the views handed out are the same arrays every time.
    """

    def __init__(
        self, compiled: Any, pairs: list[tuple[str, str]], features: Sequence[str] = ()
    ) -> None:
        import openvino as ov  # here: see import_openvino

        self._request = compiled.create_infer_request()
        source = compiled.inputs[0]
        self._tensors = [ov.Tensor(ov.Type.f32, source.shape)]
        self._request.set_tensor(source, self._tensors[0])
        self.image: NDArray[np.float32] = self._tensors[0].data
        outputs: dict[str, NDArray[np.float32]] = {}
        for port in compiled.outputs:
            tensor = ov.Tensor(ov.Type.f32, port.shape)
            self._request.set_tensor(port, tensor)
            self._tensors.append(tensor)
            outputs.update(dict.fromkeys(port.get_names(), tensor.data))
        self._pairs: Pairs = [(outputs[a], outputs[b]) for a, b in pairs]
        self.features = [outputs[name] for name in features]
        self._running = threading.RLock()
        _process.sessions.add(self)

    def infer(self) -> Pairs:
        """See ``Session``."""
        with self._running, _sentences("OpenVINO failed on a frame"):
            self._request.infer(share_outputs=True)  # results are read through our own tensors
        return self._pairs


def import_openvino() -> Any:
    """OpenVINO, only when an engine is made of it: it loads slowly, and a GPU serves without it.

    Raises:
        DeviceError: it is not there or does not load.
    """
    try:
        with _some_home():
            import openvino
    except ImportError as error:
        raise DeviceError(
            f"OpenVINO cannot be loaded ({error}); install it again: pip install openvino"
        ) from error
    return openvino


@contextmanager
def _some_home() -> Iterator[None]:
    """A HOME where there is none, as in a container with --user: OpenVINO looks for its consent
    file there, and does not load where Python finds no home folder at all."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"
        try:
            yield
        finally:
            del os.environ["HOME"]
    else:
        yield


@cache
def _only_core(make: Callable[[], Any]) -> Any:
    """One Core for the life of the process.

    OpenVINO's CPU plugin gives the thread that loads it another signal stack and unmaps that with
    the last Core. Cores that go out of turn, or in another thread, leave a thread without a stack,
    and the next signal (Ctrl-C) kills the process.

    Source: https://github.com/openvinotoolkit/openvino, intel_cpu plugin, SigAltStackSetup.
    """
    core = make()
    _process.cores.append(core)
    return core


class _Process:
    """What a fork has to know of OpenVINO in this process."""

    def __init__(self) -> None:
        self.cores: list[Any] = []
        self.engines: weakref.WeakSet[OpenVINOEngine] = weakref.WeakSet()
        self.sessions: weakref.WeakSet[OpenVINOSession] = weakref.WeakSet()
        self.left: Counter[Config] = Counter()  # sets of threads that graphs have left, for others
        self.held: list[Any] = []  # during a fork

    def count(self, engine: OpenVINOEngine, config: dict[str, Any]) -> None:
        """Note that ``engine`` has threads of its own until it is gone."""
        key = tuple(sorted(config.items()))
        self.left[key] -= self.left[key] > 0
        weakref.finalize(engine, self.leave, key).atexit = False

    def leave(self, key: Config) -> None:
        """Note that threads are free for the next graph."""
        self.left[key] += 1


Config = tuple[tuple[str, Any], ...]
_process = _Process()
_opening = threading.RLock()  # held while OpenVINO holds locks of its own for long


def _before_fork() -> None:
    """Wait until OpenVINO does nothing: a lock of its own that is held now would stay so."""
    _opening.acquire()
    sessions = list(_process.sessions)
    for session in sessions:
        session._running.acquire()
    _process.held = [*sessions, *_take_what_is_left()]
    latest = time.monotonic() + SETTLE_S
    while _process.cores and others_run() and time.monotonic() < latest:
        time.sleep(0.001)


def _take_what_is_left() -> list[Any]:
    """Graphs that hold the threads which others have left: OpenVINO would give them, which a forked
    process does not have, to the next graph there."""
    taken: list[Any] = []
    for config, number in _process.left.items():
        import openvino as ov  # is there, or nothing would have been left
        from openvino import opset13

        given = opset13.parameter([1, 8], np.float32)
        model = ov.Model([opset13.relu(given)], [given], "holder")
        taken += [
            _process.cores[0].compile_model(model, "CPU", dict(config)) for _ in range(number)
        ]
    return taken


def _after_fork_in_parent() -> None:
    for session in _process.held:
        if isinstance(session, OpenVINOSession):
            session._running.release()
    _process.held = []
    _opening.release()


def _after_fork_in_child() -> None:
    """A forked process has OpenVINO's objects without its threads, which an inference and the end
    of an object wait for without end. So they are neither used nor ended there; what is compiled
    there has threads of its own."""
    for engine in list(_process.engines):
        _cpu.keep_for_ever(engine)
        _cpu.keep_for_ever(engine._compiled)
    for kept in [*_process.cores, *_process.held]:
        _cpu.keep_for_ever(kept)
    _process.engines.clear()
    _process.sessions.clear()
    _process.left.clear()
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


def _cpu_core(ov: Any) -> Any:
    if not _process.cores:
        check_addresses(affinity())
    with _sentences("OpenVINO does not start"):
        core = _only_core(ov.Core)
        devices = core.available_devices
    if "CPU" not in devices:
        found = f"OpenVINO {ov.__version__} has no CPU plugin here (devices: {devices or 'none'})"
        limited = restricted(found)
        cure = "; install the full package: pip install --force-reinstall openvino"
        raise DeviceError(limited if limited != found else found + cure)
    return core


def _processor(core: Any) -> tuple[str, list[str]]:
    """The CPU as "CPU: NAME", and what OpenVINO offers on it."""
    with _sentences("OpenVINO does not know the CPU"):
        name = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        capabilities = [str(word) for word in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
    return f"CPU: {' '.join(name.split())}", capabilities


def _fix_shapes(model: Any, bundle: Bundle, name: str) -> None:
    """Set the batch to one and hold the graph's input and outputs against the manifest."""
    manifest = bundle.manifest
    where = f"bundle {bundle.path}: {name}"
    inputs = {name for port in model.inputs for name in port.get_names()}
    if len(model.inputs) != 1 or manifest.input_name not in inputs:
        raise BundleError(
            f"{where} has inputs {sorted(inputs)}; expected only {manifest.input_name!r}"
        )
    outputs = manifest.tensors()
    image = outputs.pop(manifest.input_name)
    with _sentences(f"{where} does not take images of shape {image}", BundleError):
        model.reshape({model.inputs[0]: list(image)})
    _check_ports(where, "input", model.inputs, {manifest.input_name: image})
    _check_ports(where, "output", model.outputs, outputs)


def _check_ports(
    where: str, kind: str, ports: Any, expected: Mapping[str, tuple[int, ...]]
) -> None:
    found = {name: port for port in ports for name in port.get_names()}
    missing = sorted(set(expected) - set(found))
    unknown = [sorted(p.get_names()) for p in ports if not set(p.get_names()) & set(expected)]
    if missing or unknown:
        raise BundleError(
            f"{where} has {kind}s {sorted(found)}; the manifest names {sorted(expected)}: "
            f"export the bundle again"
        )
    for name, shape in expected.items():
        port = found[name]
        given = str(port.partial_shape) if port.partial_shape.is_dynamic else tuple(port.shape)
        dtype = port.element_type.get_type_name()
        if given != shape or dtype != "f32":
            raise BundleError(
                f"{where}: {kind} {name!r} is {given} {dtype}; the manifest says {shape} f32: "
                f"export the bundle again"
            )


@contextmanager
def _sentences(what: str, kind: type[EdgeadError] = DeviceError) -> Iterator[None]:
    """Turn an exception of OpenVINO into ``kind``: ``what``, and its first line that names no C++
    source file, or what this process may not do."""
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        files = ("Exception from", "Check ")
        useful = [line for line in lines if line and not line.startswith(files)]
        first = (useful or lines or [type(error).__name__])[0]
        raise kind(f"{what}: {restricted(first)}") from error
