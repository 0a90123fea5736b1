"""What a bundle says about itself: ``manifest.json``, read strictly, written canonically."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgead._cpu import MAX_NEAREST
from edgead.anomaly_map import MapParams
from edgead.bundle.entries import (
    Calibration,
    Golden,
    HealthLimits,
    Memory,
    OwnCalibration,
    Pair,
    Tolerance,
    Whitening,
    signal_checks,
)
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.json_reader import as_json, parse_json, read_json, schema
from edgead.errors import BundleError, InputError
from edgead.installation import __version__
from edgead.preprocess import PreprocessParams
from edgead.tiling import Tiling, plan_tiles

SCHEMA_VERSION = 2
"""The newest one that is read; what has no memory is written as 1, for older readers."""

MODEL_PRECISIONS = ("float32", "float16", "int8")
"""What a bundle may hold a graph in; bfloat16 is computed from the float32 one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

_SCHEMA: dict[str, Any] = {
    "schema_version": int,
    "edgead_version": str,
    "name": str,
    "method": str,
    "created": str,
    "input": {"name": str, **schema(PreprocessParams)},
    "pairs": tuple[Pair, ...],
    "memories": tuple[Memory, ...] | None,
    "whitenings": tuple[Whitening, ...] | None,
    "map": {key: kind for key, kind in schema(MapParams).items() if key != "weights"},
    "models": Mapping[str, str],
    "calibration": Calibration,
    "tolerance": Mapping[str, Tolerance],
    "golden": tuple[Golden, ...],
    "ignore": IgnoreMask | None,
    "tiling": Tiling | None,
    "health": HealthLimits | None,
    "provenance": Mapping[str, Any],
    "files": Mapping[str, str],
}
"""``manifest.json``, in the order in which it is written; "map" takes its weights from "pairs" and
"memories"."""


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``; docs/bundle.md has its JSON.

    Args:
        name, method, created: of the bundle, the training method, and the time (ISO 8601).
        preprocess: size and normalisation of the graph's input, and the bit depth of uint16 frames,
            which is not in the JSON unless it was declared.
        pairs: outputs of the graph, level by level.
        map: everything between pairs and score; its weights are those of ``pairs``, then
            ``memories``; 1 for each of the ``whitenings`` that count in it.
        models, tolerance: graph and tolerance for each precision, "float32" always among them.
        calibration: scores of held-out good images.
        golden: frames that every engine must reproduce.
        provenance: free JSON.
        files: name to SHA-256 in hex; ``write_bundle`` fills it in.
        ignore: None, and not in the JSON, when all pixels count.
        tiling: None, and not in the JSON, when frames are seen whole.
        health: None, and not in the JSON, when no good image was looked at for it.
        memories, whitenings: not in the JSON where there are none.
        input_name: of the graph's input.
        edgead_version, schema_version: of what wrote it.

    Raises:
        BundleError: values that contradict each other.
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
    memories: tuple[Memory, ...] = ()
    whitenings: tuple[Whitening, ...] = ()
    input_name: str = "image"
    edgead_version: str = __version__
    schema_version: int = 1

    def __post_init__(self) -> None:
        _check(self)

    def model_of(self, precision: str) -> str:
        """Name of the graph that is computed in a precision: of bfloat16, the float32 one.

        Args:
            precision: "float32", "float16", "bfloat16" or "int8".

        Raises:
            BundleError: the bundle has none.
        """
        name = self.models.get("float32" if precision == "bfloat16" else precision)
        if name is None:
            raise BundleError(
                f"bundle {self.name} has no graph in {precision}, only in "
                f"{', '.join(sorted(self.models))}: ask for one of these, or export with "
                f"{precision}"
            )
        return name

    def tolerance_of(self, precision: str) -> Tolerance:
        """What qualifies an engine that computes in a precision.

        bfloat16 is held to what was measured for float16, the reduced precision that the bundle
        knows: beyond it, verdicts differ, whatever the format allows.

        Args:
            precision: as for ``model_of``.

        Raises:
            BundleError: the bundle states none.
        """
        tolerance = self.tolerance.get("float16" if precision == "bfloat16" else precision)
        if tolerance is None:
            raise BundleError(
                f"bundle {self.name} states no tolerance for {precision}, only for "
                f"{', '.join(sorted(self.tolerance))}: ask for one of these, or export it again"
            )
        return tolerance

    def calibration_of(self, precision: str) -> OwnCalibration:
        """What scores in a precision are judged by: its own calibration, or that of float32.

        float32 and float16 have one tie tolerance, so the same limits: a part has one verdict on
        the CPU and on a GPU. A precision that differs further has its own tolerance in its place.

        Args:
            precision: as for ``model_of``.

        Raises:
            BundleError: as ``tolerance_of``.
        """
        held, tolerance = self.calibration, self.tolerance_of(precision)
        if precision in held.own:
            return held.own[precision]
        shared = held.ties if precision in ("float32", "float16") else None
        return OwnCalibration(held.scores, held.peaks, shared or tolerance)

    def preprocess_params(self) -> PreprocessParams:
        """Size and normalisation of the graph's input."""
        return self.preprocess

    def declared(self, bit_depth: int | None) -> Manifest:
        """The same for uint16 frames of another bit depth; None changes nothing.

        Args:
            bit_depth: 9 to 16.

        Raises:
            InputError: another number.
        """
        params = self.preprocess.declared(bit_depth)
        return self if params == self.preprocess else replace(self, preprocess=params)

    def map_params(self) -> MapParams:
        """Everything between feature pairs and the score."""
        return self.map

    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of each pair's features; distances to a memory have one."""
        pairs = tuple((pair.channels, *pair.size) for pair in self.pairs)
        return pairs + tuple((1, *signal.size) for signal in self.signals() if signal.places)

    def signals(self) -> tuple[Memory | Whitening, ...]:
        """What features of a frame are compared with: memories, then whitenings."""
        return (*self.memories, *self.whitenings)

    def scored_size(self) -> tuple[int, int] | None:
        """(height, width) of the distances whose sum the score is pooled from; None: of the map."""
        return next((signal.size for signal in self.signals() if signal.scored), None)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name to shape of a graph's input, which comes first, and its outputs, for one image."""
        found: dict[str, tuple[int, ...]] = {
            self.input_name: (1, 3, *self.preprocess_params().size)
        }
        for pair in self.pairs:
            found[pair.reference] = found[pair.restored] = (1, pair.channels, *pair.size)
        for signal in self.signals():
            found[signal.features] = (1, signal.channels, *signal.size)
        return found

    def map_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the map of a frame: of its tiles together, where it is tiled.

        Args:
            frame_size: (height, width) in pixels.

        Raises:
            InputError: a frame that is smaller than a tile.
        """
        if self.tiling is None:
            return self.map.size
        return plan_tiles(self.tiling, frame_size, self.map.size).map_size

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values; ``from_json`` gives an equal one back."""
        apart = {
            "input": {"name": self.input_name, **as_json(self.preprocess)},
            "map": {key: as_json(getattr(self.map, key)) for key in _SCHEMA["map"]},
            "memories": as_json(self.memories) or None,
            "whitenings": as_json(self.whitenings) or None,
            "provenance": dict(self.provenance),
            "files": dict(sorted(self.files.items())),
        }
        values = {k: apart[k] if k in apart else as_json(getattr(self, k)) for k in _SCHEMA}
        return {key: value for key, value in values.items() if value is not None}

    def dumps(self) -> bytes:
        """The bytes of ``manifest.json``."""
        try:
            text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BundleError(f"the manifest cannot be written as JSON: {error}") from error
        # A name that is not UTF-8 has halves of characters, which this writes as JSON escapes them.
        return (text + "\n").encode("utf-8", "backslashreplace")

    @classmethod
    def loads(cls, data: bytes) -> Manifest:
        """Read the bytes of ``manifest.json``.

        Args:
            data: content of the file.

        Raises:
            BundleError: as ``from_json``, and for JSON that is truncated or repeats a key.
        """
        try:
            value = parse_json(data)
        except ValueError as error:
            raise BundleError(
                f"manifest.json is truncated or damaged ({error}); copy the bundle again"
            ) from error
        return cls.from_json(value)

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Read a manifest from JSON values, strictly.

        Args:
            value: what ``json.loads`` gives.

        Raises:
            BundleError: a missing, unknown or mistyped key, by name; a schema that is newer than
                this edgead.
        """
        version = value.get("schema_version", 1) if isinstance(value, dict) else 1
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise BundleError(
                f"the bundle has schema version {version}; this edgead reads up to "
                f"{SCHEMA_VERSION}: upgrade edgead, or export the bundle with this version"
            )
        try:
            found = read_json(_SCHEMA, value, "manifest")
            if found["schema_version"] < 1:
                raise BundleError(
                    f"manifest.schema_version is {version}, and schemas count from 1: "
                    "manifest.json was changed; copy the bundle again"
                )
            found["memories"] = found.get("memories", ())
            found["whitenings"] = found.get("whitenings", ())
            image, compared = found.pop("input"), (*found["pairs"], *found["memories"])
            if not compared:
                raise BundleError("manifest.pairs: none; expected at least one, or a memory")
            weights = tuple(one.weight for one in compared)
            weights += tuple(1.0 for one in found["whitenings"] if one.places)
            found["map"] = MapParams(weights=weights, **found["map"])
            name = image.pop("name")
            return cls(**found, input_name=name, preprocess=PreprocessParams(**image))
        except InputError as error:  # a parameter that preprocess or anomaly_map refuses
            raise BundleError(f"manifest.json: {error}") from error


def _check(manifest: Manifest) -> None:
    """Raise BundleError for a manifest whose parts contradict each other."""
    models = set(manifest.models)
    names = [name for pair in manifest.pairs for name in (pair.reference, pair.restored)]
    names += sorted({signal.features for signal in manifest.signals()})
    weights = tuple(pair.weight for pair in manifest.pairs)
    weights += tuple(memory.weight for memory in manifest.memories)
    weights += tuple(1.0 for whitening in manifest.whitenings if whitening.places)
    digests = manifest.files.values()
    for sentence, fits in (
        ("pairs: an output is named twice", len(set(names)) == len(names)),
        *signal_checks(
            manifest.memories,
            manifest.whitenings,
            manifest.schema_version,
            manifest.map.distance,
            MAX_NEAREST,
        ),
        ("pairs: sizes must be positive", all(min(shape) > 0 for shape in manifest.shapes())),
        ("map.weights and the weights of pairs differ", tuple(manifest.map.weights) == weights),
        ('models: "float32" is missing', "float32" in models),
        (f"models: expected only {MODEL_PRECISIONS}", models <= set(MODEL_PRECISIONS)),
        ("tolerance: expected one per model", models == set(manifest.tolerance)),
        (
            "tiling: expected a map of at least 2 x 2 pixels",
            manifest.tiling is None or min(manifest.map.size) >= 2,
        ),
        ("golden: no golden frame, so no engine can be qualified", manifest.golden),
        *_of_calibration(manifest),
        ("health.images: expected at least 1", not manifest.health or manifest.health.images >= 1),
        ("files: a digest is not a SHA-256 in hex", all(map(_SHA256.fullmatch, digests))),
    ):
        if not fits:
            raise BundleError(f"manifest: {sentence}")


def _of_calibration(manifest: Manifest) -> tuple[tuple[str, bool], ...]:
    """What must hold for calibrations and tolerances: a sentence, and whether it does."""
    calibration = manifest.calibration
    own, n = calibration.own, len(calibration.scores)
    every: tuple[Calibration | OwnCalibration, ...] = (calibration, *own.values())
    ties = [each.ties for each in every if each.ties]
    tolerances = [
        value for t in (*manifest.tolerance.values(), *ties) for value in (t.score, t.map)
    ]
    scores = [v for each in every for v in (*each.scores, *each.peaks)]
    return (
        ("calibration.scores: none", n > 0),
        ("calibration: scores and peaks differ in number", len(calibration.peaks) == n),
        (
            "calibration.own: expected as many scores and peaks as in float32",
            all(len(each.scores) == len(each.peaks) == n for each in own.values()),
        ),
        ("calibration.own: of a precision without a model", set(own) <= set(manifest.models)),
        (
            "calibration or tolerance: a value is not finite",
            all(map(math.isfinite, (*scores, *tolerances))),
        ),
        ("tolerance or ties: negative", min(tolerances, default=0) >= 0),
        (
            "calibration.false_reject_rate: expected a number between 0 and 1",
            0 < calibration.false_reject_rate < 1,
        ),
    )
