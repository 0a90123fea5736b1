"""Camera health: too dark, saturated, blurred, shifted, frozen; apart from the anomaly score.

Each check is one number of a frame, and its limit is the worst of n good images of this camera
(``edgead calibrate`` and ``edgead export`` measure them). A new good frame is then outside with a
probability that is at most

    b = 1 - delta ** (1 / n)        for 1 - delta of all sets of n good images

(were it higher, n images all inside would be rarer than delta). If frames are independent, each of
another part, k in a row are outside with at most ``b ** k``; k is the smallest with
``b ** k <= rate``. Checks are five, so each gets a fifth of delta and of rate.

Source: the bound on b is Clopper and Pearson's for 0 of n, Biometrika 26(4), 1934; sharpness is the
variance of the Laplacian, Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR
2000, divided by that of the image; the shift is by phase correlation, Kuglin and Hines, 1975.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.entries import HealthLimits
from edgead.errors import InputError
from edgead.images import decode_image, encode_png
from edgead.images.bits import full_scale
from edgead.monitoring.depth import UsedBits
from edgead.monitoring.finding import Finding
from edgead.preprocess import check_frame

if TYPE_CHECKING:
    from edgead.bundle.storage import Bundle

REFERENCE = "health/reference.png"
CHECKS = ("dark", "saturated", "blurred", "shifted", "frozen")
DELTA = 0.01  # share of sets of good images whose limits may be too tight for the stated rate
FALSE_ALARM_RATE = 1e-6  # at 30 frames per second, one in nine hours

_LOWEST = ("dark", "blurred")  # their limits are the lowest of good images, others the highest
_SIDE = 256  # the frame is looked at as a grey image of this height and width
_SHIFT_SIDE = 128  # and at this one for its shift, which is found to a fraction of a pixel
_FULL = 0.98  # of full scale: at or near it, also after JPEG
_SAMPLE_BYTES = 1 << 20  # of a frame are compared with the one before


class Measures(NamedTuple):
    """What is measured of one frame. Brightness and shares in [0, 1]."""

    brightness: float  # mean, as a share of full scale
    saturated: float  # share of pixels at full scale in at least one channel
    sharpness: float  # variance of the Laplacian over the variance of the image


class Observations:
    """Good images, looked at one after the other; then the limits that follow from them.

    Args:
        bit_depth: of uint16 frames; None: 16, and ``used`` says what speaks against it.
    """

    def __init__(self, bit_depth: int | None = None) -> None:
        self.used = UsedBits(bit_depth)
        self._measures: list[Measures] = []
        self._small: list[NDArray[np.float32]] = []

    def add(self, frame: Any) -> None:
        """Look at one good image; see ``Detector.score`` for what a frame is."""
        frame = check_frame(frame)
        measures, small = look(frame, self.used.bit_depth)
        self.used.add(frame)
        self._measures.append(measures)
        self._small.append(small)

    def limits(self) -> tuple[HealthLimits, bytes]:
        """The limits, and the file ``REFERENCE`` that belongs to them.

        The shift of each image is measured against the mean of the others. Against a mean that
        holds the image itself, textures would seem not to be shifted at all.
        """
        total = np.sum(self._small, axis=0, dtype=np.float64)
        n = len(self._small)
        others = ((total - small) / max(1, n - 1) for small in self._small)
        shifts = [
            math.hypot(*shift(small, mean.astype(np.float32)))
            for small, mean in zip(self._small, others, strict=True)
        ]
        brightness, saturated, sharpness = zip(*self._measures, strict=True)
        mean = np.rint(65535 * total / n).astype(np.uint16)
        worst = min(brightness), max(saturated), min(sharpness), max(shifts)
        return HealthLimits(REFERENCE, n, *worst), encode_png(mean, "picture")


class Health:
    """Checks the frames of one camera, in their order, against the good images of ``bundle``.

    What is found comes after ``frames_in_a_row`` frames and lasts until the first frame that is
    good again. Not for two threads at once.

    Args:
        bundle: has the limits.
        false_alarm_rate: per frame, for all checks together, in (0, 1); see this module's head.
        bit_depth: of uint16 frames, where it is not the bundle's; None for that, else 16.

    Raises:
        InputError: the bundle has no health limits, or the rate is out of its range.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        false_alarm_rate: float = FALSE_ALARM_RATE,
        bit_depth: int | None = None,
    ) -> None:
        self._bit_depth = bundle.manifest.preprocess.declared(bit_depth).bit_depth
        limits = bundle.manifest.health
        if limits is None:
            raise InputError(
                f"bundle {bundle.path} has no limits for the health of the camera: edgead "
                "calibrate measures them on good images"
            )
        if not 0 < false_alarm_rate < 1:
            raise InputError(f"false_alarm_rate is {false_alarm_rate!r}, expected 0 to 1")
        self._limits = limits
        image = decode_image(bundle.read(limits.reference), limits.reference)
        if image.shape != (_SHIFT_SIDE, _SHIFT_SIDE) or image.dtype != np.uint16:
            raise InputError(
                f"bundle {bundle.path}: {limits.reference} is {image.shape} {image.dtype}; "
                f"expected ({_SHIFT_SIDE}, {_SHIFT_SIDE}) uint16: calibrate again"
            )
        self._reference = image.astype(np.float32) / np.float32(65535)
        self.frames_in_a_row = frames_in_a_row(limits.images, false_alarm_rate)
        self._runs = dict.fromkeys(CHECKS, 0)
        self._last: NDArray[Any] | None = None

    def check(self, frame: Any) -> tuple[Finding, ...]:
        """Check one frame.

        Args:
            frame: as for ``Detector.score``, in host memory.

        Returns:
            What is wrong with the camera as of this frame; () when nothing is.

        Raises:
            InputError: ``frame`` is not a frame.
        """
        limits, frame = self._limits, check_frame(frame)
        measures, small = look(frame, self._bit_depth)
        across, down = shift(small, self._reference)
        sample = frame[:: max(1, frame.nbytes // _SAMPLE_BYTES)]  # of its rows
        same = self._last is not None and np.array_equal(sample, self._last)
        if not same:
            self._last = np.array(sample)  # the camera may write into the same memory again
        values = (*measures, math.hypot(across, down), float(same))
        worst = (limits.brightness, limits.saturated, limits.sharpness, limits.shift, 0.0)
        reasons = (
            f"too dark: mean brightness {measures.brightness:.1%} of full scale; good images "
            f"have {limits.brightness:.1%} or more",
            f"saturated: {measures.saturated:.2%} of the pixels are at full scale; good images "
            f"have {limits.saturated:.2%} or less",
            f"blurred: sharpness {measures.sharpness:.4g}; good images have "
            f"{limits.sharpness:.4g} or more",
            f"shifted: by {across:+.1%} of the width, {down:+.1%} of the height; good images by "
            f"{limits.shift:.1%} at most",
            "frozen: the frames are the same, bit for bit",
        )
        found = []
        for name, value, limit, reason in zip(CHECKS, values, worst, reasons, strict=True):
            bad = value < limit if name in _LOWEST else value > limit
            self._runs[name] = run = self._runs[name] + 1 if bad else 0
            if run >= self.frames_in_a_row:
                found.append(Finding(name, value, limit, run, f"{reason} ({run} frames in a row)"))
        return tuple(found)


def frames_in_a_row(n: int, rate: float, delta: float = DELTA) -> int:
    """How many frames outside in a row are a finding; see the head of this module."""
    outside = -math.expm1(math.log(delta / len(CHECKS)) / n)
    return math.ceil(math.log(rate / len(CHECKS)) / math.log(outside))


def look(frame: Any, bit_depth: int | None = None) -> tuple[Measures, NDArray[np.float32]]:
    """The measures of ``frame``, and the small grey image [128, 128] for its shift, 0 to 1."""
    import cv2

    frame = check_frame(frame)
    size = (_SIDE, _SIDE)
    small = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)
    channels = 1 if small.ndim == 2 else small.shape[2]
    full = full_scale(frame.dtype, bit_depth)
    below = (math.ceil(_FULL * full) - 1,) * channels
    saturated = 1 - cv2.countNonZero(cv2.inRange(small, (0,) * channels, below)) / _SIDE**2
    # All channels weigh the same, so that BGR and RGB give the same.
    grey = cv2.transform(small.astype(np.float32), np.full((1, channels), 1 / (channels * full)))
    (mean,), (deviation,) = (values.ravel() for values in cv2.meanStdDev(grey))
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1].item()
    sharpness = (edges / deviation) ** 2 if deviation > 0 else 0.0
    tiny = cv2.resize(grey, (_SHIFT_SIDE, _SHIFT_SIDE), interpolation=cv2.INTER_AREA)
    return Measures(float(mean), saturated, float(sharpness)), np.asarray(tiny, np.float32)


def shift(small: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float]:
    """How far ``small`` lies right of and below ``reference``, as shares of width and height.

    Both [h, w] float32. (0, 0) where one of them is the same everywhere.
    """
    import cv2

    if np.ptp(small) == 0 or np.ptp(reference) == 0:
        return 0.0, 0.0
    height, width = small.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    # Products of our own: given the window, phaseCorrelate multiplies its arguments in place.
    (across, down), _ = cv2.phaseCorrelate(reference * window, small * window)
    return across / width, down / height
