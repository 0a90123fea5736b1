"""The entries of a manifest: what each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgead.calibration import ranked


@dataclass(frozen=True)
class Pair:
    """Reference and restored features of one level, as the graph names them.

    ``size`` is (height, width) of the features; ``weight`` scales the pair's distances.
    """

    reference: str
    restored: str
    channels: int
    size: tuple[int, int]
    weight: float = 1.0


@dataclass(frozen=True)
class Memory:
    """Features of good parts, a file of the bundle, that those of a frame are compared with.

    ``features`` is the output of the graph, [N, channels, height, width]; ``size`` is (height,
    width). ``file`` holds the features that are kept, ``.npy`` [rows, channels] float32 or float16;
    ``places``, ``.npy`` [height, width] float32, how much the distance at each position counts.
    The distance is the mean squared difference of the channels, over the ``neighbours`` nearest;
    with a ``temperature``, in these units, that of what is blended of them (``nearest.Blend``).
    ``shares``, ``.npy`` as ``places``, is what the features at each position are multiplied by
    before they are compared; None: by 1. ``scored`` is as ``places``, in the sum that the score is
    pooled from; None, in all signals: it is pooled from the map.
    """

    features: str
    channels: int
    size: tuple[int, int]
    file: str
    places: str
    neighbours: int = 1
    weight: float = 1.0
    temperature: float | None = None
    shares: str | None = None
    scored: str | None = None


@dataclass(frozen=True)
class Whitening:
    """What features of good parts differ in at each place: files of the bundle.

    ``features``, ``channels`` and ``size`` are as in ``Memory``; ``count`` of the channels count,
    from ``first`` on. With ``centre``, ``.npy`` [count] float32, they are taken less that, and
    brought to mean 0 and variance 1 over the channels of each position. Of what is left beyond the
    ``mean`` of the place, ``.npy`` [count, height, width] float32, and times the factor of its
    region, the mean square is the distance. ``factors``: ``.npy`` [regions, count, count] float32,
    of squares of ``side`` positions, row by row, of which the last of a row or column may be
    smaller. ``places`` and ``scored`` as in ``Memory``; None: it does not count in that sum.
    """

    features: str
    channels: int
    size: tuple[int, int]
    first: int
    count: int
    mean: str
    factors: str
    side: int
    centre: str | None = None
    places: str | None = None
    scored: str | None = None


@dataclass(frozen=True)
class Golden:
    """A frame in the bundle with the map and score that every engine must reproduce.

    ``image`` a PNG at frame size (BGR or grey), ``map`` a float32 [h, w] ``.npy``; ``scored`` the
    sum that the score is pooled from, where that is not the map.
    """

    image: str
    map: str
    score: float
    scored: str | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far an engine's score and map values may be from the golden ones (absolute)."""

    score: float
    map: float


@dataclass(frozen=True)
class OwnCalibration:
    """Scores and peaks of the calibration images by engines of one precision.

    ``ties``: how far two engines of that precision may be from each other (absolute).
    """

    scores: tuple[float, ...]
    peaks: tuple[float, ...]
    ties: Tolerance


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out good images by the embedded engine, and the peak of each one's map.

    That is in float32. ``ties``: how far an engine in float32 or float16 may be from another of
    them (absolute), measured at export; None: the tolerance of its precision. ``own``: of the same
    images in a precision that moves scores too far. ``parts``: which part each image shows, where
    one shows several; None: each one of its own.
    """

    scores: tuple[float, ...]
    peaks: tuple[float, ...]
    false_reject_rate: float
    ties: Tolerance | None = None
    own: Mapping[str, OwnCalibration] = field(default_factory=dict)
    parts: tuple[int, ...] | None = None

    def counted(self) -> tuple[int, str]:
        """How many count towards the promise, and what they are: "images" or "parts"."""
        found = ranked(self.scores, parts=self.parts)
        return found.size, found.counted


@dataclass(frozen=True)
class HealthLimits:
    """The worst of ``images`` good images in each measure of ``edgead.monitoring.health``.

    ``reference``: PNG of their mean, [128, 128] uint16 grey. ``brightness``: lowest; ``saturated``:
    highest share of pixels; ``sharpness``: lowest; ``shift``: largest, as a share of the side.
    """

    reference: str
    images: int
    brightness: float
    saturated: float
    sharpness: float
    shift: float
