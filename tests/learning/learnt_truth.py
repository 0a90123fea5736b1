"""What a learnt bundle computes, in float64, from the graph's features by another runtime."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import onnxruntime

from edgead import reference
from edgead.bundle.storage import Bundle


def array_in(bundle: Bundle, name: str) -> np.ndarray:
    return np.load(io.BytesIO(bundle.read(name)), allow_pickle=False)


def features_of(bundle: Bundle, frame: np.ndarray) -> np.ndarray:
    """[1, C, H, W] float64."""
    image = reference.preprocess(frame, bundle.manifest.preprocess).astype(np.float32)
    session = onnxruntime.InferenceSession(bundle.read("model.onnx"))
    (features,) = session.run(["features"], {"image": image[None]})
    return features.astype(np.float64)


def truth(bundle: Bundle, frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Map and score."""
    manifest, features = bundle.manifest, features_of(bundle, frame)
    distances = []
    for entry in manifest.memories:
        shares = 1.0 if entry.shares is None else array_in(bundle, entry.shares).astype(float)
        memory = array_in(bundle, entry.file).astype(np.float64)
        far = reference.nearest(features * shares, memory)[0] / entry.channels
        distances.append(far)
    distances += [whitened(bundle, entry, features[0]) for entry in manifest.whitenings]
    shown, scored = (
        [None if name is None else array_in(bundle, name) for name in names]
        for names in zip(*((one.places, one.scored) for one in manifest.signals()), strict=True)
    )
    counted, total = reference.signals(distances, shown, scored, manifest.own_levels)
    pairs = [(far[None, None], 0 * far[None, None]) for far in counted]
    maps, scores = reference.anomaly_map(pairs, manifest.map)
    if manifest.scored_size() is not None:
        alone = replace(manifest.map, weights=(1.0,))
        total = total[None, None]
        _, scores = reference.anomaly_map([(total, 0 * total)], alone)
    return maps[0], float(scores[0])


def whitened(bundle: Bundle, entry, features: np.ndarray) -> np.ndarray:
    """Place by place, [H, W]."""
    mean, factors = (array_in(bundle, n).astype(float) for n in (entry.mean, entry.factors))
    height, width = entry.size
    columns = -(-width // entry.side)
    found = np.empty(entry.size)
    for y in range(height):
        for x in range(width):
            value = features[entry.first : entry.first + entry.count, y, x]
            if entry.centre is not None:
                value = value - array_in(bundle, entry.centre)
                value = (value - value.mean()) / np.sqrt(value.var() + 1e-5)
            factor = factors[y // entry.side * columns + x // entry.side]
            found[y, x] = np.mean((factor @ (value - mean[:, y, x])) ** 2)
    return found
