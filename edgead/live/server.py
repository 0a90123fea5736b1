"""The page's server: the board has what is shown, access decides who may see it."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgead.errors import CalibrationError, DeviceError, InputError, printable
from edgead.live.access import Access, Address
from edgead.live.board import Board
from edgead.live.log import Say
from edgead.live.metrics import exposition
from edgead.live.sinks.interface import SinkState
from edgead.records.lines import to_json

MOST_CONNECTIONS = 32
"""At once; more are turned away, so that a flood cannot fill the memory."""
LONGEST_REQUEST_S = 20.0
"""From connecting until a browser has sent its whole request and taken the whole answer."""
MOST_BYTES = 4096
"""In the body of a request."""

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
OVERVIEW = Path(__file__).with_name("overview.html").read_text(encoding="utf-8")
TOKEN_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>edgead watch</title>
<style>body { font:16px/1.5 system-ui,sans-serif; margin:15vh auto; max-width:26em; padding:0 1em }
input { font:inherit; width:100%; box-sizing:border-box; margin:.5em 0 }</style></head>
<body><h1>edgead watch</h1><form method="post" action="token"><label for="token">The token that
edgead watch printed when it started, or the value of EDGEAD_TOKEN:</label>
<input id="token" name="token" type="password" autofocus autocomplete="off">
<input type="submit" value="Show the page"></form></body></html>
"""


def _policy(pages: str) -> str:
    """Only the scripts and styles of ``pages`` run, by digest; they talk to this server alone."""
    allowed = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", pages, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        f"img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'"
    )


