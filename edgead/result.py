"""What a Detector says about a frame."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.engine.digests import Digests
from edgead.engine.lazy_array import LazyArray, as_array


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


@dataclass(slots=True, eq=False, repr=False)
class Result:
    """Score, verdict and map of one frame. ``float(result)`` is the score.

    The rest is computed when asked for. The frame is kept, not copied, for ``overlay``: ask for it
    before the camera writes into the same memory again.

    Args:
        score: raw and unbounded; higher is more anomalous.
        p_value: share of normal frames that score at least as high, in [1 / (n + 1), 1] with n
            calibration images.
        is_anomalous: ``p_value <= false_reject_rate`` at the moment of scoring, which is
            ``score > threshold``.
        threshold: as of that moment.
        map: [h, w] float32 at model resolution, memory of its own.
        timings_ms: "preprocess", "engine", "anomaly_map" and "total".
        frame, color: what was scored, and its channel order.
        bit_depth: of a uint16 frame.
        scale: what the colours of the overlay mean.
        roi: [h, w] uint8, 0 where the bundle's ignore mask ignores a pixel, or None: ignored pixels
            are 0 in the map and the heatmap, in no region and not in the score.
        digests: of each stage, where the Detector was asked for them.
    """

    score: float
    p_value: float
    is_anomalous: bool
    threshold: float
    map: NDArray[np.float32]
    timings_ms: dict[str, float]
    frame: NDArray[Any]
    color: str
    scale: Scale
    roi: NDArray[np.uint8] | None = None
    digests: Digests | None = None
    bit_depth: int = 16
    _regions: tuple[Region, ...] | None = field(default=None, init=False)

    @property
    def _size(self) -> tuple[int, ...]:
        """(height, width) of the frame."""
        return self.frame.shape[:2]

    def __float__(self) -> float:
        return self.score

    def __repr__(self) -> str:
        verdict, (height, width) = "anomalous" if self.is_anomalous else "good", self._size
        return (
            f"Result({verdict}, score={self.score:.6g}, p_value={self.p_value:.4g}, "
            f"threshold={self.threshold:.6g}, frame {height} x {width})"
        )

    def heatmap(self) -> NDArray[np.float32]:
        """The map at frame size, [H, W] float32: half-pixel bilinear, same values as the map.

        Between kept pixels only: an ignored one is 0 and draws nothing beside it down.
        """
        heat = self._at_frame_size(self.map)
        if self.roi is not None:
            kept = ~ignored_pixels(self.roi, self._size)
            # A pixel of the frame has at least a quarter of the weight of the map's pixel it is in.
            weight = self._at_frame_size(self.roi.astype(np.float32))
            heat = np.where(kept, heat / np.where(kept, weight, 1.0), np.float32(0.0))
        return heat

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where the heatmap is above ``scale.threshold``: 8-connected areas, highest peak first.

        A map that exceeds the threshold has at least one region: where the heatmap flattens it
        away, that is the pixel of the map's peak.
        """
        if self._regions is not None:
            return self._regions
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
        self._regions = tuple(sorted(regions, key=lambda region: -region.peak))
        return self._regions

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

    def _at_frame_size(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        import cv2

        height, width = self._size
        large = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(large, np.float32).reshape(height, width)


def _lazy(name: str) -> Any:
    """A property that copies the LazyArray in the attribute ``name`` when asked for."""
    return property(
        lambda self: as_array(getattr(self, name)), lambda self, v: setattr(self, name, v)
    )


class LazyResult(Result):
    """A Result whose map, and frame where that is on a device too, are copied when asked for.

    The map is the frame's, whatever is scored meanwhile; asking for it raises DeviceLostError when
    the device failed before. A frame in device memory is kept, not copied, as in host memory.
    """

    _lazy_frame: LazyArray

    __slots__ = ("_lazy_frame", "_lazy_map")

    map = _lazy("_lazy_map")
    frame = _lazy("_lazy_frame")

    @property
    def _size(self) -> tuple[int, ...]:
        return self._lazy_frame.shape[:2]


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
    """One element of ``frames`` in ``--json``. Regions in pixels of the frame."""
    frame = {
        "path": str(path),
        **{key: getattr(result, key) for key in ("score", "p_value", "is_anomalous")},
        "regions": [asdict(region) for region in result.regions],
        "timings_ms": dict(result.timings_ms),
    }
    return frame if result.digests is None else {**frame, "digests": result.digests.to_json()}
