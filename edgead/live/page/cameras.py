"""Routes of the cameras as they run: state, picture and false-reject rate."""

from __future__ import annotations

import re
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgead.errors import CalibrationError
from edgead.live.board import Board
from edgead.live.metrics import exposition
from edgead.live.page.answers import Refused, as_json, client, json_body, not_found, route
from edgead.live.page.workplace import Workplace

NONE_SUCH = "there is no such camera, or ?camera=NAME is missing"


def routes(place: Workplace) -> list[Route]:
    """For the boards of ``place``."""
    return [
        route("GET", "/metrics", partial(_metrics, place)),
        route("GET", "/cameras", partial(_cameras, place)),
        route("GET", "/api/workplace", partial(_workplace, place)),
        route("GET", "/state", partial(_state, place)),
        route("GET", "/frame.jpg", partial(_frame, place)),
        route("POST", "/rate", partial(_rate, place)),
    ]


def _metrics(place: Workplace, request: Request) -> Response:
    text, kind = exposition(place.boards, place.sinks())
    return Response(text, media_type=kind)


def _cameras(place: Workplace, request: Request) -> Response:
    return as_json([{"name": name, **board.summary()} for name, board in place.named().items()])


def _workplace(place: Workplace, request: Request) -> Response:
    """What the page can offer."""
    return as_json({"cameras": list(place.named()), "records": place.records is not None})


def _state(place: Workplace, request: Request) -> Response:
    board = board_of(place, request)
    after = request.query_params.get("after", "")
    number = int(after) if re.fullmatch(r"-?[0-9]{1,18}", after) else -1
    return as_json(board.state(number))


def _frame(place: Workplace, request: Request) -> Response:
    board = board_of(place, request)
    asked = request.query_params.get
    picture = board.picture(heatmap=asked("heatmap") != "0", small=asked("small") == "1")
    if picture is None:
        return not_found("no frame was scored yet")
    return Response(picture, media_type="image/jpeg")


def _rate(place: Workplace, request: Request) -> Response:
    board = board_of(place, request)
    rate = json_body(request, '{"rate": 0.05}').get("rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise Refused('expected {"rate": 0.05}')
    try:
        threshold = board.set_rate(float(rate))
    except OverflowError as error:
        raise Refused('expected {"rate": 0.05}') from error
    except CalibrationError as error:
        raise Refused(str(error), 422) from error
    name = request.query_params.get("camera")
    of = f"{name}: " if name in place.named() else ""
    said = f"{of}{100 * rate:.3g} %, threshold {threshold:.5g}: set by {client(request)}"
    place.say("rate", said, "rate")
    return as_json({"false_reject_rate": rate, "threshold": threshold})


def board_of(place: Workplace, request: Request) -> Board:
    """The board that ``?camera=`` names; Refused when there is none."""
    found = place.board(request.query_params.get("camera"))
    if found is None:
        raise Refused(NONE_SUCH, 404)
    return found
