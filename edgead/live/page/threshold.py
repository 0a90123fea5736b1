"""The route of the threshold: what another false-reject rate would have changed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgead.live.board import Board
from edgead.live.page import asked
from edgead.live.page.answers import as_json, route
from edgead.live.page.cameras import board_of
from edgead.live.page.records import store_of
from edgead.live.page.workplace import Workplace
from edgead.records import summaries
from edgead.records.summaries import Scored
from edgead.serving.limits import limits_of

MOST_VERDICTS = 100_000
MOST_LISTED = 200
BINS = 60


def routes(place: Workplace) -> list[Route]:
    """For the cameras and records of ``place``."""
    return [route("GET", "/api/threshold", partial(_what_if, place))]


def _what_if(place: Workplace, request: Request) -> Response:
    """What the last verdicts of a camera would be at another rate."""
    board = board_of(place, request)
    name = request.query_params.get("camera") or next(iter(place.named()))
    last = asked.whole(request, "last", 1000, 1, MOST_VERDICTS)
    detector = board.detector
    rate = asked.number(request, "rate")
    if rate is None:
        rate = detector.false_reject_rate
    manifest, precision = detector.bundle.manifest, detector.info()["precision"]
    threshold = limits_of(manifest, rate, precision).threshold
    found = _verdicts(place, board, name, last)
    if request.query_params.get("start") == "latest" and found:
        run = _run_of(found[0])
        found = [each for each in found if _run_of(each) == run]
    return as_json(
        {
            "camera": name,
            "recorded": place.records is not None,
            "calibration_images": len(manifest.calibration.scores),
            "rate": rate,
            "threshold": threshold,
            "rate_now": detector.false_reject_rate,
            "threshold_now": detector.threshold,
            "starts": len({_run_of(each) for each in found}),
            **what_if(found, threshold),
        }
    )


def what_if(found: list[Scored], threshold: float) -> dict[str, Any]:
    """How verdicts would be with another threshold.

    Args:
        found: the latest first.
        threshold: scores above are anomalous.

    Returns:
        ``verdicts``, ``anomalous`` as they were and ``anomalous_then``; ``more`` and ``fewer``, how
        many would become anomalous and how many good, and ``changed``, the latest of them;
        ``reviewed``, of each label the same counts; ``histogram`` of the scores.
    """
    changed = [each for each in found if each.is_anomalous != (each.score > threshold)]
    return {
        **_counts(found, threshold),
        "since": found[-1].captured if found else None,
        "until": found[0].captured if found else None,
        "more": sum(not each.is_anomalous for each in changed),
        "fewer": sum(each.is_anomalous for each in changed),
        "changed": [each._asdict() for each in changed[:MOST_LISTED]],
        "reviewed": {
            label: _counts([each for each in found if each.label == label], threshold)
            for label in ("good", "defective")
        },
        "histogram": _histogram([each.score for each in found]),
    }


def _counts(found: list[Scored], threshold: float) -> dict[str, int]:
    return {
        "verdicts": len(found),
        "anomalous": sum(each.is_anomalous for each in found),
        "anomalous_then": sum(each.score > threshold for each in found),
    }


def _histogram(scores: list[float]) -> dict[str, list[float]]:
    """Edges, one more than there are counts."""
    if not scores:
        return {"edges": [], "counts": []}
    counts, edges = np.histogram(scores, BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _verdicts(place: Workplace, board: Board, name: str, last: int) -> list[Scored]:
    """Of the records; without them, what the page keeps in memory."""
    if place.records is not None:
        with store_of(place) as store:
            return summaries.scored(store, name, last)
    history = board.state(-1)["history"][-last:]
    return [
        Scored(None, past["captured"], past["score"], past["is_anomalous"], past["threshold"], None)
        for past in reversed(history)
    ]


def _run_of(each: Scored) -> str:
    """What the ids of one start of a camera have in common."""
    return (each.id or "").rpartition("-")[0]
