"""The files that a browser loads: read once, so that a request never names a path on the disk."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgead.live.page.answers import not_found, route

FOLDER = Path(__file__).with_name("static")
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
FILES = {
    path.relative_to(FOLDER).as_posix(): (path.read_bytes(), KINDS[path.suffix])
    for path in sorted(FOLDER.rglob("*"))
    if path.suffix in KINDS
}
INDEX = "index.html"


def routes() -> list[Route]:
    """``/`` and ``/static/NAME``."""
    return [route("GET", "/", _index), route("GET", "/static/{name:path}", _file)]


def _index(request: Request) -> Response:
    return Response(FILES[INDEX][0], media_type=FILES[INDEX][1])


def _file(request: Request) -> Response:
    found = FILES.get(request.path_params["name"])
    if found is None:
        return not_found()
    return Response(found[0], media_type=found[1])
