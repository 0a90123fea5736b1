"""A plan in memory, and the options that it was built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.errors import InputError


@dataclass(frozen=True)
class BuildOptions:
    """What a plan is built for, apart from the graph and the device; part of its key.

    Args:
        batch: (least, tuned for, most) images at once; three equal numbers fix it.
        workspace_mb: most MiB of scratch memory, None for what the device has.
        dla: core of a Jetson's DLA, None for the GPU alone; needs a fixed batch.

    Raises:
        InputError: values that make no sense.
    """

    batch: tuple[int, int, int] = (1, 1, 1)
    workspace_mb: int | None = None
    dla: int | None = None

    def __post_init__(self) -> None:
        least, tuned, most = self.batch
        if not 1 <= least <= tuned <= most:
            raise InputError(f"batch {self.batch}: expected 1 <= least <= tuned for <= most")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise InputError(f"workspace {self.workspace_mb} MiB: expected at least 1")
        if self.dla is not None and self.dla < 0:
            raise InputError(f"DLA core {self.dla}: expected 0 or more")
        if self.dla is not None and least != most:
            raise InputError("a DLA takes one batch size only: leave --batch out, or fix it")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"batch": list(self.batch), "workspace_mb": self.workspace_mb, "dla": self.dla}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> BuildOptions:
        """What ``to_json`` gave.

        Raises:
            KeyError, TypeError, ValueError, InputError: something else.
        """
        least, tuned, most = map(int, given["batch"])
        return cls((least, tuned, most), given["workspace_mb"], given["dla"])


@dataclass(frozen=True)
class Plan:
    """A plan that may be given to TensorRT; of a foreign one only the first four are known."""

    data: bytes = field(repr=False)
    path: Path
    flavour: str
    version: str
    precision: str = ""
    device: str = ""  # "Orin sm_87 8 SM 7 GiB"; for RTX "any" or as in "sm_86 sm_89"
    options: BuildOptions | None = None
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)  # plain JSON of the build
    cached: bool = True  # whether it was there already
