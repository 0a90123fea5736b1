"""From a score to a promise: split-conformal p-values over held-out images of good parts.

With n calibration scores and a new frame exchangeable with them, P(p_value <= rate) <= rate for
every rate, whatever the distribution of scores. Computed by ``csrc/runtime/calibration.cpp``, which
the C library shares.

Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, section 2.2;
Bates et al., Testing for outliers with conformal p-values, Annals of Statistics 51(1), 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgead import _cpu
from edgead._cpu import Ranked
from edgead.errors import CalibrationError


def p_value(
    score: float,
    scores: Sequence[float],
    tolerance: float = 0.0,
    parts: Sequence[int] | None = None,
) -> float:
    """Share of normal frames that score at least as high as ``score``, in [1/(n+1), 1].

    ``p = (1 + #{c_i + tolerance >= score}) / (n + 1)``: calibration scores within ``tolerance``
    below count as ties, so that engines which agree within it keep the promise too.

    Args:
        score: of the frame.
        scores: of the calibration images, n of them.
        tolerance: how far two engines may be from each other.
        parts: which part each of them shows, where one shows several; None: each one of its own.
            The images of a part then share the weight of one, and n is the number of parts: a new
            image of a new part is rejected at the rate, on average over calibrations and parts.

    Raises: CalibrationError without calibration scores or for a score that is NaN.
    Source of ``parts``: Lee, Barber, Willett, Distribution-free inference with hierarchical data,
        arXiv 2306.06342.
    """
    return ranked(scores, tolerance, parts).p_value(score)


def ranked(
    scores: Iterable[float], tolerance: float = 0.0, parts: Sequence[int] | None = None
) -> Ranked:
    """The scores plus ``tolerance``, ascending, for ``ranked_p_value``; ``parts``: see there."""
    return Ranked([float(c) for c in scores], tolerance, parts or ())


def ranked_p_value(score: float, values: Ranked) -> float:
    """``p_value`` on the output of ``ranked``; well under a microsecond."""
    return values.p_value(score)


def best_false_reject_rate(n: int) -> float:
    """The lowest false-reject rate that n calibration images can promise: ``1 / (n + 1)``."""
    return _cpu.best_false_reject_rate(n)


def default_false_reject_rate(n: int) -> float:
    """5 % where n images can promise it, else the best they can."""
    return _cpu.default_false_reject_rate(n)


def chosen_false_reject_rate(asked: float | None, n: int, counted: str = "images") -> float:
    """``asked``, checked, or the default for n calibration images where it is None.

    Raises: CalibrationError as ``check_false_reject_rate``.
    """
    if asked is None:
        return default_false_reject_rate(n)
    return check_false_reject_rate(asked, n, counted)


def check_false_reject_rate(rate: float, n: int, counted: str = "images") -> float:
    """``rate`` as a float, if n calibration images, or what else is ``counted``, can promise it.

    Raises: CalibrationError: no number in (0, 1), or under ``1 / (n + 1)``; says the best possible
    and how many images the rate asked for would take.
    """
    try:
        value = float(rate)
    except (TypeError, ValueError):
        raise CalibrationError(
            f"false-reject rate {rate!r}: expected a number between 0 and 1"
        ) from None
    return _cpu.check_false_reject_rate(value, n, counted)


def typed_rate(best: float) -> str:
    """The lowest rate of four digits that is not under ``best``: one that can be typed as it is."""
    return _cpu.typed_rate(best)


def images_needed(rate: float) -> int:
    """How many calibration images promise ``rate``: the smallest n with ``1 / (n + 1) <= rate``."""
    return int(_cpu.images_needed(rate))


def threshold(
    scores: Sequence[float],
    rate: float,
    tolerance: float = 0.0,
    parts: Sequence[int] | None = None,
) -> float:
    """The smallest t such that exactly the scores ``> t`` have ``p_value <= rate``.

    Raises: CalibrationError as ``check_false_reject_rate``.
    """
    return ranked(scores, tolerance, parts).threshold(rate)


def expected_rejects(n: int, rate: float, images: int) -> tuple[int, int]:
    """How many new good images are rejected, fewest and most, in the middle 95 % of calibrations.

    The share of good frames above the k-th largest of n independent scores, which is the threshold
    where k is the largest with k / (n + 1) <= ``rate``, is Beta(k, n + 1 - k); what is counted in
    ``images`` new ones is beta-binomial. Equal scores make it less.

    Args:
        n: calibration images, each of a part of its own.
        rate: one that they can promise.
        images: new ones, independent too.

    Source: Vovk, Conditional validity of inductive conformal predictors, Machine Learning 92,
        2013, for the distribution of the share.
    """
    k = max(j for j in range(1, n + 1) if j / (n + 1) <= rate)

    def beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    below, low = 0.0, None
    for count in range(images + 1):
        ways = -beta(count + 1, images - count + 1) - math.log(images + 1)
        below += math.exp(ways + beta(count + k, images - count + n + 1 - k) - beta(k, n + 1 - k))
        if low is None and below >= 0.025:
            low = count
        if below >= 0.975:
            return low or 0, count
    return low or 0, images


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % confidence interval of a share, hits of n.

    Raises: ValueError unless 0 <= hits <= n and n > 0.
    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} of {n} is not a share; expected 0 <= hits <= n, n > 0")
    z, share = 1.959963984540054, hits / n
    middle, half = (
        share + z * z / (2 * n),
        z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2),
    )
    low, high = ((middle + end) / (1 + z * z / n) for end in (-half, half))
    return (low if hits else 0.0), (high if hits < n else 1.0)
