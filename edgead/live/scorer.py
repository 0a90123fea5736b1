"""What a camera's frames are scored with: a View of a Detector is one."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.result import Result


class Scorer(Protocol):
    """Scores frames, with a false-reject rate that may be set at any time."""

    @property
    def bundle(self) -> Bundle:
        """The bundle that is served."""

    @property
    def bit_depth(self) -> int | None:
        """Of uint16 frames whose camera does not say it."""

    @property
    def threshold(self) -> float:
        """Frames that score above are anomalous at the present ``false_reject_rate``."""

    @property
    def false_reject_rate(self) -> float:
        """The allowed share of good frames called anomalous."""

    @false_reject_rate.setter
    def false_reject_rate(self, rate: float) -> None: ...

    def info(self) -> dict[str, str]:
        """As that of ``Detector``."""

    def score(self, frame: NDArray[Any], bit_depth: int | None = None) -> Result:
        """Score a frame; ``bit_depth``: of uint16, where the camera says it."""
