"""The parts of a manifest: what each holds, and how it stands in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgead.anomaly_map import MapParams
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.json_reader import Fields
from edgead.calibration import threshold
from edgead.tiling import Tiling


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
class Golden:
    """A frame in the bundle with the map and score that every engine must reproduce.

    ``image`` a PNG at frame size (BGR or grey), ``map`` a float32 [h, w] ``.npy``.
    """

    image: str
    map: str
    score: float


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

    def limit(self, rate: float) -> float:
        """The threshold of the score at a false-reject ``rate``, as ``calibration.threshold``."""
        return threshold(self.scores, rate, self.ties.score)


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out good images by the embedded engine, and the peak of each one's map.

    That is in float32. ``ties``: how far an engine in float32 or float16 may be from another of
    them (absolute), measured at export; None: the tolerance of its precision. ``own``: of the same
    images in a precision that moves scores too far.
    """

    scores: tuple[float, ...]
    peaks: tuple[float, ...]
    false_reject_rate: float
    ties: Tolerance | None = None
    own: Mapping[str, OwnCalibration] = field(default_factory=dict)


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


def read_pair(fields: Fields) -> Pair:
    pair = Pair(
        reference=fields.text("reference"),
        restored=fields.text("restored"),
        channels=fields.integer("channels"),
        size=fields.size("size"),
        weight=fields.number("weight"),
    )
    fields.done()
    return pair


def read_golden(fields: Fields) -> Golden:
    frame = Golden(fields.text("image"), fields.text("map"), fields.number("score"))
    fields.done()
    return frame


def read_tolerance(fields: Fields) -> Tolerance:
    tolerance = Tolerance(fields.number("score"), fields.number("map"))
    fields.done()
    return tolerance


def read_ties(calibration: Fields) -> Tolerance | None:
    return read_tolerance(calibration.child("ties")) if calibration.has("ties") else None


def ties_json(ties: Tolerance | None) -> dict[str, Any]:
    return {} if ties is None else {"ties": asdict(ties)}


def read_own(calibration: Fields) -> dict[str, OwnCalibration]:
    if not calibration.has("own"):
        return {}
    found = {}
    for name, fields in calibration.named_children("own").items():
        ties = read_tolerance(fields.child("ties"))
        found[name] = OwnCalibration(fields.numbers("scores"), fields.numbers("peaks"), ties)
        fields.done()
    return found


def own_json(own: Mapping[str, OwnCalibration]) -> dict[str, Any]:
    if not own:
        return {}
    return {
        "own": {
            name: {"scores": list(o.scores), "peaks": list(o.peaks), "ties": asdict(o.ties)}
            for name, o in own.items()
        }
    }


def read_health(fields: Fields) -> HealthLimits:
    limits = HealthLimits(
        reference=fields.text("reference"),
        images=fields.integer("images"),
        brightness=fields.number("brightness"),
        saturated=fields.number("saturated"),
        sharpness=fields.number("sharpness"),
        shift=fields.number("shift"),
    )
    fields.done()
    return limits


def read_ignore(fields: Fields) -> IgnoreMask:
    mask = IgnoreMask(
        frame_size=fields.size("frame_size"),
        polygons=fields.polygons("polygons"),
        image=fields.text("image") if fields.has("image") else None,
    )
    fields.done()
    return mask


def ignore_json(mask: IgnoreMask) -> dict[str, Any]:
    value: dict[str, Any] = {"frame_size": list(mask.frame_size)}
    value["polygons"] = [[list(corner) for corner in polygon] for polygon in mask.polygons]
    return value if mask.image is None else {**value, "image": mask.image}


def read_tiling(fields: Fields) -> Tiling:
    tiling = Tiling(fields.size("size"), fields.integer("overlap"))
    fields.done()
    return tiling


def tiling_json(tiling: Tiling) -> dict[str, Any]:
    return {"size": list(tiling.size), "overlap": tiling.overlap}


def read_map(fields: Fields, weights: tuple[float, ...]) -> MapParams:
    return MapParams(
        size=fields.size("size"),
        distance=fields.text("distance"),
        weights=weights,
        fusion=fields.text("fusion"),
        align_corners=fields.boolean("align_corners"),
        blur_sigma=fields.number("blur_sigma"),
        pooling=fields.text("pooling"),
        top_k=fields.number("top_k"),
    )
