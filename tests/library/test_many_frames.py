"""Frames drawn at random, thousands of them: C and Python give the same bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import COLOURS, array_of  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.storage import open_bundle

KINDS = ("GRAY8", "GRAY16", *COLOURS)
EXHAUSTIVE = {"bundle_dir": 10_000, "with_signals": 1_000, "tiled": 60}
CASES = (
    ("bundle_dir", 240),
    *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in EXHAUSTIVE.items()),
)


def drawn(
    rng: np.random.Generator, count: int, least: tuple[int, int]
) -> Iterator[tuple[np.ndarray, str, int]]:
    """Frames, their formats and bit depths (0: 8 bits); small ones often, wide and high ones too.

    They hold noise, one value, or a step: what each position of a map can be.
    """
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        bits = int(rng.integers(9, 17)) if kind.endswith("16") else 0
        most = (40, 150, 700)[int(rng.choice(3, p=(0.6, 0.35, 0.05)))]
        size = (int(rng.integers(most)) + least[0], int(rng.integers(most)) + least[1])
        frame = array_of(rng, kind, size, bits)
        what = int(rng.integers(4))
        if what == 0:
            frame[...] = frame[0, 0]
        elif what == 1:
            frame[: size[0] // 2] = 0
        yield frame, kind, bits


class Python:
    """A Detector for each order of colours and bit depth."""

    def __init__(self, path: Path, stack: ExitStack, **options: Any) -> None:
        @cache
        def opened(colour: str, bits: int) -> Detector:
            given = {"device": "cpu", "threads": 1, **options}
            detector = Detector(path, color=colour, bit_depth=bits or None, **given)
            return stack.enter_context(detector)

        self._opened = opened

    def score(self, frame: np.ndarray, kind: str, bits: int) -> Any:
        seen = frame[:, :, :3] if frame.ndim == 3 else frame
        return self._opened(COLOURS.get(kind, "bgr"), bits).score(seen)


@pytest.mark.parametrize(("bundle", "count"), CASES)
def test_scores_verdicts_and_maps(library: Any, request: Any, bundle: str, count: int) -> None:
    path: Path = request.getfixturevalue(bundle)
    tiling = open_bundle(path).manifest.tiling
    frames = drawn(np.random.default_rng(count), count, tiling.size if tiling else (1, 1))
    verdicts: Counter[bool] = Counter()
    with library.serving(path) as session, ExitStack() as stack:
        python = Python(path, stack)
        for number, (frame, kind, bits) in enumerate(frames):
            expected = python.score(frame, kind, bits)
            named = f"GRAY{bits}" if kind == "GRAY16" and bits in (10, 12) else kind
            found = session.score(frame, named, bits)
            assert (found.score, found.p_value, found.threshold) == (
                expected.score,
                expected.p_value,
                expected.threshold,
            ), (number, kind, bits, frame.shape, frame.strides)
            assert bool(found.is_anomalous) == expected.is_anomalous
            assert np.array_equal(session.rows("map", expected.map.shape), expected.map), number
            verdicts[expected.is_anomalous] += 1
    if bundle == "bundle_dir":  # whose calibration is of such frames
        assert min(verdicts[True], verdicts[False]) > count // 20, verdicts
