"""What a bundle says about itself: ``manifest.json``, read strictly, written canonically."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgead.anomaly_map import MapParams
from edgead.bundle.entries import (
    Calibration,
    Golden,
    HealthLimits,
    OwnCalibration,
    Pair,
    Tolerance,
)
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.json_reader import Fields
from edgead.bundle.manifest_json import (
    ignore_json,
    own_json,
    read_golden,
    read_health,
    read_ignore,
    read_map,
    read_own,
    read_pair,
    read_ties,
    read_tiling,
    read_tolerance,
    ties_json,
    tiling_json,
)
from edgead.errors import BundleError, EdgeadError
from edgead.installation import __version__
from edgead.preprocess import PreprocessParams
from edgead.tiling import Tiling, plan_tiles

SCHEMA_VERSION = 1

MODEL_PRECISIONS = ("float32", "float16", "int8")
"""What a bundle may hold a graph in; bfloat16 is computed from the float32 one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

_MAP_KEYS = ("size", "distance", "fusion", "align_corners", "blur_sigma", "pooling", "top_k")


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``. ``files`` (name -> SHA-256 in hex) is filled in by ``write_bundle``.

    ``map.weights`` are the weights of ``pairs``; ``models`` and ``tolerance`` have one entry per
    precision, "float32" always among them. ``provenance`` is free JSON. ``ignore`` is None, and not
    in the JSON, when all pixels count; likewise ``tiling`` when frames are seen whole, and
    ``health`` when no good image was looked at for it.

    Errors: BundleError for values that contradict each other.
    """

    name: str
    method: str
    created: str
    preprocess: PreprocessParams
    pairs: tuple[Pair, ...]
    map: MapParams
    models: Mapping[str, str]
    calibration: Calibration
    tolerance: Mapping[str, Tolerance]
    golden: tuple[Golden, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    ignore: IgnoreMask | None = None
    tiling: Tiling | None = None
    health: HealthLimits | None = None
    input_name: str = "image"
    edgead_version: str = __version__
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check(self)

    def model_of(self, precision: str) -> str:
        """The graph that is computed in ``precision``: of bfloat16, the float32 one.

        Errors: BundleError when the bundle has none.
        """
        name = self.models.get("float32" if precision == "bfloat16" else precision)
        if name is None:
            raise BundleError(
                f"bundle {self.name} has no graph in {precision}, only in "
                f"{', '.join(self.models)}: ask for one of these, or export with {precision}"
            )
        return name

    def tolerance_of(self, precision: str) -> Tolerance:
        """What qualifies an engine that computes in ``precision``.

        bfloat16 is held to what was measured for float16, the reduced precision that the bundle
        knows: whoever departs further gives other verdicts, whatever its format allows.

        Errors: BundleError when the bundle states none.
        """
        tolerance = self.tolerance.get("float16" if precision == "bfloat16" else precision)
        if tolerance is None:
            raise BundleError(
                f"bundle {self.name} states no tolerance for {precision}, only for "
                f"{', '.join(self.tolerance)}: ask for one of these, or export it again"
            )
        return tolerance

    def calibration_of(self, precision: str) -> OwnCalibration:
        """What scores in ``precision`` are judged by: its own calibration, or that of float32.

        float32 and float16 have the same ties, so the same limits: a part has one verdict on the
        CPU and on a GPU. What departs further has its tolerance as ties.
        Errors: as ``tolerance_of``.
        """
        held, tolerance = self.calibration, self.tolerance_of(precision)
        if precision in held.own:
            return held.own[precision]
        shared = held.ties if precision in ("float32", "float16") else None
        return OwnCalibration(held.scores, held.peaks, shared or tolerance)

    def preprocess_params(self) -> PreprocessParams:
        """Size and normalisation of the graph's input."""
        return self.preprocess

    def map_params(self) -> MapParams:
        """Everything between feature pairs and the score."""
        return self.map

    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of each pair's features."""
        return tuple((pair.channels, *pair.size) for pair in self.pairs)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name to shape of a graph's input, which comes first, and its outputs, for one image."""
        found: dict[str, tuple[int, ...]] = {
            self.input_name: (1, 3, *self.preprocess_params().size)
        }
        for pair in self.pairs:
            found[pair.reference] = found[pair.restored] = (1, pair.channels, *pair.size)
        return found

    def map_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the map of a frame [H, W]: of its tiles together, where it is tiled.

        Errors: InputError for a frame that is smaller than a tile.
        """
        if self.tiling is None:
            return self.map.size
        return plan_tiles(self.tiling, frame_size, self.map.size).map_size

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values; ``from_json`` gives an equal one back."""
        return {
            "schema_version": self.schema_version,
            "edgead_version": self.edgead_version,
            "name": self.name,
            "method": self.method,
            "created": self.created,
            "input": {
                "name": self.input_name,
                "size": list(self.preprocess.size),
                "mean": list(self.preprocess.mean),
                "std": list(self.preprocess.std),
            },
            "pairs": [{**asdict(pair), "size": list(pair.size)} for pair in self.pairs],
            "map": {**{k: getattr(self.map, k) for k in _MAP_KEYS}, "size": list(self.map.size)},
            "models": dict(self.models),
            "calibration": {
                "scores": list(self.calibration.scores),
                "peaks": list(self.calibration.peaks),
                "false_reject_rate": self.calibration.false_reject_rate,
                **ties_json(self.calibration.ties),
                **own_json(self.calibration.own),
            },
            "tolerance": {name: asdict(value) for name, value in self.tolerance.items()},
            "golden": [asdict(frame) for frame in self.golden],
            **({} if self.ignore is None else {"ignore": ignore_json(self.ignore)}),
            **({} if self.tiling is None else {"tiling": tiling_json(self.tiling)}),
            **({} if self.health is None else {"health": asdict(self.health)}),
            "provenance": dict(self.provenance),
            "files": dict(sorted(self.files.items())),
        }

    def dumps(self) -> bytes:
        """The bytes of ``manifest.json``."""
        try:
            text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BundleError(f"the manifest cannot be written as JSON: {error}") from error
        return (text + "\n").encode()

    @classmethod
    def loads(cls, data: bytes) -> Manifest:
        """Read the bytes of ``manifest.json``.

        Errors: BundleError, also for JSON that is truncated or repeats a key.
        """
        try:
            value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"manifest.json is truncated or damaged ({error}); copy the bundle again"
            ) from error
        return cls.from_json(value)

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Read a manifest from JSON values, strictly.

        Errors: BundleError that names the missing, unknown or mistyped key, or says that the
        schema is newer than this edgead or none at all.
        """
        root = Fields(value, "manifest")
        version = root.integer("schema_version")
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"the bundle has schema version {version}; this edgead reads up to "
                f"{SCHEMA_VERSION}: upgrade edgead, or export the bundle with this version"
            )
        if version < 1:
            raise BundleError(
                f"manifest.schema_version is {version}, and schemas count from 1: manifest.json "
                "was changed; copy the bundle again"
            )
        try:
            manifest = _read(cls, root, version)
        except BundleError:
            raise
        except EdgeadError as error:  # a parameter that preprocess or anomaly_map refuses
            raise BundleError(f"manifest.json: {error}") from error
        root.done()
        return manifest


def _read(cls: type[Manifest], root: Fields, version: int) -> Manifest:
    image = root.child("input")
    pairs = tuple(read_pair(fields) for fields in root.children("pairs"))
    if not pairs:
        raise BundleError("manifest.pairs: none; expected at least one")
    map_fields = root.child("map")
    calibration = root.child("calibration")
    golden = tuple(read_golden(fields) for fields in root.children("golden"))
    manifest = cls(
        schema_version=version,
        edgead_version=root.text("edgead_version"),
        name=root.text("name"),
        method=root.text("method"),
        created=root.text("created"),
        input_name=image.text("name"),
        preprocess=PreprocessParams(
            size=image.size("size"), mean=image.triple("mean"), std=image.triple("std")
        ),
        pairs=pairs,
        map=read_map(map_fields, tuple(pair.weight for pair in pairs)),
        models=root.texts("models"),
        calibration=Calibration(
            scores=calibration.numbers("scores"),
            peaks=calibration.numbers("peaks"),
            false_reject_rate=calibration.number("false_reject_rate"),
            ties=read_ties(calibration),
            own=read_own(calibration),
        ),
        tolerance={name: read_tolerance(f) for name, f in root.named_children("tolerance").items()},
        golden=golden,
        ignore=read_ignore(root.child("ignore")) if root.has("ignore") else None,
        tiling=read_tiling(root.child("tiling")) if root.has("tiling") else None,
        health=read_health(root.child("health")) if root.has("health") else None,
        provenance=root.mapping("provenance"),
        files=root.texts("files"),
    )
    for fields in (image, map_fields, calibration):
        fields.done()
    return manifest


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in items]
    if len(set(keys)) != len(keys):
        raise ValueError("a key appears twice")
    return dict(items)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number")


def _check(manifest: Manifest) -> None:
    """Raise BundleError for a manifest whose parts contradict each other."""
    calibration = manifest.calibration
    names = [name for pair in manifest.pairs for name in (pair.reference, pair.restored)]
    numbers = [*calibration.scores, *calibration.peaks]
    own = calibration.own
    tolerances = [*manifest.tolerance.values(), *(one.ties for one in own.values())]
    tolerances += [calibration.ties] if calibration.ties else []
    numbers += [value for t in tolerances for value in (t.score, t.map)]
    numbers += [value for one in own.values() for value in (*one.scores, *one.peaks)]
    for wrong, sentence in (
        (len(set(names)) != len(names), "pairs: an output is named twice"),
        (
            any(n <= 0 for shape in manifest.shapes() for n in shape),
            "pairs: sizes must be positive",
        ),
        (
            tuple(manifest.map.weights) != tuple(pair.weight for pair in manifest.pairs),
            "map.weights and the weights of pairs differ",
        ),
        ("float32" not in manifest.models, 'models: "float32" is missing'),
        (
            bool(set(manifest.models) - set(MODEL_PRECISIONS)),
            f"models: expected only {MODEL_PRECISIONS}",
        ),
        (set(manifest.models) != set(manifest.tolerance), "tolerance: expected one per model"),
        (
            manifest.tiling is not None and min(manifest.map.size) < 2,
            "tiling: expected a map of at least 2 x 2 pixels",
        ),
        (not manifest.golden, "golden: no golden frame, so no engine can be qualified"),
        (not calibration.scores, "calibration.scores: none"),
        (
            len(calibration.scores) != len(calibration.peaks),
            "calibration: scores and peaks differ in number",
        ),
        (
            any({len(o.scores), len(o.peaks)} != {len(calibration.scores)} for o in own.values()),
            "calibration.own: expected as many scores and peaks as in float32",
        ),
        (bool(set(own) - set(manifest.models)), "calibration.own: of a precision without a model"),
        (not all(map(math.isfinite, numbers)), "calibration or tolerance: a value is not finite"),
        (any(t.score < 0 or t.map < 0 for t in tolerances), "tolerance or ties: negative"),
        (
            not 0 < calibration.false_reject_rate < 1,
            "calibration.false_reject_rate: expected a number between 0 and 1",
        ),
        (
            manifest.health is not None and manifest.health.images < 1,
            "health.images: expected at least 1",
        ),
        (
            not all(_SHA256.fullmatch(digest) for digest in manifest.files.values()),
            "files: a digest is not a SHA-256 in hex",
        ),
    ):
        if wrong:
            raise BundleError(f"manifest: {sentence}")
