"""Arrays that stay where they are until they are asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from numpy.typing import NDArray

from edgead.errors import DeviceError

Lock = AbstractContextManager[Any]


class LazyArray:
    """An array that is brought to the host once, when it is first asked for, by any thread.

    Args:
        bring: gives the array of ``shape``, or raises; let go after it gave it.
        lock: held meanwhile; one of its own when None.
        lend: gives the array where it lies, or raises; None: not lent.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        bring: Callable[[], NDArray[Any]],
        lock: Lock | None = None,
        lend: Callable[[], Any] | None = None,
    ) -> None:
        self.shape = shape
        self._bring: Callable[[], NDArray[Any]] | None = bring
        self._array: NDArray[Any] | None = None
        self._lock: Lock = threading.Lock() if lock is None else lock
        self._lend = lend
        self._process = os.getpid()

    def lent(self) -> Any:
        """The array where it lies; None where it is not lent."""
        self._check_process()
        with self._lock:
            return None if self._lend is None else self._lend()

    def array(self) -> NDArray[Any]:
        """The array, in host memory of its own."""
        if self._bring is not None:
            self._check_process()
            with self._lock:
                if self._bring is not None:
                    self._array = self._bring()
                    self._bring = None
        assert self._array is not None
        return self._array

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise DeviceError(
                "this array lies on a device that a forked process cannot reach: ask for it "
                "before the fork (result.map, result.frame)"
            )


def as_array(array: NDArray[Any] | LazyArray) -> NDArray[Any]:
    """The array in host memory, brought there where it is lazy."""
    return array.array() if isinstance(array, LazyArray) else array
