"""Frames of every kind, and everything that C and Python say of one, or of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.errors import BundleError

COLOURS = {"BGR": "bgr", "RGB": "rgb", "BGRX": "bgr", "RGBX": "rgb", "BGR16": "bgr", "RGB16": "rgb"}


def array_of(rng: np.random.Generator, kind: str, size: tuple[int, int], bits: int) -> np.ndarray:
    """A frame of noise around a grey, in rows of any distance and direction."""
    wide = kind.endswith("16")
    samples = {"GRAY8": 1, "GRAY16": 1, "BGRX": 4, "RGBX": 4}.get(kind, 3)
    height, width = size
    spare = int(rng.integers(0, 9)) * (2 if wide else 1)
    step = width * samples * (2 if wide else 1) + spare
    memory = rng.integers(0, 256, (height, step), dtype=np.uint8)
    rows = memory[:, : step - spare].view(np.uint16 if wide else np.uint8)
    if wide:
        rows &= np.uint16((1 << bits) - 1)
    frame = rows.reshape(height, width) if samples == 1 else None
    if frame is None:
        shape, item = (height, width, samples), rows.itemsize
        frame = np.lib.stride_tricks.as_strided(rows, shape, (step, samples * item, item))
    return frame[::-1] if rng.integers(2) else frame


def same(session: Any, detector: Detector, array: np.ndarray, kind: str, bits: int) -> None:
    """Everything that both say of a frame."""
    seen = array[:, :, :3] if array.ndim == 3 else array
    verdict, result = session.score(array, kind, bits), detector.score(seen)
    assert (verdict.score, verdict.p_value) == (result.score, result.p_value)
    assert (bool(verdict.is_anomalous), verdict.threshold) == (
        result.is_anomalous,
        result.threshold,
    )
    assert session.map_size() == result.map.shape
    assert np.array_equal(session.rows("map", result.map.shape), result.map)
    heat = session.rows("heatmap", array.shape[:2])
    # Two blends of four values, at most 4 roundings of each, whatever their order, at coordinates
    # that are rounded too: up to a side, times how steep the map is.
    steep = max(float(np.abs(np.diff(result.map, axis=axis)).max()) for axis in (0, 1))
    most = 8 * float(result.map.max()) + 2 * max(result.map.shape) * steep
    atol = float(np.finfo(np.float32).eps) * most
    scale = 4.0 if result.roi is not None else 1.0  # divided by a weight of a quarter at least
    np.testing.assert_allclose(heat, result.heatmap(), rtol=0, atol=scale * atol)


def said_by_python(path: Path) -> str | None:
    try:
        open_bundle(path)
    except BundleError as error:
        return str(error)
    return None
