"""Routes of the review: what waits, and who says good or defective."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgead.live.page import asked
from edgead.live.page.answers import Refused, as_json, json_body, route
from edgead.live.page.records import known, reviews_of, shown, store_of
from edgead.live.page.workplace import Workplace
from edgead.records import summaries
from edgead.records.reviews import Entry, Reviews

AT_ONCE, MOST_AT_ONCE = 20, 500
"""Frames of the queue in one answer."""
BODY = '{"id": "left-…-7", "reviewer": "Ada"}'


def routes(place: Workplace) -> list[Route]:
    """For the records of ``place``."""
    return [
        route("GET", "/api/review/counts", partial(_counts, place)),
        route("GET", "/api/review/queue", partial(_queue, place)),
        route("POST", "/api/review/claim", partial(_do, place, Reviews.claim)),
        route("POST", "/api/review/skip", partial(_do, place, Reviews.let_go)),
        route("POST", "/api/review/mark", partial(_mark, place)),
        route("POST", "/api/review/undo", partial(_do, place, Reviews.withdraw)),
    ]


def _counts(place: Workplace, request: Request) -> Response:
    with store_of(place) as store:
        return as_json(_counted(summaries.waiting(store, _camera(request))))


def _counted(found: summaries.Waiting) -> dict[str, int]:
    return {"waiting": found.alarms + found.sample, **found._asdict()}


def _queue(place: Workplace, request: Request) -> Response:
    """The next frames to look at, alarms and the sample in turn, and how many wait."""
    camera, reviewer = _camera(request), request.query_params.get("reviewer")
    limit = asked.whole(request, "limit", AT_ONCE, 1, MOST_AT_ONCE)
    with store_of(place) as store:
        ids = summaries.queue(store, camera=camera, reviewer=reviewer, limit=limit)
        counts = summaries.waiting(store, camera)
    with reviews_of(place) as reviews:
        entries = [shown(reviews.entry(identity)) for identity in ids]
    return as_json({"entries": entries, "counts": _counted(counts)})


def _do(place: Workplace, step: Callable[[Reviews, str, str], Entry], request: Request) -> Response:
    """One ``step`` of a reviewer on a frame."""
    _, identity, reviewer = _asked(request)
    with reviews_of(place, writes=True) as reviews:
        known(reviews, identity)
        return _after(reviews, step(reviews, identity, reviewer))


def _mark(place: Workplace, request: Request) -> Response:
    """Mark a frame, unless another claimed it or reviewed it since it was seen."""
    body, identity, reviewer = _asked(request)
    label, note = asked.text(body, "label"), asked.text(body, "note", "")
    if "seen" not in body or not isinstance(body["seen"], str | None):
        raise Refused("seen is missing: give the time of the review that was shown, or null")
    with reviews_of(place, writes=True) as reviews:
        known(reviews, identity)
        reviews.claim(identity, reviewer)
        return _after(reviews, reviews.mark(identity, label, reviewer, note, body["seen"]))


def _after(reviews: Reviews, entry: Entry) -> Response:
    return as_json({"entry": shown(entry), "marks": reviews.marks(entry.id)})


def _camera(request: Request) -> str | None:
    return request.query_params.get("camera") or None


def _asked(request: Request) -> tuple[dict[str, Any], str, str]:
    """The body, and what each of them has: id and reviewer."""
    body = json_body(request, BODY)
    return body, asked.text(body, "id"), asked.text(body, "reviewer")
