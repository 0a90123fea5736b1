"""What a Detector says about a frame."""

from __future__ import annotations

from dataclasses import KW_ONLY, InitVar, asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.engine.digests import Digests
from edgead.engine.lazy_array import LazyArray, as_array
from edgead.errors import InputError


@dataclass(frozen=True)
class Region:
    """A connected anomalous area, in pixels of the frame.

    Args:
        x, y: left and top of the bounding box.
        width, height: of the bounding box.
        area: number of pixels.
        peak: highest value of the heatmap inside.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


@dataclass(frozen=True)
class Scale:
    """The map values that mean something, both from calibration images.

    ``typical``: median peak of a good part's map; ``threshold``: what the peak of a good part
    exceeds at most as often as the allowed false-reject rate.
    """

    typical: float
    threshold: float


_READ_WHOLE = 4 << 20  # bytes of a frame; of a larger one as many are read, in whole rows


class Fingerprint(NamedTuple):
    """64 bits of a frame's content, to see later whether its memory was written to."""

    bits: int
    step: int  # from one row that was read to the next

    @classmethod
    def of(cls, frame: NDArray[Any], *, whole: bool = True) -> Fingerprint:
        """Of every byte, or, where not ``whole``, of every n-th row of a frame above 4 MiB.

        Reading all of such a frame would take longer than the rest of a small network, and the next
        picture of a camera differs in each row. Row 0, which cameras write first, is among them.
        """
        step = 1 if whole else max(1, -(-frame.nbytes // _READ_WHOLE))
        return cls(_cpu.fingerprint(frame[::step]), step)

    def fits(self, frame: NDArray[Any]) -> bool:
        """Whether ``frame`` still holds what it held."""
        return bool(_cpu.fingerprint(frame[:: self.step]) == self.bits)


class _Framed:
    """The frame of a Result, which is not a field: ``asdict`` leaves it out."""

    def _keep(self, frame: Any, taken: Fingerprint | None) -> None:
        """``taken``: the fingerprint when it was scored; None of a frame on a device."""
        self._frame, self._fingerprint = frame, taken

    @property
    def frame(self) -> NDArray[Any]:
        """What was scored, not copied; InputError when its memory was written to since."""
        frame = as_array(self._frame)
        if self._fingerprint is not None and not self._fingerprint.fits(frame):
            raise InputError(
                "the frame's memory was written to after it was scored, as cameras do that use "
                "their buffers again: call overlay() before the next frame is grabbed, or score a "
                "copy, detector.score(frame.copy())"
            )
        return frame


@dataclass(eq=False, repr=False)
class Result(_Framed):
    """Score, verdict and map of one frame. ``float(result)`` is the score.

    The rest is computed when asked for. A frame in host memory is kept, not copied, for
    ``overlay``: asked for after the camera wrote into the same memory again, it is an InputError.

    Args:
        score: raw and unbounded; higher is more anomalous.
        p_value: share of normal frames that score at least as high, in [1 / (n + 1), 1] with n
            calibration images.
        is_anomalous: ``p_value <= false_reject_rate`` at the moment of scoring, which is
            ``score > threshold``.
        threshold: as of that moment.
        map: [h, w] float32 at model resolution, memory of its own.
        timings_ms: "preprocess", "engine", "anomaly_map" and "total".
        color: channel order of the frame.
        bit_depth: of a uint16 frame.
        scale: what the colours of the overlay mean.
        roi: [h, w] uint8, 0 where the bundle's ignore mask ignores a pixel, or None: ignored pixels
            are 0 in the map and the heatmap, in no region and not in the score.
        digests: of each stage, where the Detector was asked for them.
        frame: what was scored.
    """

    score: float
    p_value: float
    is_anomalous: bool
    threshold: float
    map: NDArray[np.float32]
    timings_ms: dict[str, float]
    color: str
    scale: Scale
    roi: NDArray[np.uint8] | None = None
    digests: Digests | None = None
    bit_depth: int = 16
    _: KW_ONLY
    frame: InitVar[Any] = None  # not a field, so that asdict() leaves it out

    def __post_init__(self, frame: Any) -> None:
        host = isinstance(frame, np.ndarray)
        self._keep(frame, Fingerprint.of(frame) if host else None)
        self._found: tuple[Region, ...] | None = None

    @property
    def _size(self) -> tuple[int, ...]:
        """(height, width) of the frame."""
        height, width = self._frame.shape[:2]
        return height, width

    def __float__(self) -> float:
        return self.score

    def __bool__(self) -> bool:
        raise TypeError(
            "a Result is neither true nor false, it would be easy to reject every part: ask "
            "result.is_anomalous"
        )

    def __repr__(self) -> str:
        verdict, (height, width) = "anomalous" if self.is_anomalous else "good", self._size
        return (
            f"Result({verdict}, score={self.score:.6g}, p_value={self.p_value:.4g}, "
            f"threshold={self.threshold:.6g}, frame {height} x {width})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle has map and frame, which the process that reads it owns."""
        held = (*(getattr(self, name) for name in _FIELDS), self.frame)
        return _unpickled, held

    def __copy__(self) -> Result:
        copied: Result = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def to_dict(self) -> dict[str, Any]:
        """The verdict in plain Python types, as ``--json`` has it: neither map nor frame.

        "score", "p_value", "is_anomalous", "threshold", "regions" (in pixels of the frame, highest
        peak first), "timings_ms", and "digests" where there are some.
        """
        found: dict[str, Any] = {
            "score": float(self.score),
            "p_value": float(self.p_value),
            "is_anomalous": bool(self.is_anomalous),
            "threshold": float(self.threshold),
            "regions": [asdict(region) for region in self.regions],
            "timings_ms": {stage: float(ms) for stage, ms in self.timings_ms.items()},
        }
        return found if self.digests is None else {**found, "digests": self.digests.to_json()}

    def map_on_device(self) -> Any:
        """The map where a GPU left it, not copied, for libraries that compute there.

        Returns:
            [h, w] float32 with ``__cuda_array_interface__`` (version 3) and ``__dlpack__``, as
            ``torch.from_dlpack`` and ``cupy.from_dlpack`` take it. It is finished. Its memory is
            the borrowers' until the last array that was made of it is gone, whatever the Detector
            does; what they write there, a ``map`` that is copied later has too.

        Raises:
            InputError: the map lies in host memory, or two more frames were scored since by the
                thread that scored this one, or the Detector was closed.
            DeviceError: in a forked process.
        """
        raise InputError(
            "this map lies in host memory, as the CPU, an isolated process or tiles leave it: use "
            "result.map, a NumPy array that offers DLPack too"
        )

    def heatmap(self) -> NDArray[np.float32]:
        """The map at frame size, [H, W] float32: half-pixel bilinear, same values as the map.

        Between kept pixels only: an ignored one is 0 and draws nothing beside it down.
        """
        return at_frame_size(self.map, self.roi, self._size)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where the heatmap is above ``scale.threshold``: 8-connected areas, highest peak first.

        A map that exceeds the threshold has at least one region: where the heatmap flattens it
        away, that is the pixel of the map's peak.
        """
        if self._found is not None:
            return self._found
        import cv2

        heat = self.heatmap()
        mask, regions = (heat > self.scale.threshold).astype(np.uint8), []
        peak = float(self.map.max())
        if mask.any():
            count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            for label in range(1, count):  # 0 is the background
                x, y, width, height, area = map(int, stats[label])
                window = slice(y, y + height), slice(x, x + width)
                highest = float(heat[window][labels[window] == label].max())
                regions.append(Region(x, y, width, height, area, highest))
        elif peak > self.scale.threshold:
            at = np.unravel_index(int(self.map.argmax()), self.map.shape)
            y, x = (
                (2 * int(i) + 1) * n // (2 * m)
                for i, n, m in zip(at, heat.shape, self.map.shape, strict=True)
            )
            regions.append(Region(x, y, 1, 1, 1, peak))
        self._found = tuple(sorted(regions, key=lambda region: -region.peak))
        return self._found

    def overlay(self) -> NDArray[np.uint8]:
        """The frame under its heatmap, for people: [H, W, 3] uint8 BGR, anomalous areas outlined.

        The colours are absolute: up to a good part's typical peak the frame is left as it is, from
        there heat grows until twice the way to the threshold. What is ignored is greyed.
        """
        import cv2

        heat = self.heatmap()
        typical, threshold = self.scale.typical, self.scale.threshold
        reach = 2 * (threshold - typical) or abs(threshold) or 1.0
        level = np.clip((heat - typical) / reach, 0.0, 1.0)
        # TURBO ends in a dark red that looks like a shadow: stop at its brightest red.
        colours = cv2.applyColorMap(np.rint(225 * level).astype(np.uint8), cv2.COLORMAP_TURBO)
        alpha = 0.6 * np.minimum(2 * level, 1.0)[:, :, None]
        image = np.rint(
            (1 - alpha) * as_bgr8(self.frame, self.color, self.bit_depth) + alpha * colours
        )
        if self.roi is not None:
            grey_out(image, ignored_pixels(self.roi, self._size))
        overlay = np.ascontiguousarray(image.astype(np.uint8))
        mask = (heat > threshold).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        thickness = max(1, min(heat.shape) // 256)
        cv2.drawContours(overlay, outlines, -1, (255, 255, 255), thickness)
        return overlay


def _lazy(name: str) -> Any:
    """A property that copies the LazyArray in the attribute ``name`` when asked for."""
    return property(
        lambda self: as_array(getattr(self, name)), lambda self, v: setattr(self, name, v)
    )


class LazyResult(Result):
    """A Result whose map, and frame where that is on a device too, are copied when asked for.

    The map is the frame's, whatever is scored meanwhile; asking for it raises DeviceLostError when
    the device failed before. A frame in device memory is kept, not copied, and not looked after.
    """

    map = _lazy("_lazy_map")

    def map_on_device(self) -> Any:
        """See ``Result``."""
        held: Any = self.__dict__["_lazy_map"]
        lent = held.lent() if isinstance(held, LazyArray) else None
        return super().map_on_device() if lent is None else lent


del Result.frame  # the InitVar's default, which hides the property
_FIELDS = tuple(field.name for field in fields(Result))


def _unpickled(*held: Any) -> Result:
    return Result(**dict(zip(_FIELDS, held, strict=False)), frame=held[-1])


def at_frame_size(
    values: NDArray[np.float32], roi: NDArray[np.uint8] | None, size: tuple[int, ...]
) -> NDArray[np.float32]:
    """The heatmap of a map [h, w] and its ``roi`` at the (height, width) of a frame."""
    heat = _resized(values, size)
    if roi is not None:
        kept = ~ignored_pixels(roi, size)
        # A pixel of the frame has at least a quarter of the weight of the map's pixel it is in.
        weight = _resized(roi.astype(np.float32), size)
        heat = np.where(kept, heat / np.where(kept, weight, 1.0), np.float32(0.0))
    return heat


def _resized(values: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    import cv2

    height, width = size
    large = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32).reshape(height, width)


def ignored_pixels(roi: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a frame [H, W] whose centre lies in an ignored pixel of the map, ``roi`` 0."""
    rows, columns = (
        (2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(size, roi.shape, strict=True)
    )
    return np.asarray(roi[np.ix_(rows, columns)] == 0)


def grey_out(image: NDArray[Any], ignored: NDArray[np.bool_]) -> None:
    """Lay grey over the ignored pixels of a picture [H, W, 3], in place."""
    image[ignored] = np.rint(0.3 * image[ignored] + 0.7 * 128.0)


def as_bgr8(frame: NDArray[Any], color: str, bit_depth: int = 16) -> NDArray[np.uint8]:
    """Any frame as [H, W, 3] uint8 BGR; of ``bit_depth`` bits in uint16 the upper 8."""
    if frame.dtype == np.uint16:
        frame = np.minimum(frame >> (bit_depth - 8), 255)
    image: NDArray[np.uint8] = frame.astype(np.uint8)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return image[:, :, ::-1] if color == "rgb" else image


def describe(path: Path, result: Result) -> dict[str, Any]:
    """One element of ``frames`` in ``--json``."""
    return {"path": str(path), **result.to_dict()}
