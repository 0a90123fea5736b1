"""An int8 graph of a frozen network that ends at features, for bundles that are learnt.

Nothing was trained to make up for roundings, and nothing has to be: a memory tells features apart
by distances, which the rounding of many layers moves little. Coding and decoding around each layer
in float32 would eat what int8 gains, so grouped convolutions are int8 too, unless one of them alone
costs more than all other layers together.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from edgead.errors import ExportError

from ..census import check_precision, take_census
from ..options import Ranges
from ..portable import INPUT, onnx_session
from .graph import GROUPED, layers, part_concats, quantise, restore
from .sums import check_sums

PROBES = 4
"""Images that show what a layer costs: a mean over all features of each, which varies little."""


def int8_of(model: bytes, images: Ranges) -> bytes:
    """The graph of a frozen network with int8 layers.

    Args:
        model: float32 ONNX graph of one input, ``INPUT``, and one output, the features.
        images: [1, 3, H, W] float32, preprocessed, of good parts; their largest magnitudes are the
            ranges of the layers.

    Returns:
        ONNX bytes that give the same sums on every processor, see ``sums``.

    Raises:
        ExportError: no layer can be int8, too few can, or onnxruntime fails.
    """
    graph = part_concats(model)
    reasons = layers(graph)
    plain = [name for name, reason in reasons.items() if not reason]
    grouped = [name for name, reason in reasons.items() if reason == GROUPED]
    if not plain:
        raise ExportError("the network has no layer that can be int8: leave --precision int8 out")
    coded = quantise(graph, images, [*plain, *grouped])
    shown = images[:PROBES]
    exact = _features(graph, shown)

    def cost(int8: Collection[str]) -> float:
        kept = [name for name in (*plain, *grouped) if name not in int8]
        gaps = _features(restore(coded, graph, kept), shown) - exact
        return float(np.square(gaps, dtype=np.float64).mean())

    most = cost(plain)
    made = restore(coded, graph, [name for name in grouped if cost([name]) > most])
    check_precision(take_census(made), "int8")
    check_sums(made)
    return made


def _features(model: bytes, images: Ranges) -> NDArray[np.float32]:
    session = onnx_session(model)
    return np.stack([session.run(None, {INPUT: image})[0] for image in images])
