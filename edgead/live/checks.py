"""What is wrong with the camera or the scores, frame after frame, apart from the verdicts."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgead.bundle.storage import Bundle
from edgead.live.log import Say
from edgead.monitoring.depth import UsedBits
from edgead.monitoring.drift import Drift
from edgead.monitoring.finding import Finding
from edgead.monitoring.health import Health

ENOUGH = 10  # frames of uint16 before their bit depth is doubted


class Checks:
    """Gives the keys ``health`` and ``drift`` of every line, each with its reasons in words.

    The camera is checked when the bundle has limits for it, the drift of the scores when ``drift``
    asks for it, against the calibration of ``precision``. ``say(word, text)`` is told when
    something is found, and when it is over; and once, when frames of uint16 look as if they had
    fewer bits than ``bit_depth`` (None: 16).
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        drift: bool,
        say: Say,
        precision: str = "float32",
        bit_depth: int | None = None,
    ) -> None:
        has_limits = bundle.manifest.health is not None
        self._health = Health(bundle, bit_depth=bit_depth) if has_limits else None
        self._used: UsedBits | None = UsedBits(bit_depth)
        self._bit_depth = bit_depth
        self._bundle = bundle
        self._drift = Drift(bundle, precision=precision) if drift else None
        self._say = say
        self._found: frozenset[str] = frozenset()

    def look(
        self, number: int, image: NDArray[Any], score: float, bit_depth: int | None = None
    ) -> dict[str, Any]:
        """The keys for the frame ``number``, whose ``image`` got ``score``.

        ``bit_depth``: what the camera says of its own uint16 frames.
        """
        keys: dict[str, Any] = {}
        if bit_depth is not None:
            self._declare(bit_depth)
        if self._used is not None:
            self._used.add(image)
            if self._used.frames == ENOUGH:
                self.doubt_depth()
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

    def _declare(self, bit_depth: int) -> None:
        """Measure by the camera's bit depth, which needs no doubt."""
        self._used = None
        if bit_depth != self._bit_depth:
            self._bit_depth = bit_depth
            if self._health is not None:
                self._health = Health(self._bundle, bit_depth=bit_depth)

    def doubt_depth(self) -> None:
        """Say that the frames so far seem to have fewer bits, if they do; only once."""
        used, self._used = self._used, None
        if used is not None and (concern := used.concern_of_serving(self._bundle)):
            self._say("note", concern)

    def _note(self, number: int, findings: list[Finding]) -> None:
        """Say what is new and what is over; not for every frame."""
        for finding in findings:
            if finding.name not in self._found:
                self._say("health", f"frame {number}: {finding.reason}", finding.name)
        names = frozenset(finding.name for finding in findings)
        for name in sorted(self._found - names):
            self._say("fine", f"frame {number}: no longer {name}", name)
        self._found = names
