"""Routes of the records: history, one verdict with its pictures, and the course over time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgead.images import read_image
from edgead.live.board import picture_of
from edgead.live.page import asked
from edgead.live.page.answers import Refused, as_json, route
from edgead.live.page.workplace import Workplace
from edgead.records import summaries
from edgead.records.pruning import iso
from edgead.records.reviews import LABELS, RELEASED, Entry, ReviewError, Reviews
from edgead.records.schema import FILE, connect
from edgead.result import as_bgr8

MOST_AT_ONCE = 500
"""Verdicts in one answer."""
NOT_KEPT = (
    "no records are kept: start edgead watch with --records DIR, or with a table [records] in "
    "line.toml"
)
SMALL = 240
"""Longest side of a picture in a list, in pixels."""
PNG_SIZE = slice(16, 24)  # width and height in a PNG, 4 bytes each, the highest first
VERDICTS = {"good": False, "anomalous": True}
YES_NO = {"yes": True, "no": False}


def routes(place: Workplace) -> list[Route]:
    """For the records of ``place``."""
    return [
        route("GET", "/api/records", partial(_history, place)),
        route("GET", "/api/records/{id}", partial(_record, place)),
        route("GET", "/api/records/{id}/frame.jpg", partial(_frame, place)),
        route("GET", "/api/records/{id}/frame.png", partial(_png, place)),
        route("GET", "/api/records/{id}/heatmap.jpg", partial(_heatmap, place)),
        route("GET", "/api/course", partial(_course, place)),
    ]


def folder_of(place: Workplace) -> Path:
    """The folder of the records.

    Raises:
        Refused: none are kept, or it is gone.
    """
    if place.records is None:
        raise Refused(NOT_KEPT, 404)
    if not (place.records / FILE).is_file():
        raise Refused(
            f"the records are gone: {FILE} is not in {place.records} any more; put it back, or "
            "start edgead watch again",
            503,
        )
    return place.records


@contextmanager
def reviews_of(place: Workplace, *, writes: bool = False) -> Iterator[Reviews]:
    """The records of ``place``, opened for one request: a folder that is gone is seen."""
    reviews = Reviews(folder_of(place), writes=writes)
    try:
        yield reviews
    finally:
        reviews.close()


@contextmanager
def store_of(place: Workplace) -> Iterator[sqlite3.Connection]:
    """The database of the records, to be read."""
    store = connect(folder_of(place) / FILE, writes=False)
    try:
        yield store
    finally:
        store.close()


def shown(entry: Entry) -> dict[str, Any]:
    """An entry as JSON values; of its files, whether they are there."""
    found = asdict(entry)
    found["has_frame"] = entry.frame is not None
    del found["frame"], found["heatmap"]
    return found


def known(reviews: Reviews, identity: str) -> Entry:
    """The entry with this id; Refused when there is none."""
    try:
        return reviews.entry(identity)
    except ReviewError as error:
        raise Refused(str(error), 404) from error


def _history(place: Workplace, request: Request) -> Response:
    """Verdicts that match the filters, latest first, and the number that leads to more."""
    limit = asked.whole(request, "limit", 100, 1, MOST_AT_ONCE)
    low, high = asked.number(request, "low"), asked.number(request, "high")
    if low is not None and high is not None and low > high:
        raise Refused(f"low {low:g} is above high {high:g}: expected a range of scores")
    since, until = asked.moment(request, "since"), asked.moment(request, "until")
    if since is not None and until is not None and since > until:
        raise Refused(f"since {since} is after until {until}: expected a range of times")
    labels = {label: label for label in (*LABELS, RELEASED)}
    with reviews_of(place) as reviews:
        found = reviews.history(
            camera=request.query_params.get("camera") or None,
            is_anomalous=asked.one_of(request, "verdict", VERDICTS),
            is_sampled=asked.one_of(request, "sampled", YES_NO),
            label=asked.one_of(request, "label", labels),
            is_reviewed=asked.one_of(request, "reviewed", YES_NO),
            since=since,
            until=until,
            low=low,
            high=high,
            before=asked.whole(request, "before", 2**60, 0, 2**60),
            limit=limit + 1,
        )
    rest = found[limit - 1].number if len(found) > limit else None
    return as_json({"entries": [shown(entry) for entry in found[:limit]], "before": rest})


def _record(place: Workplace, request: Request) -> Response:
    """One verdict: its entry, its line and all that was said of it."""
    with reviews_of(place) as reviews:
        entry = known(reviews, request.path_params["id"])
        line, marks = reviews.line(entry.id), reviews.marks(entry.id)
    return as_json(
        {
            "entry": shown(entry),
            "line": line,
            "marks": marks,
            "frame_size": None if entry.frame is None else _size_of(entry.frame),
        }
    )


def _path(place: Workplace, request: Request, key: str) -> tuple[Entry, Path]:
    """The file of a verdict; Refused with the reason when it has none."""
    with reviews_of(place) as reviews:
        entry = known(reviews, request.path_params["id"])
    path = getattr(entry, key)
    if path is None and entry.pruned is not None:
        raise Refused(f"the frame was pruned on {entry.pruned}: it is not kept any more", 410)
    if path is None and entry.is_anomalous:
        raise Refused("no frame is saved: too many waited at that moment, or it comes later", 404)
    if path is None:
        raise Refused("no frame was saved: it was neither an alarm nor sampled", 404)
    if not path.is_file():
        raise Refused(f"the file {path.name} is gone from the folder of records", 410)
    return entry, path


def _png(place: Workplace, request: Request) -> Response:
    return Response(_path(place, request, "frame")[1].read_bytes(), media_type="image/png")


def _heatmap(place: Workplace, request: Request) -> Response:
    """The frame under its heatmap; ``?small=1``: as a list shows it."""
    data = _path(place, request, "heatmap")[1].read_bytes()
    if request.query_params.get("small") == "1":
        data = _small(data)
    return Response(data, media_type="image/jpeg")


def _small(data: bytes) -> bytes:
    """A JPEG with sides up to SMALL; a large one is decoded at an eighth, which is quick."""
    import cv2

    encoded = np.frombuffer(data, np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_REDUCED_COLOR_8)
    if image is not None and max(image.shape) < SMALL:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if image is None:
        raise Refused("the picture is damaged", 410)
    return picture_of(np.asarray(image, np.uint8), SMALL)


def _frame(place: Workplace, request: Request) -> Response:
    """The frame as a picture for people: 8 bits, sides as on the page."""
    entry, path = _path(place, request, "frame")
    frame = read_image(path)
    board = place.board(entry.camera)
    color, depth = board.looks() if board is not None else ("bgr", None)
    data = picture_of(as_bgr8(frame, color, depth or _depth_of(frame)))
    return Response(data, media_type="image/jpeg")


def _depth_of(frame: NDArray[Any]) -> int:
    """Bits that are used, for a picture of a camera that is not configured any more."""
    return max(8, int(frame.max()).bit_length()) if frame.dtype == np.uint16 else 8


def _size_of(path: Path) -> list[int] | None:
    """(height, width) that a PNG says it has."""
    try:
        with path.open("rb") as file:
            head = file.read(PNG_SIZE.stop)[PNG_SIZE]
    except OSError:
        return None
    return [int.from_bytes(head[4:], "big"), int.from_bytes(head[:4], "big")]


def _course(place: Workplace, request: Request) -> Response:
    """Scores, verdicts, health and drift of a camera over the last hours."""
    camera = request.query_params.get("camera")
    if not camera:
        raise Refused("camera is missing: give ?camera=NAME")
    hours = asked.number(request, "hours")
    if hours is None:
        hours = 8.0
    if not 0 < hours <= 24 * 366:
        raise Refused(f"hours is {hours:g}: expected more than 0, up to {24 * 366}")
    steps = asked.whole(request, "steps", 120, 1, 1000)
    now = datetime.now(timezone.utc)
    since, until = iso(now - timedelta(hours=hours)), iso(now + timedelta(seconds=1))
    with store_of(place) as store:
        found = summaries.course(store, camera=camera, since=since, until=until, steps=steps)
    return as_json({"camera": camera, "hours": hours, **found})
