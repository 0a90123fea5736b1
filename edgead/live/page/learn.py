"""Routes of learning from reviewed frames: look, start, swap in, go back."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgead.live.page.answers import Refused, as_json, json_body, route
from edgead.live.relearning.learning import Learning
from edgead.records.reviews import reviewer_name

EXPECTED = '{"camera": "left", "by": "Ada"}'


def routes(learning: Learning) -> list[Route]:
    """For what ``learning`` does."""
    return [
        route("GET", "/api/learn", partial(_state, learning)),
        route("POST", "/api/learn", partial(_start, learning)),
        route("POST", "/api/learn/swap", partial(_swap, learning)),
        route("POST", "/api/learn/back", partial(_back, learning)),
    ]


def _state(learning: Learning, request: Request) -> Response:
    return as_json(learning.state(request.query_params.get("camera", "")))


def _start(learning: Learning, request: Request) -> Response:
    asked = _asked(request)
    force = json_body(request, EXPECTED).get("force", False)
    if not isinstance(force, bool):
        raise Refused("force: expected true or false")
    return as_json(learning.start(**asked, force=force), 202)


def _swap(learning: Learning, request: Request) -> Response:
    return as_json(learning.swap(**_asked(request)))


def _back(learning: Learning, request: Request) -> Response:
    return as_json(learning.back(**_asked(request)))


def _asked(request: Request) -> dict[str, Any]:
    """The camera, and who asks."""
    body = json_body(request, EXPECTED)
    camera, by = body.get("camera"), body.get("by")
    if not isinstance(camera, str) or not isinstance(by, str):
        raise Refused(f"expected {EXPECTED}")
    return {"camera": camera, "by": reviewer_name(by)}
