"""The process that serves for another one: ``python -m edgead.serving.isolated_process FD``.

It opens the engine that the first message asks for, giving signs of life meanwhile, and then serves
each pipeline that is asked for in a thread of its own. It ends when the other process does, or
closes its end.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, open_bundle
from edgead.engine.digests import Hasher
from edgead.engine.interface import Engine, FramePipeline, PipelineOutput
from edgead.engine.lazy_array import as_array
from edgead.errors import BundleError
from edgead.serving.channel import Closed, Message, SharedBytes, error_message, receive, send
from edgead.serving.choice import Choice
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline

SIGN_S = 1.0


def main(descriptor: int) -> None:
    """Serve on a channel's end until the other one is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the other process decides
    control = socket.socket(fileno=descriptor)
    try:
        asked, _ = receive(control)
        try:
            bundle = open_bundle(Path(asked["bundle"]))
            if bundle.sha256 != asked["sha256"]:
                raise BundleError(f"bundle {bundle.path} was replaced meanwhile: open it again")
            with _signs_of_life(control):
                engine = open_engine(bundle, Choice(asked["index"], "asked for"), **asked["asked"])
        except Exception as error:
            send(control, error_message(error))
            return
        send(control, {name: getattr(engine, name) for name in asked["tell"]})
        while True:
            wanted, (end,) = receive(control)
            thread = threading.Thread(
                target=_serve, args=(bundle, engine, wanted, socket.socket(fileno=end)), daemon=True
            )
            thread.start()
    except Closed:
        pass


@contextmanager
def _signs_of_life(control: socket.socket) -> Iterator[None]:
    """Send one now and then: building a plan takes minutes."""
    done = threading.Event()

    def run() -> None:
        with suppress(Closed):
            while not done.wait(SIGN_S):
                send(control, {"alive": True})

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _serve(bundle: Bundle, engine: Engine, wanted: Message, channel: socket.socket) -> None:
    """One pipeline, until its channel is closed."""
    try:
        try:
            manifest = bundle.manifest.declared(wanted["bit_depth"])
            own = replace(bundle, manifest=manifest)
            served = _Served(own, open_pipeline(own, engine, wanted["color"]))
        except Exception as error:
            send(channel, error_message(error))
            return
        send(channel, {})
        try:
            while True:
                served.answer(channel)
        finally:
            served.pipeline.close()
    except Closed:
        pass
    finally:
        channel.close()


class _Served:
    """A pipeline, and the memory that its frames and maps lie in."""

    def __init__(self, bundle: Bundle, pipeline: FramePipeline) -> None:
        self.pipeline = pipeline
        self._pairs = len(bundle.manifest.map.weights)
        self._frames: SharedBytes | None = None
        self._found = SharedBytes(1)

    def answer(self, channel: socket.socket) -> None:
        """Score the next frame."""
        asked, descriptors = receive(channel)
        if descriptors:
            self._frames = SharedBytes(descriptor=descriptors[0])
            # A GPU reads frames where they lie, if they are page-locked for it.
            if (lock := getattr(self.pipeline, "stage_in", None)) is not None:
                lock(self._frames.bytes)
        try:
            assert self._frames is not None  # the first frame brings it
            frame = self._frames.array(asked["dtype"], tuple(asked["shape"]))
            hasher = Hasher(self._pairs) if asked["digests"] else None
            output = self.pipeline.run(frame, hasher)
            told, new = self._tell(output, hasher)
        except Exception as error:
            told, new = error_message(error), []
        send(channel, {"id": asked["id"], **told}, new)

    def _tell(self, output: PipelineOutput, hasher: Hasher | None) -> tuple[Message, list[int]]:
        """The output as a message; its arrays one after the other in memory."""
        arrays: dict[str, NDArray[Any]] = {"map": as_array(output.map)}
        if output.scored is not None:
            arrays["scored"] = output.scored
        if output.roi is not None:
            arrays["roi"] = output.roi
        size, new = sum(one.nbytes for one in arrays.values()), []
        if self._found.bytes.size < size:
            self._found = SharedBytes(size)
            new = [self._found.descriptor]
        offset, shapes = 0, {}
        for name, one in arrays.items():
            np.copyto(self._found.array(one.dtype, one.shape, offset), one)
            shapes[name] = [one.dtype.name, list(one.shape), offset]
            offset += one.nbytes
        marks = (output.started, output.preprocessed, output.inferred, output.finished)
        told: Message = {
            "score": output.score,
            "arrays": shapes,
            "kernels": output.kernels,
            "seconds": [b - a for a, b in pairwise(marks)],
            "digests": None if hasher is None else hasher.words(),
        }
        return told, new


if __name__ == "__main__":
    main(int(sys.argv[1]))
