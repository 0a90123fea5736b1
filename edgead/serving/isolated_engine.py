"""An engine in a process of its own: what ends that process does not end this one.

A frame is copied once, into memory that both processes have; a map comes back the same way. The
qualification of the engine goes through the same channel as every frame. A process that does not
answer in time counts as hung and is killed, which is the same loss as one that ended.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import PipelineOutput, Session
from edgead.errors import CancelledError, DeviceLostError, InputError
from edgead.images.arrays import in_gpu_memory
from edgead.preprocess import COLORS, check_frame, check_word
from edgead.serving import channel
from edgead.serving.channel import Closed, Message, SharedBytes

TOLD = ("device", "precision", "kernels", "version")
ANSWER_WITHIN_S = 60.0
"""Longer than RTX takes to compile its kernels for this GPU, at the first frame."""
OPENING_S = 30.0
"""Least of the same while a process starts and loads libraries."""
AGAIN = "; make a new Detector"
_ASK_S = 0.1  # between two looks whether the opening is to stop
_END_S = 5.0  # for a process whose channel was closed, or that was killed


class IsolatedEngine:
    """``Engine`` of ``open_engine`` in a process of its own, which ends with this object.

    Args:
        index: N of "cuda:N", None for the CPU.
        asked: what else ``open_engine`` takes, as plain values.
        answer_within_s: the longest that a frame may take there. An opening may take longer, as
            long as it gives signs of life; the first has ``OPENING_S`` at least.
        cancelled: asked meanwhile; True stops.

    Raises:
        InputError: a system without what it takes, or a time that is none.
        DeviceLostError: the process ended or hung.
        CancelledError: ``cancelled`` returned True.
        EdgeadError: what opening the engine raises there.
    """

    def __init__(
        self,
        bundle: Bundle,
        index: int | None,
        asked: dict[str, Any],
        answer_within_s: float = ANSWER_WITHIN_S,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        if not hasattr(os, "memfd_create"):
            raise InputError("isolate=True needs Linux: leave it out")
        self.answer_within_s = answer_within_s
        self.where = "cpu" if index is None else f"cuda:{index}"
        self.lost = ""  # why, once it is
        self._losing = threading.Lock()
        self._control, theirs = channel.pair()
        command = [sys.executable, "-m", "edgead.serving.isolated_process", str(theirs.fileno())]
        folder = str(Path(__file__).parents[2])
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": path},
        )
        theirs.close()
        self.pid = self._process.pid
        self.close = weakref.finalize(self, _end, self._process, self._control)
        try:
            told = self._opened(bundle, index, asked, cancelled or (lambda: False))
        except BaseException:
            self.close()
            raise
        self.device, self.precision, self.kernels, self.version = (str(told[k]) for k in TOLD)

    def __repr__(self) -> str:
        return f"IsolatedEngine({self.device}, {self.precision}, process {self.pid})"

    def session(self) -> Session:
        """An isolated engine scores whole frames only."""
        raise InputError("an isolated engine has no sessions: open it without isolate=True")

    def connect(self, color: str, bit_depth: int | None) -> socket.socket:
        """The channel of a new pipeline there."""
        own, theirs = channel.pair()
        try:
            channel.send(self._control, {"color": color, "bit_depth": bit_depth}, [theirs.fileno()])
            theirs.close()
            told, _ = channel.receive_within(own, self.answer_within_s)
            channel.raise_error(told)
        except (Closed, TimeoutError, DeviceLostError) as error:
            own.close()
            self.lose(error)
        except BaseException:
            own.close()
            raise
        return own

    def lose(self, error: Exception | None = None) -> NoReturn:
        """End the process, if it has not ended, and say why: its channel is closed, nothing came in
        time, or the device failed there. Such an error of CUDA may stay until the process ends."""
        with self._losing:
            self.lost = self.lost or self._loss(error)
            self.close()
        raise DeviceLostError(f"{self.lost}{AGAIN}")

    def _loss(self, error: Exception | None) -> str:
        if isinstance(error, DeviceLostError):
            return str(error).partition(AGAIN)[0]
        which = f"the process that serves {self.where} (process {self.pid})"
        if isinstance(error, TimeoutError):
            self._process.kill()  # nothing less ends one that was stopped
            return f"{which} hangs: it {error}, and was killed"
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return f"{which} closed its channel and did not end: it was killed"
        if code >= 0:
            return f"{which} ended with exit code {code}"
        how = f"was killed by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            how += " (by somebody, or by the system when memory ran out: see dmesg)"
        return f"{which} {how}"

    def _opened(
        self,
        bundle: Bundle,
        index: int | None,
        asked: dict[str, Any],
        cancelled: Callable[[], bool],
    ) -> Message:
        patience_s = max(self.answer_within_s, OPENING_S)
        question = {"bundle": os.path.abspath(bundle.path), "sha256": bundle.sha256}
        self._control.settimeout(_ASK_S)
        try:
            channel.send(self._control, {**question, "index": index, "asked": asked, "tell": TOLD})
            told: Message = {"alive": True}
            silent_s = 0.0
            while "alive" in told:
                try:
                    told, _ = channel.receive(self._control)
                    silent_s = 0.0
                except TimeoutError:
                    silent_s += _ASK_S
                    if silent_s > patience_s:
                        raise TimeoutError(f"gave no sign of life for {patience_s:g} s") from None
                if cancelled():
                    raise CancelledError(f"opening {self.where} was stopped")
        except (Closed, TimeoutError) as error:
            raise DeviceLostError(
                f"{self._loss(error)} when it opened the engine{AGAIN}; if that fails too, see "
                "what it wrote to stderr"
            ) from error
        self._control.settimeout(self.answer_within_s)
        channel.raise_error(told)
        return told


class IsolatedPipeline:
    """``FramePipeline`` whose stages run in the engine's process, for one thread.

    Raises:
        BundleError: an ignore mask that does not fit.
        DeviceError: the device is out of memory or fails.
    """

    def __init__(self, bundle: Bundle, engine: IsolatedEngine, color: str = "bgr") -> None:
        check_word("color", color, COLORS)
        self._engine, self._color = engine, color
        self._channel = engine.connect(color, bundle.manifest.preprocess.bit_depth)
        self._lock = threading.Lock()
        self._frames: SharedBytes | None = None
        self._found: SharedBytes | None = None
        self._sent = self._answered = 0
        self._closed = False

    def run(self, frame: Any, hasher: Hasher | None = None) -> PipelineOutput:
        """See ``FramePipeline``; a frame has to lie in host memory."""
        if in_gpu_memory(frame):
            raise InputError(
                "the frame lies in this process's GPU memory, and the GPU is served from another "
                "one: give it in host memory, or make the Detector without isolate=True"
            )
        frame = check_frame(frame, self._color)
        with self._lock:
            if self._engine.lost:
                self._engine.lose()
            if self._closed:
                raise InputError("this pipeline is closed; make a new Detector")
            started = perf_counter()
            told = self._ask(frame, hasher is not None)
            if hasher is not None:
                hasher.take(told["digests"])
            arrays = {name: self._copied(*where) for name, where in told["arrays"].items()}
        preprocessed = started + told["seconds"][0]
        inferred = preprocessed + told["seconds"][1]
        finished = inferred + told["seconds"][2]
        return PipelineOutput(
            told["score"],
            arrays["map"],
            arrays.get("roi"),
            told["kernels"],
            started,
            preprocessed,
            inferred,
            finished,
            copied=perf_counter() - finished,
            scored=arrays.get("scored"),
        )

    def close(self) -> None:
        """See ``FramePipeline``."""
        with self._lock:
            self._closed = True
            self._channel.close()
            self._frames = self._found = None

    def _ask(self, frame: NDArray[Any], digests: bool) -> Message:
        """The answer to a frame; raises what it says."""
        try:
            while self._answered < self._sent:  # an interrupted call left an answer behind
                self._receive()
            new = []
            if self._frames is None or self._frames.bytes.size < frame.nbytes:
                self._frames = SharedBytes(frame.nbytes)
                new = [self._frames.descriptor]
            np.copyto(self._frames.array(frame.dtype, frame.shape), frame)
            self._sent += 1
            about = {"id": self._sent, "dtype": frame.dtype.name, "shape": list(frame.shape)}
            channel.send(self._channel, {**about, "digests": digests}, new)
            while True:
                told = self._receive()
                if told["id"] == self._sent:
                    break
            channel.raise_error(told)
        except (Closed, TimeoutError, DeviceLostError) as error:
            self._engine.lose(error)
        return told

    def _receive(self) -> Message:
        told, descriptors = channel.receive_within(self._channel, self._engine.answer_within_s)
        if descriptors:
            self._found = SharedBytes(descriptor=descriptors[0])
        self._answered = told["id"]
        return told

    def _copied(self, dtype: str, shape: list[int], offset: int) -> NDArray[Any]:
        assert self._found is not None  # the first answer brought it
        return self._found.array(dtype, tuple(shape), offset).copy()


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    """End the process by closing its channel, or kill it."""
    control.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # a driver may keep it in the kernel
            process.wait(_END_S)
