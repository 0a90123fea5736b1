"""The cases that Python's tests read too: manifests, p-values and thresholds."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import cases  # type: ignore[import-not-found]
import numpy as np
import pytest


def test_manifests_of_the_corpus(library: Any, refused: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "alone.edgead"
    path.mkdir()
    for manifest, says in cases.manifests():
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(refused) as caught:
            library.open(path)
        said = str(caught.value).removeprefix(f"bundle {path}: ")
        if says is None:  # it is read, and there is nothing beside it
            assert said.endswith("is missing; copy the bundle again or export it again"), said
        else:
            assert said == says
        assert caught.value.status == "BUNDLE"


FRAME = np.full((40, 50, 3), 90, np.uint8)
STEP = 2.0**-24  # of scores near 1: every sum is exact


@pytest.fixture
def calibrated(library: Any, bundle_copy: Path, edit: Any) -> Iterator[Any]:
    """A bundle whose scores lie as those of a row do around a score that its frame has."""
    with library.serving(bundle_copy) as session:
        found = session.score(FRAME, "BGR").score

    def change(row: dict[str, Any], score: float) -> Path:
        scores = [found + (each - score) * STEP for each in row["scores"]]
        ties = {"score": row["ties"] * STEP, "map": 0.0}
        held = {"scores": scores, "peaks": scores, "false_reject_rate": 0.6, "ties": ties}
        held |= {"parts": row["parts"]} if "parts" in row else {}
        edit(bundle_copy, lambda manifest: manifest.update(calibration=held))
        return bundle_copy

    change.found = found  # type: ignore[attr-defined]
    yield change


def test_p_values_of_the_corpus(library: Any, calibrated: Any) -> None:
    for row in (row for row in cases.p_values() if "score" in row):
        with library.serving(calibrated(row, row["score"])) as session:
            verdict = session.score(FRAME, "BGR")
        count, of = row["p"]
        assert verdict.p_value == count / of, row
        assert bool(verdict.is_anomalous) == (count / of <= 0.6), row


def test_thresholds_of_the_corpus(library: Any, refused: type[Exception], calibrated: Any) -> None:
    rows = [row for row in cases.p_values() if "rate" in row]
    kinds = groupby(rows, lambda row: (row["scores"], row["ties"], row.get("parts")))
    for _, group in kinds:
        several = list(group)
        with library.detector(calibrated(several[0], 0)) as detector:
            for row in several:
                rate, limit = ctypes.c_double(row["rate"]), ctypes.c_double()
                if "says" in row:
                    with pytest.raises(refused) as caught:
                        library.call("detector_set_false_reject_rate", detector, rate)
                    assert str(caught.value) == row["says"]
                    continue
                library.call("detector_set_false_reject_rate", detector, rate)
                library.call("detector_threshold", detector, None, ctypes.byref(limit))
                assert limit.value == calibrated.found + row["threshold"] * STEP, row
