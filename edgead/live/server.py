"""The page's server: access decides who may ask, the routes of ``page`` answer."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgead.errors import DeviceError, InputError, printable
from edgead.live.access import Access, Address
from edgead.live.board import Board
from edgead.live.log import Say
from edgead.live.page import cameras, files, records, review, threshold
from edgead.live.page.answers import client, not_found
from edgead.live.page.workplace import Workplace
from edgead.live.sinks.interface import SinkState

MOST_CONNECTIONS = 32
"""At once; more are turned away, so that a flood cannot fill the memory."""
LONGEST_REQUEST_S = 20.0
"""From connecting until a browser has sent its whole request and taken the whole answer."""
MOST_BYTES = 16_384
"""In the body of a request."""

TOKEN_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>edgead watch</title>
<style>body { font:16px/1.5 system-ui,sans-serif; margin:15vh auto; max-width:26em; padding:0 1em }
input { font:inherit; width:100%; box-sizing:border-box; margin:.5em 0 }</style></head>
<body><h1>edgead watch</h1><form method="post" action="token"><label for="token">The token that
edgead watch printed when it started, or the value of EDGEAD_TOKEN:</label>
<input id="token" name="token" type="password" autofocus autocomplete="off">
<input type="submit" value="Show the page"></form></body></html>
"""
WRONG_TOKEN = '<p role="alert"><b>That is not the token.</b></p>'


def _policy() -> str:
    """Only this server's own files run; the token's page brings its style, known by digest."""
    style = re.findall("<style>(.*?)</style>", TOKEN_PAGE, re.DOTALL)[0].encode()
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{digest}'; "
        f"img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'"
    )


HEADERS = {
    "Connection": "close",  # one request each: an idle connection must not use up a place
    "Cache-Control": "no-store",
    "Content-Security-Policy": _policy(),
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
        self._router = Router(default=_nothing, redirect_slashes=False)
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
        folder: Path | None = None,
        more: Iterable[Route] = (),
    ) -> None:
        """Answer requests from now on.

        Args:
            boards: the one of the page; or those of several cameras by their names, which may
                change.
            sinks: how the sinks fare, for /metrics.
            folder: of the records; None where none are kept.
            more: routes beside those of the page, made by ``edgead.live.page.answers.route``.
        """
        place = Workplace(boards, self._say, sinks, folder)
        ours = [module.routes(place) for module in (cameras, records, review, threshold)]
        self._router.routes.extend([*files.routes(), *chain(*ours), *more])
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
        """Read the body, refuse whom it does not concern, then let a route answer."""
        request, body = Request(scope, receive), b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
        except ClientDisconnect:
            return
        scope.setdefault("state", {})["body"] = body
        answer = self._refusal(request, body) or self._router
        await answer(scope, receive, send)

    def _refusal(self, request: Request, body: bytes) -> Response | None:
        """The answer to whoever may not ask, or gives the token; None for all others."""
        method, path = request.method, request.scope["path"]
        refusal = self._access.refusal(request.headers)
        if refusal:
            self._say("refuse", f"{client(request)}: {refusal}", "host")
            return PlainTextResponse(f"{refusal}\n", 403)
        if len(body) > MOST_BYTES:
            return PlainTextResponse(f"expected up to {MOST_BYTES} bytes\n", 413)
        if (method, path) == ("POST", "/token"):
            return self._take_token(request, body)
        if not self._access.is_authorized(request, self.address.port):
            if (method, path) == ("GET", "/"):
                return HTMLResponse(TOKEN_PAGE, 401)
            return PlainTextResponse("the token is missing: open the page and enter it\n", 401)
        return None

    def _take_token(self, request: Request, body: bytes) -> Response:
        # Latin-1 has a character for each byte.
        form = parse_qs(body.decode("latin-1"), encoding="latin-1")
        if not self._access.is_token(form.get("token", [""])[0].encode("latin-1")):
            self._say("refuse", f"a wrong token from {client(request)}", "token")
            return HTMLResponse(TOKEN_PAGE.replace("<form", f"{WRONG_TOKEN}<form", 1), 401)
        cookie = self._access.cookie(self.address.port)
        return Response(status_code=303, headers={"Set-Cookie": cookie, "Location": "/"})


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


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await not_found()(scope, receive, send)


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
