"""What is wrong with the camera or the scores, frame after frame, apart from the verdicts."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.live.log import Say
from edgead.monitoring.drift import Drift
from edgead.monitoring.finding import Finding
from edgead.monitoring.health import Health


class Checks:
    """Gives the keys ``health`` and ``drift`` of every line, each with its reasons in words.

    The camera is checked when the bundle has limits for it, the drift of the scores when ``drift``
    asks for it, against the calibration of ``precision``. ``say(word, text)`` is told when
    something is found, and when it is over.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        drift: bool,
        say: Say,
        precision: str = "float32",
    ) -> None:
        self._health = Health(bundle) if bundle.manifest.health is not None else None
        self._drift = Drift(bundle, precision=precision) if drift else None
        self._say = say
        self._found: frozenset[str] = frozenset()

    def look(self, number: int, image: NDArray[Any], score: float) -> dict[str, Any]:
        """The keys for the frame ``number``, whose ``image`` got ``score``."""
        keys: dict[str, Any] = {}
        findings: list[Finding] = []
        if self._health is not None:
            findings += self._health.check(image)
            keys["health"] = [finding.reason for finding in findings]
        if self._drift is not None:
            finding = self._drift.update(score)
            keys["drift"] = finding and finding.reason
            findings += [finding] if finding else []
        self._note(number, findings)
        return keys

    def _note(self, number: int, findings: list[Finding]) -> None:
        """Say what is new and what is over; not for every frame."""
        for finding in findings:
            if finding.name not in self._found:
                self._say("health", f"frame {number}: {finding.reason}", finding.name)
        names = frozenset(finding.name for finding in findings)
        for name in sorted(self._found - names):
            self._say("fine", f"frame {number}: no longer {name}", name)
        self._found = names
