"""How the entries of a manifest stand in JSON: read strictly, written canonically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgead.anomaly_map import MapParams
from edgead.bundle.entries import Golden, HealthLimits, OwnCalibration, Pair, Tolerance
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.json_reader import Fields
from edgead.tiling import Tiling


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
