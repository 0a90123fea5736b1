"""How a route is made of a function, and how its request is read."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edgead.errors import DeviceError, EdgeadError
from edgead.files import in_words
from edgead.records.lines import to_json
from edgead.records.reviews import ReviewError

Answer = Callable[[Request], Response]


class Refused(EdgeadError):
    """A request that is not answered, and why.

    Args:
        sentence: what was expected.
        status: of HTTP.
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


def route(method: str, path: str, answer: Answer) -> Route:
    """A route whose ``answer`` runs in a thread: it may read files and draw pictures.

    What it refuses is answered as ``{"error": sentence}``.
    """

    async def endpoint(request: Request) -> Response:
        return await asyncio.to_thread(_answered, answer, request)

    return Route(path, endpoint, methods=[method])


def _answered(answer: Answer, request: Request) -> Response:
    try:
        return answer(request)
    except Refused as error:
        return as_json({"error": str(error)}, error.status)
    except ReviewError as error:
        return as_json({"error": str(error)}, 409)
    except (sqlite3.Error, OSError) as error:
        return as_json({"error": f"the records cannot be read: {in_words(error)}"}, 503)
    except DeviceError as error:
        return as_json({"error": str(error)}, 503)
    except EdgeadError as error:
        return as_json({"error": str(error)}, 422)


def as_json(value: Any, status: int = 200) -> Response:
    """``value`` as JSON in ASCII."""
    return Response(to_json(value), status, media_type="application/json")


def not_found(sentence: str = "there is no such page") -> Response:
    """404 with a sentence."""
    return PlainTextResponse(f"{sentence}\n", 404)


def client(request: Request) -> str:
    """Who asks, for the log."""
    return request.client.host if request.client is not None else "an unknown address"


def json_body(request: Request, expected: str) -> dict[str, Any]:
    """The JSON object in the body of a request.

    Args:
        request: that PageServer has read.
        expected: an example of the body.

    Raises:
        Refused: another kind of body. A form of another site cannot send JSON, and a browser asks
            before a script of it may.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused("expected application/json", 415)
    try:
        found = json.loads(request.state.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(f"expected {expected}")
    return found
