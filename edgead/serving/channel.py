"""Messages and memory between this process and the one that serves for it.

A message is one packet of JSON on a Unix socket; nothing is pickled. Frames and maps lie in memory
that both have mapped: the side that writes there creates it, and sends its descriptor with the
first message about it. Both sockets are this user's alone, as they have no name.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import errors
from edgead.errors import DeviceLostError, EdgeadError

MOST_BYTES = 1 << 18  # of a message; errors are the longest
_TURN_S = 0.5  # at most, of a wait
Message = dict[str, Any]


class Closed(Exception):
    """The other process is gone, or has closed its end."""


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel; each packet arrives as a whole."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
    return ends


def send(to: socket.socket, message: Message, descriptors: list[int] | None = None) -> None:
    """Send a message, with descriptors of the sender's that the receiver gets copies of.

    Raises:
        Closed: the other end is closed.
        TimeoutError: the socket's time is over.
    """
    data = json.dumps(message).encode()
    try:
        if descriptors:
            socket.send_fds(to, [data], descriptors)
        else:
            to.send(data)
    except TimeoutError:
        raise
    except OSError as error:
        raise Closed(str(error)) from error


def receive(source: socket.socket) -> tuple[Message, list[int]]:
    """The next message and its descriptors, which are the receiver's to close.

    Raises:
        Closed: the other end is closed.
        TimeoutError: the socket's time is over.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(source, MOST_BYTES, 2)
    except TimeoutError:
        raise
    except OSError as error:
        raise Closed(str(error)) from error
    if not data:
        raise Closed("the other end is closed")
    message: Message = json.loads(data)
    return message, descriptors


def receive_within(source: socket.socket, seconds: float) -> tuple[Message, list[int]]:
    """``receive``, which waits ``seconds``. While this process is stopped, as by Ctrl-Z, they stand
    still: the other one may have been stopped with it.

    Raises:
        Closed: the other end is closed.
        TimeoutError: nothing came.
    """
    turns = math.ceil(seconds / _TURN_S)
    source.settimeout(seconds / turns)
    for _ in range(turns - 1):
        try:
            return receive(source)
        except TimeoutError:
            continue
    try:
        return receive(source)
    except TimeoutError:
        raise TimeoutError(f"did not answer within {seconds:g} s") from None


class SharedBytes:
    """Memory without a name that several processes have mapped.

    Args:
        size: of new memory, in bytes.
        descriptor: of memory that another process made; taken over.
    """

    def __init__(self, size: int = 0, *, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("edgead", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        self._mapped = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._mapped, np.uint8)

    def array(self, dtype: Any, shape: tuple[int, ...], offset: int = 0) -> NDArray[Any]:
        """A view of an array that lies there."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found: NDArray[Any] = self.bytes[offset : offset + count].view(dtype).reshape(shape)
        return found

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)  # the mapping goes with the last view of it


def error_message(error: BaseException) -> Message:
    """An error that the other process is to raise."""
    if isinstance(error, EdgeadError):
        return {"error": type(error).__name__, "text": str(error)}
    text = f"the serving process met a defect: {type(error).__name__}: {error}"
    return {"error": DeviceLostError.__name__, "text": text}


def raise_error(message: Message) -> None:
    """Raise the error that a message holds, if it does."""
    if "error" in message:
        kind: type[EdgeadError] = getattr(errors, message["error"])
        raise kind(message["text"])