HEADERS = {
    "Connection": "close",  # one request each: an idle connection must not use up a place
    "Cache-Control": "no-store",
    "Content-Security-Policy": _policy(PAGE + OVERVIEW + TOKEN_PAGE),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageServer:
    """Serves the page of a board in a thread of its own, from ``start`` until ``close``.

    Args:
        address: where to serve; the port is taken at once. Port 0 takes a free one.
        say: for what belongs in the log.
        hosts: further names of this machine, of ``allowed_hosts``.

    Raises:
        DeviceError: the port or address is not available.
        InputError: no such host name, or a token that is too short.
    """

    def __init__(self, address: Address, say: Say, hosts: Iterable[str] = ()) -> None:
        self._say = say
        self._access = Access(address, hosts)
        self._socket = _listen(address)
        self.address = Address(address.host, int(self._socket.getsockname()[1]))
        self._boards: Board | Mapping[str, Board] = {}
        self._sinks: Callable[[], Mapping[str, SinkState]] = dict
        self._thread: threading.Thread | None = None
        config = Config(
            self._serve,
            interface="asgi3",
            loop="asyncio",
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,  # only defects are logged: no addresses, no tokens
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=list(HEADERS.items()),
        )
        self._server = Server(config)

    def start(
        self,
        boards: Board | Mapping[str, Board],
        sinks: Callable[[], Mapping[str, SinkState]] = dict,
    ) -> None:
        """Answer requests from now on.

        Args:
            boards: the one of the page; or those of several cameras by their names, which may
                change: the page is an overview then, with a page for each.
            sinks: how the sinks fare, for /metrics.
        """
        self._boards, self._sinks = boards, sinks
        # Outside the main thread uvicorn leaves the signal handlers alone.
        self._thread = threading.Thread(
            target=self._server.run, args=[[self._socket]], name="page", daemon=True
        )
        self._thread.start()
        token = f", token {self._access.made}" if self._access.made else ""
        self._say("serve", f"{self.address.url}{token}")

    def close(self) -> None:
        """End all requests and release the port; a second call does nothing."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, answer in a thread: the board draws pictures under a lock."""
        request, body = Request(scope, receive), b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
        except ClientDisconnect:
            return
        answer = await asyncio.to_thread(self._answer, request, body)
        await answer(scope, receive, send)

    def _answer(self, request: Request, body: bytes) -> Response:
        method, path = request.method, request.scope["path"]
        refusal = self._access.refusal(request.headers)
        if refusal:
            self._say("refuse", f"{_client(request)}: {refusal}", "host")
            return PlainTextResponse(f"{refusal}\n", 403)
        if len(body) > MOST_BYTES:
            return PlainTextResponse(f"expected up to {MOST_BYTES} bytes\n", 413)
        if (method, path) == ("POST", "/token"):
            return self._take_token(request, body)
        if not self._access.is_authorized(request, self.address.port):
            if (method, path) == ("GET", "/"):
                return HTMLResponse(TOKEN_PAGE, 401)
            return PlainTextResponse("the token is missing: open the page and enter it\n", 401)
        if (method, path) == ("GET", "/metrics"):
            text, kind = exposition(self._boards, self._sinks())
            return Response(text, media_type=kind)
        name = request.query_params.get("camera")
        if not isinstance(self._boards, Board) and name is None:
            return self._answer_for_all(method, path, dict(self._boards))
        board = self._boards if isinstance(self._boards, Board) else self._boards.get(name or "")
        if board is None:
            return PlainTextResponse("there is no such camera\n", 404)
        return self._answer_for(board, request, body)

    def _answer_for(self, board: Board, request: Request, body: bytes) -> Response:
        match request.method, request.scope["path"]:
            case "GET", "/":
                return HTMLResponse(PAGE)
            case "GET", "/state":
                after = request.query_params.get("after", "")
                number = int(after) if re.fullmatch(r"-?[0-9]{1,18}", after) else -1
                state = to_json(board.state(number))
                return Response(state, media_type="application/json")
            case "GET", "/frame.jpg":
                picture = board.picture(heatmap=request.query_params.get("heatmap") != "0")
                if picture is None:
                    return PlainTextResponse("no frame was scored yet\n", 404)
                return Response(picture, media_type="image/jpeg")
            case "POST", "/rate":
                return self._take_rate(request, body, board)
        return PlainTextResponse("there is no such page\n", 404)

    def _answer_for_all(self, method: str, path: str, boards: Mapping[str, Board]) -> Response:
        match method, path:
            case "GET", "/":
                return HTMLResponse(OVERVIEW)
            case "GET", "/cameras":
                states = [{"name": name, **board.summary()} for name, board in boards.items()]
                return Response(to_json(states), media_type="application/json")
        return PlainTextResponse("there is no such page, or ?camera=NAME is missing\n", 404)

    def _take_token(self, request: Request, body: bytes) -> Response:
        # Latin-1 has a character for each byte.
        form = parse_qs(body.decode("latin-1"), encoding="latin-1")
        if not self._access.is_token(form.get("token", [""])[0].encode("latin-1")):
            self._say("refuse", f"a wrong token from {_client(request)}", "token")
            return HTMLResponse(TOKEN_PAGE, 401)
        cookie = self._access.cookie(self.address.port)
        return Response(status_code=303, headers={"Set-Cookie": cookie, "Location": "/"})

    def _take_rate(self, request: Request, body: bytes, board: Board) -> Response:
        # A form of another site cannot send JSON; a browser asks before its script may.
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return PlainTextResponse("expected application/json\n", 415)
        try:
            rate = json.loads(body)["rate"]
            if isinstance(rate, bool) or not isinstance(rate, int | float):
                raise TypeError
            rate = float(rate)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return JSONResponse({"error": 'expected {"rate": 0.05}'}, 400)
        try:
            threshold = board.set_rate(rate)
        except CalibrationError as error:
            return JSONResponse({"error": str(error)}, 422)
        said = f"{100 * rate:.3g} %, threshold {threshold:.5g}: set by {_client(request)}"
        self._say("rate", said, "rate")
        return JSONResponse({"false_reject_rate": rate, "threshold": threshold})


class _Connection(H11Protocol):
    """uvicorn's HTTP connection with what it lacks: a deadline, and a bound before the request."""

    _deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(LONGEST_REQUEST_S, transport.abort)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """At the end: a browser that does not read must not hold the process."""
        self.transport.abort()


def _client(request: Request) -> str:
    return request.client.host if request.client is not None else "an unknown address"


def _listen(address: Address) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(
            place[:2], family=family, backlog=MOST_CONNECTIONS, dualstack_ipv6=both
        )
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(
            f"--serve {printable(address.host)}: there is no such address or name"
        ) from error
    except OSError as error:
        cure = {
            errno.EADDRINUSE: "is in use by another program: take another port, "
            f"{address.port + 1} or so",
            errno.EADDRNOTAVAIL: "is not an address of this machine: take one of ip addr, or "
            "127.0.0.1",
            errno.EACCES: "needs more rights: take a port from 1024 up",
        }.get(error.errno or 0, f"cannot be served: {error.strerror}")
        raise DeviceError(f"--serve {printable(address.host)}:{address.port} {cure}") from error
