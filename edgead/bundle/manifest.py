"""What a bundle says about itself: ``manifest.json``, read strictly, written canonically.

What must hold for it and what follows from it is said by ``csrc/bundle``, which the C library
shares; dataclasses are built here of what passed there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from edgead import _cpu
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
)
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.json_reader import as_json, read_json, schema
from edgead.calibration import threshold
from edgead.errors import BundleError, InputError
from edgead.installation import __version__
from edgead.preprocess import PreprocessParams
from edgead.tiling import Tiling, plan_tiles

SCHEMA_VERSION: int = _cpu.SCHEMA_VERSION
"""The newest one that is read; what has no memory is written as 1, for older readers."""

MODEL_PRECISIONS: tuple[str, ...] = _cpu.MODEL_PRECISIONS
"""What a bundle may hold a graph in; bfloat16 is computed from the float32 one."""

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
    "own_levels": tuple[float, float] | None,
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
        own_levels: the lowest and the highest own level of good frames, the mean over positions
            of the root of what the map is told, between which distances of others are raised to
            the highest; None, and not in the JSON: they stay as they are.
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
    own_levels: tuple[float, float] | None = None
    input_name: str = "image"
    edgead_version: str = __version__
    schema_version: int = 1

    def __post_init__(self) -> None:
        if self.map.weights != self.core.weights():
            raise BundleError("manifest: map.weights and the weights of pairs differ")

    @cached_property
    def core(self) -> _cpu.Manifest:
        """The same in ``csrc/bundle``, without what is free.

        Raises:
            BundleError: values that contradict each other.
        """
        return _cpu.Manifest(_as_text({**self.to_json(), "provenance": {}}).encode())

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "core"}

    def model_of(self, precision: str) -> str:
        """Name of the graph that is computed in a precision: of bfloat16, the float32 one.

        Args:
            precision: "float32", "float16", "bfloat16" or "int8".

        Raises:
            BundleError: the bundle has none.
        """
        return self.core.model_of(precision)

    def tolerance_of(self, precision: str) -> Tolerance:
        """What qualifies an engine that computes in a precision.

        bfloat16 is held to what was measured for float16, the reduced precision that the bundle
        knows: beyond it, verdicts differ, whatever the format allows.

        Args:
            precision: as for ``model_of``.

        Raises:
            BundleError: the bundle states none.
        """
        return Tolerance(*self.core.tolerance_of(precision))

    def calibration_of(self, precision: str) -> OwnCalibration:
        """What scores in a precision are judged by: its own calibration, or that of float32.

        float32 and float16 have one tie tolerance, so the same limits: a part has one verdict on
        the CPU and on a GPU. A precision that differs further has its own tolerance in its place.

        Args:
            precision: as for ``model_of``.

        Raises:
            BundleError: as ``tolerance_of``.
        """
        scores, peaks, ties = self.core.calibration_of(precision)
        return OwnCalibration(scores, peaks, Tolerance(*ties))

    def limit(self, precision: str, rate: float) -> float:
        """The score above which a frame is anomalous at a false-reject ``rate``.

        Args:
            precision: as for ``model_of``.
            rate: one that the calibration can promise.

        Raises:
            BundleError: as ``tolerance_of``.
            CalibrationError: as ``calibration.threshold``.
        """
        held = self.calibration_of(precision)
        return threshold(held.scores, rate, held.ties.score, self.calibration.parts)

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
        return self.core.shapes()

    def signals(self) -> tuple[Memory | Whitening, ...]:
        """What features of a frame are compared with: memories, then whitenings."""
        return (*self.memories, *self.whitenings)

    def scored_size(self) -> tuple[int, int] | None:
        """(height, width) of the distances whose sum the score is pooled from; None: of the map."""
        return self.core.scored_size()

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name to shape of a graph's input, which comes first, and its outputs, for one image."""
        return self.core.tensors()

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
        text = _as_text(self.to_json(), indent=2, ensure_ascii=False)
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
        core = _cpu.Manifest(data)
        try:
            found = read_json(_SCHEMA, json.loads(data), "manifest")
            found["memories"] = found.get("memories", ())
            found["whitenings"] = found.get("whitenings", ())
            found["map"] = MapParams(weights=core.weights(), **found["map"])
            image = found.pop("input")
            name = image.pop("name")
            return cls(**found, input_name=name, preprocess=PreprocessParams(**image))
        except (InputError, ValueError) as error:  # what Python alone does not take
            raise BundleError(f"manifest.json: {error}") from error

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Read a manifest from JSON values, strictly.

        Args:
            value: what ``json.loads`` gives.

        Raises:
            BundleError: a missing, unknown or mistyped key, by name; a schema that is newer than
                this edgead; values that contradict each other.
        """
        return cls.loads(_as_text(value).encode())


def _as_text(value: object, **options: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, **options)
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest cannot be written as JSON: {error}") from error
