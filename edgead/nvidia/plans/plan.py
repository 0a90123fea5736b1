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

    ``batch``: (least, tuned for, most) images at once; three equal numbers fix it.
    ``workspace_mb``: most MiB of scratch memory, None for what the device has.
    ``dla``: core of a Jetson's DLA, None for the GPU alone; needs a fixed batch.

    Errors: InputError for values that make no sense.
    """

    batch: tuple[int, int, int] = (1, 1, 8)
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
            raise InputError("a DLA takes one batch size only: fix it, as with --static-batch 1")

    @property
    def static(self) -> bool:
        """Whether the batch is fixed."""
        return self.batch[0] == self.batch[2]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"batch": list(self.batch), "workspace_mb": self.workspace_mb, "dla": self.dla}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> BuildOptions:
        """What ``to_json`` gave. Errors: KeyError, TypeError, ValueError for something else."""
        least, tuned, most = map(int, given["batch"])
        return cls((least, tuned, most), given["workspace_mb"], given["dla"])


@dataclass(frozen=True)
class Plan:
    """A plan that may be given to TensorRT.

    ``device``: what it was built for: a GPU's word ("Orin sm_87"), or for RTX "any" or compute
    capabilities ("sm_75", "sm_86 sm_89"). ``precision``, ``device`` and ``options`` are not known
    of a foreign plan: "", "" and None. ``about``: what the builder said of it, plain JSON.
    ``cached``: whether it was there already.
    """

    data: bytes = field(repr=False)
    path: Path
    flavour: str
    version: str
    precision: str
    device: str
    options: BuildOptions | None
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cached: bool = True
