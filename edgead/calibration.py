"""From a score to a promise: split-conformal p-values over held-out images of good parts.

With n calibration scores and a new frame exchangeable with them, P(p_value <= rate) <= rate for
every rate, whatever the distribution of scores.

Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, section 2.2;
Bates et al., Testing for outliers with conformal p-values, Annals of Statistics 51(1), 2023.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from edgead.errors import CalibrationError


def p_value(score: float, scores: Sequence[float], tolerance: float = 0.0) -> float:
    """Share of normal frames that score at least as high as ``score``, in [1/(n+1), 1].

    ``p = (1 + #{c_i + tolerance >= score}) / (n + 1)``: calibration scores within ``tolerance``
    below count as ties, so that engines which agree within it keep the promise too.

    Raises: CalibrationError without calibration scores or for a score that is NaN.
    """
    if math.isnan(score):
        raise CalibrationError("a score that is NaN has no p-value")
    return ranked_p_value(score, ranked(scores, tolerance))


def ranked(scores: Iterable[float], tolerance: float = 0.0) -> list[float]:
    """The scores plus ``tolerance``, ascending, for ``ranked_p_value``."""
    values = sorted(float(c) + tolerance for c in scores)
    if not values:
        raise CalibrationError("there are no calibration scores; export with calibration images")
    return values


def ranked_p_value(score: float, values: Sequence[float]) -> float:
    """``p_value`` on the output of ``ranked``; well under a microsecond."""
    n = len(values)
    return (1 + n - bisect_left(values, score)) / (n + 1)


def best_false_reject_rate(n: int) -> float:
    """The lowest false-reject rate that n calibration images can promise: ``1 / (n + 1)``."""
    return 1.0 / (n + 1)


def default_false_reject_rate(n: int) -> float:
    """5 % where n images can promise it, else the best they can."""
    return max(0.05, best_false_reject_rate(n))


def chosen_false_reject_rate(asked: float | None, n: int) -> float:
    """``asked``, checked, or the default for n calibration images where it is None.

    Raises: CalibrationError as ``check_false_reject_rate``.
    """
    return default_false_reject_rate(n) if asked is None else check_false_reject_rate(asked, n)


def check_false_reject_rate(rate: float, n: int) -> float:
    """``rate`` as a float, if n calibration images can promise it.

    Raises: CalibrationError: no number in (0, 1), or under ``1 / (n + 1)``; says the best possible
    and how many images the rate asked for would take.
    """
    try:
        value = float(rate)
    except (TypeError, ValueError):
        value = math.nan
    if not 0.0 < value < 1.0:
        raise CalibrationError(f"false-reject rate {rate!r}: expected a number between 0 and 1")
    best = best_false_reject_rate(n)
    if value < best:
        raise CalibrationError(
            f"false-reject rate {value:g} is more than {n} calibration images can promise: the "
            f"best possible is {typed_rate(best)}; {value:g} needs "
            f"{images_needed(value):.15g} images"
        )
    return value


def typed_rate(best: float) -> str:
    """The lowest rate of four digits that is not under ``best``: one that can be typed as it is."""
    text = f"{best:.4g}"
    if float(text) < best:
        text = f"{float(text) + 10.0 ** (math.floor(math.log10(best)) - 3):.4g}"
    return text


def images_needed(rate: float) -> int:
    """How many calibration images promise ``rate``: the smallest n with ``1 / (n + 1) <= rate``."""
    n = max(1, math.ceil(1.0 / max(rate, sys.float_info.min)) - 1)
    if n > 2**52:  # whose neighbours float64 does not tell apart
        return n
    return next(k for k in (max(1, n - 1), n, n + 1) if best_false_reject_rate(k) <= rate)


def threshold(scores: Sequence[float], rate: float, tolerance: float = 0.0) -> float:
    """The smallest t such that exactly the scores ``> t`` have ``p_value <= rate``.

    Raises: CalibrationError as ``check_false_reject_rate``.
    """
    values = ranked(scores, tolerance)
    n, rate = len(values), check_false_reject_rate(rate, len(values))
    # The largest count j with p = j / (n + 1) <= rate, compared as p_value compares it.
    count = bisect_right(range(1, n + 1), rate, key=lambda j: j / (n + 1))
    return values[n - count]


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
