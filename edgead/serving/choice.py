"""Which device serves: the one that was asked for, or for "auto" a GPU that can, and why not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgead.bundle.storage import Bundle
from edgead.errors import DeviceError, EdgeadError, InputError


@dataclass(frozen=True)
class Choice:
    """``index`` of "cuda:index", None for the CPU; ``reason``: for people."""

    index: int | None
    reason: str

    @property
    def device(self) -> str:
        """ "cpu" or "cuda:N"."""
        return "cpu" if self.index is None else f"cuda:{self.index}"

    def check_fork(self) -> None:
        """Raise DeviceError for what a forked process cannot use, as it was opened before."""
        if self.index is not None:
            raise DeviceError(
                f"this Detector was made for {self.device} before the process was "
                'forked, and a GPU cannot be used across a fork: start processes with "spawn", '
                "or make the Detector in the forked process"
            )


CPU_FIRST = Choice(None, "a warm start begins on the CPU")


def choose(device: str, bundle: Bundle | None = None, precision: str | None = None) -> Choice:
    """Settle which device serves.

    Args:
        device: "cpu", "cuda" (the first GPU), "cuda:N", or "auto": the first GPU where ``obstacle``
            finds nothing, else the CPU.
        bundle, precision: what is to be served, where that is known.

    Raises:
        InputError: another word.
    """
    word = device.lower() if isinstance(device, str) else device
    if word == "cpu":
        return Choice(None, 'asked for "cpu"')
    if word == "auto":
        found = obstacle(bundle, precision)
        if found is None:
            return Choice(0, "auto: a GPU that can serve")
        return Choice(None, f"auto: no GPU: {found}")
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", word) if isinstance(word, str) else None
    if match is None:
        raise InputError(f'device {device!r}: expected "auto", "cpu", "cuda" or "cuda:N"')
    return Choice(int(match[1] or 0), f'asked for "{word}"')


def obstacle(bundle: Bundle | None = None, precision: str | None = None) -> str | None:
    """What keeps "auto" from the first GPU, in a sentence; None where nothing does."""
    try:
        # Loaded here: without a GPU everything starts faster without these modules.
        from edgead.nvidia.kernels import PRECISION, load_kernels
        from edgead.nvidia.memory import open_memory
        from edgead.nvidia.plans.library import find_library

        load_kernels(open_memory(0).capability)
        find_library()
    except EdgeadError as error:
        return str(error)
    expected = precision or PRECISION
    if bundle is not None and expected not in bundle.manifest.models:
        return f"the bundle has no {expected} graph: export or learn it again with it"
    return None
