"""Drift: do the scores of the stream still come from where the calibration scores came from?

A sequential test: it looks after every frame, and the probability that it ever gives a false alarm,
however long it runs, is at most ``false_alarm_rate``. Two things are watched.

*Good frames* (not above the calibration's limit). The n calibration scores divide the line into
n + 1 gaps. If good frames and calibration images are exchangeable, the next good frame falls into
gap j with probability (1 + c_j) / (n + 1 + c), where c_j earlier ones of c fell into it: Polya's
urn, for every n, law of scores and horizon, and among the gaps below the limit alone. So

    p = (chances of the gaps above j) + u (chance of gap j),    u uniform in (0, 1]

is uniform and independent of all earlier p. A p-value against the n scores alone is not: all frames
share the luck of the same n scores. Equal scores are ordered by chance. ``k p ** (k - 1)`` and
``k (1 - p) ** (k - 1)`` bet on rising and falling scores, with mean 1 if p is uniform.

*Anomalous frames* (above the limit) are defects and say nothing of drift, unless they are too many.
If at most a share q of frames is anomalous, likelihood ratios of a higher share s against q,
``s / q`` and ``(1 - s) / (1 - q)``, have a mean of 1 at most.

The capital of a bettor who starts at frame r is a product of such factors. Starting with 1, divided
over the bettors and the frames to come (1 / (r (r + 1)) for frame r), the sum of all capitals is a
martingale at most, and reaches 1 / rate with probability at most ``rate`` (Ville's inequality).

Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, chapters 7 and 8;
Ville, Etude critique de la notion de collectif, 1939; Blackwell and MacQueen, Ferguson
distributions via Polya urn schemes, Annals of Statistics 1(2), 1973.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping
from hashlib import blake2b, sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Any, SupportsFloat

from edgead.bundle.json_reader import read_json
from edgead.errors import BundleError, InputError
from edgead.monitoring.finding import Finding

if TYPE_CHECKING:
    from edgead.bundle.storage import Bundle

FALSE_ALARM_RATE = 0.01
ANOMALOUS_SHARE = 0.2

POWERS = (0.2, 0.5, 0.8)
"""Exponents k of the bets on p: from few frames far away to a small, lasting shift."""

PARTS = (0.2, 0.5, 0.9)
"""The shares of anomalous frames that are bet on: so far from the normal share to 1."""

_SINCE = 50  # frames over which the numbers of a reason are averaged, about
_MOST = 1e300  # capital; far over any alarm, under the largest float
_LEAST = 2.0**-53  # of 1 - p, for its power

_STATE = {
    "calibration_sha256": str,
    "false_alarm_rate": float,
    "anomalous_share": float,
    "precision": str,
    "frames": int,
    "alarm": int,  # its frame; 0 before
    "counts": tuple[int, ...],
    "capitals": tuple[float, ...],
    "means": tuple[float, ...],  # of the last p-values, and of whether frames were anomalous
}
"""What a Drift is made of but its bundle: each is an attribute of that name, too."""


class Drift:
    """Watches the scores of one camera, in their order, against the calibration of ``bundle``.

    Frames must be independent: each of another part. An alarm stays, until a new Drift is made.
    ``state`` and ``resume`` carry one over a restart.

    Args:
        bundle: has the calibration.
        false_alarm_rate: probability of a false alarm ever, in (0, 1).
        anomalous_share: share of anomalous frames that is still normal, defects and false rejects
            together; between the bundle's false-reject rate and 1.
        precision: of the engine that gives the scores.

    Raises:
        InputError: a rate or share is out of its range.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        false_alarm_rate: float = FALSE_ALARM_RATE,
        anomalous_share: float = ANOMALOUS_SHARE,
        precision: str = "float32",
    ) -> None:
        calibration = bundle.manifest.calibration
        reject = calibration.false_reject_rate
        if not 0 < false_alarm_rate < 1:
            raise InputError(f"false_alarm_rate is {false_alarm_rate!r}, expected 0 to 1")
        if not reject < anomalous_share < 1:
            raise InputError(
                f"anomalous_share is {anomalous_share!r}, expected a number between the bundle's "
                f"false-reject rate, {reject:g}, and 1"
            )
        self._false_alarm_rate = float(false_alarm_rate)
        self._anomalous_share = float(anomalous_share)
        self._precision = precision
        scores = calibration.own.get(precision, calibration).scores
        self._calibration_sha256 = sha256(json.dumps([scores, reject]).encode()).hexdigest()
        # Ties among scores are ordered by chance: a second key, drawn for each.
        self._keys = sorted((s, _uniforms(-1 - i)[0]) for i, s in enumerate(scores))
        n = len(scores)
        self._top = max(g for g in range(n + 1) if (1 + n - g) / (n + 1) > reject)
        self._counts = [0] * (self._top + 1)
        self._frames = 0
        self._alarm = 0
        self._capitals = [0.0] * (2 * len(POWERS) + len(PARTS))
        self._shares = [
            self._anomalous_share + part * (1 - self._anomalous_share) for part in PARTS
        ]
        self._means = [0.5, 0.0]

    @property
    def evidence(self) -> float:
        """The capital: 1 at the start, an alarm from ``1 / false_alarm_rate`` on."""
        return sum(self._capitals) + 1 / (self._frames + 1)

    def update(self, score: SupportsFloat) -> Finding | None:
        """Take the score of the next frame.

        Args:
            score: of ``Detector.score``, or the Result itself.

        Returns:
            What is found, once the alarm has gone off; else None.

        Raises:
            InputError: ``score`` is not a finite number.
        """
        try:
            value = math.nan if isinstance(score, str) else float(score)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"score is {score!r:.80}, expected a finite number: that of a Result, as in "
                "drift.update(detector.score(frame).score)"
            )
        self._frames += 1
        first, second = _uniforms(self._frames)
        gap = bisect_left(self._keys, (value, first))
        anomalous = gap > self._top
        q = self._anomalous_share
        bets = [1.0] * (2 * len(POWERS)) if anomalous else self._bets_on_p(gap, second)
        bets += [s / q if anomalous else (1 - s) / (1 - q) for s in self._shares]
        start = 1 / (self._frames * (self._frames + 1) * len(bets))
        pairs = zip(self._capitals, bets, strict=True)
        self._capitals = [min((capital + start) * bet, _MOST) for capital, bet in pairs]
        weight = 1 / min(_SINCE, self._frames)
        self._means[1] += weight * (anomalous - self._means[1])
        if not self._alarm and self.evidence >= 1 / self._false_alarm_rate:
            self._alarm = self._frames
        return self._finding(self._frames - self._alarm + 1) if self._alarm else None

    def _bets_on_p(self, gap: int, u: float) -> list[float]:
        p = urn_p_value(self._counts, gap, u)
        self._counts[gap] += 1
        self._means[0] += (p - self._means[0]) / min(_SINCE, sum(self._counts))
        q = max(1 - p, _LEAST)
        return [k * p ** (k - 1) for k in POWERS] + [k * q ** (k - 1) for k in POWERS]

    def _finding(self, frames: int) -> Finding:
        k = len(POWERS)
        sums = map(sum, (self._capitals[:k], self._capitals[k : 2 * k], self._capitals[2 * k :]))
        names = ("rising", "falling", "anomalies")
        _, name = max(zip(sums, names, strict=True), key=itemgetter(0))
        what = (
            f"good frames score {'higher' if name == 'rising' else 'lower'} than the calibration "
            f"images: mean p-value {self._means[0]:.2f} lately, 0.5 is expected"
        )
        if name == "anomalies":
            what = (
                f"{self._means[1]:.0%} of the frames were anomalous lately, "
                f"{self._anomalous_share:.0%} at most is normal"
            )
        rate = self._false_alarm_rate
        reason = (
            f"drift, found after {self._alarm} frames: {what} (evidence {self.evidence:.3g}; if "
            f"nothing had changed, it would ever reach {1 / rate:g} with a probability of {rate:g} "
            "at most)"
        )
        return Finding(name, self.evidence, 1 / rate, frames, reason)

    def state(self) -> dict[str, Any]:
        """All that ``resume`` needs, as JSON values."""
        values = {key: getattr(self, f"_{key}") for key in _STATE}
        return {key: list(v) if isinstance(v, list) else v for key, v in values.items()}

    @classmethod
    def resume(cls, bundle: Bundle, state: Mapping[str, Any]) -> Drift:
        """Go on from ``state`` as if there had been no stop, in the precision it was made for.

        Raises:
            InputError: ``state`` is of another calibration, or damaged.
        """
        try:
            found = read_json(_STATE, dict(state), "state")
        except BundleError as error:
            raise InputError(f"the state of the drift test is damaged: {error}") from error
        settings = ("false_alarm_rate", "anomalous_share", "precision")
        drift = cls(bundle, **{key: found[key] for key in settings})
        if found["calibration_sha256"] != drift._calibration_sha256:
            raise InputError(
                "the state of the drift test is of another calibration; start a new one"
            )
        for key, value in found.items():
            if isinstance(value, tuple) and len(value) != len(getattr(drift, f"_{key}")):
                raise InputError("the state of the drift test is damaged: lists of other lengths")
            setattr(drift, f"_{key}", list(value) if isinstance(value, tuple) else value)
        return drift


def urn_p_value(counts: list[int], gap: int, u: float) -> float:
    """Share of the chances above ``gap``, and ``u`` of its own; chances are 1 + counts."""
    above = len(counts) - gap - 1 + sum(counts[gap + 1 :])
    return (above + u * (1 + counts[gap])) / (len(counts) + sum(counts))


def _uniforms(index: int) -> tuple[float, float]:
    """Two numbers in (0, 1] that depend on ``index`` alone: a resumed test draws the same."""
    data = blake2b(index.to_bytes(8, "big", signed=True), digest_size=16).digest()
    first, second = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")
    return (first + 1) / 2**64, (second + 1) / 2**64
