"""The page's server: what it shows is on the board, who may see it is for access to say."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import math
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edgead.errors import CalibrationError, DeviceError, InputError
from edgead.live.access import Access, Address
from edgead.live.board import Board

MOST_REQUESTS = 32
"""At once; more are turned away, so that nobody can fill the memory with threads."""
LONGEST_REQUEST_S = 10.0
"""For a browser to send a whole request, and again to take the answer."""
MOST_BYTES = 4096
"""Of what a browser sends."""
JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8"

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
TOKEN_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>edgead watch</title>
<style>body { font:16px/1.5 system-ui,sans-serif; margin:15vh auto; max-width:26em; padding:0 1em }
input { font:inherit; width:100%; box-sizing:border-box; margin:.5em 0 }</style></head>
<body><h1>edgead watch</h1><form method="post" action="token"><label for="token">The token that
edgead watch printed when it started, or that EDGEAD_TOKEN has:</label>
<input id="token" name="token" type="password" autofocus autocomplete="off">
<input type="submit" value="Show the page"></form></body></html>
"""


class PageServer:
    """Serves the page of ``board`` at ``address`` in threads of its own, until ``close``.

    Takes the port when it is made and answers after ``start``. ``say(word, text)`` gets what people
    should know.

    Errors: DeviceError when the port or address cannot be had; InputError for a weak token.
    """

    def __init__(self, address: Address, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._access = Access(address)
        self._server = _open(address, self._access, say)
        self.address = Address(address.host, int(self._server.server_address[1]))
        self._thread: threading.Thread | None = None

    def start(self, board: Board) -> None:
        """Answer from now on."""
        self._server.board = board
        # serve_forever looks so often, in seconds, whether it should end.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[0.1], name="page", daemon=True
        )
        self._thread.start()
        token = f", token {self._access.made}" if self._access.made else ""
        self._say("serve", f"{self.address.url}{token}")

    def close(self) -> None:
        """End all requests and give the port back."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    """An HTTP server with a bound on requests, whose open connections can be ended."""

    request_queue_size = MOST_REQUESTS
    block_on_close = True  # no thread may be in the middle of something when the process ends
    board: Board

    def __init__(
        self,
        family: socket.AddressFamily,
        place: tuple[str, int],
        access: Access,
        say: Callable[[str, str], None],
    ) -> None:
        self.address_family = family
        self.access = access
        self.say = say
        self._places = threading.BoundedSemaphore(MOST_REQUESTS)
        self._connections: dict[socket.socket, float] = {}  # and when the request has to be there
        self._changing = threading.Lock()
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the network for its own name

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._changing:
            self._connections[request] = time.monotonic() + LONGEST_REQUEST_S
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changing:
                self._connections.pop(request, None)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away concerns nobody; a defect is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def service_actions(self) -> None:
        """Between requests: a browser that sends byte after byte must not keep others out."""
        self.hang_up(late_at=time.monotonic())

    def heard(self, request: socket.socket) -> None:
        """The request is there; how long its answer may take is the connection's own timeout."""
        with self._changing:
            self._connections[request] = math.inf

    def hang_up(self, late_at: float = math.inf) -> None:
        """End the connections whose request should have been there before ``late_at``."""
        with self._changing:
            for connection, due in self._connections.items():
                if due <= late_at:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = LONGEST_REQUEST_S
    server_version, sys_version = "edgead", ""

    def log_message(self, *_: Any) -> None:
        """The log is for what people should know."""

    def do_GET(self) -> None:
        self.server.heard(self.request)
        if not self._admitted():
            return
        try:
            parts = urlsplit(self.path)
        except ValueError:
            self._send(400, TEXT, b"that is not an address\n")
            return
        if not self.server.access.knows(self.headers, self._port()):
            if parts.path == "/":
                self._send(401, HTML, TOKEN_PAGE.encode())
            else:
                self._send(401, TEXT, b"the token is missing: open the page and give it\n")
            return
        board, query = self.server.board, parse_qs(parts.query)
        if parts.path == "/":
            self._send(200, HTML, PAGE.encode())
        elif parts.path == "/state":
            after = query.get("after", ["-1"])[0]
            number = int(after) if re.fullmatch(r"-?\d{1,18}", after) else -1
            self._send_json(200, board.state(number))
        elif parts.path == "/frame.jpg":
            picture = board.picture(heatmap=query.get("heatmap") != ["0"])
            if picture is None:
                self._send(404, TEXT, b"no frame was scored yet\n")
            else:
                self._send(200, "image/jpeg", picture)
        else:
            self._send(404, TEXT, b"there is no such page\n")

    def do_POST(self) -> None:
        if not self._admitted():
            return
        body = self._body()
        if body is None:
            return
        if self.path == "/token":
            self._take_token(body)
        elif not self.server.access.knows(self.headers, self._port()):
            self._send(401, TEXT, b"the token is missing: open the page and give it\n")
        elif self.path == "/rate":
            self._take_rate(body)
        else:
            self._send(404, TEXT, b"there is no such page\n")

    def _admitted(self) -> bool:
        if self.server.access.is_ours(self.headers):
            return True
        self._send(403, TEXT, b"another site asked: open the page by its address or host name\n")
        return False

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length") or ""
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > MOST_BYTES:
            self._send(413, TEXT, f"expected up to {MOST_BYTES} bytes\n".encode())
            return None
        body = self.rfile.read(int(length))
        self.server.heard(self.request)
        return body

    def _take_token(self, body: bytes) -> None:
        word = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        if not self.server.access.is_token(word):
            self.server.say("refuse", f"a wrong token from {self.client_address[0]}")
            self._send(401, HTML, TOKEN_PAGE.encode())
            return
        self.send_response(303)
        self.send_header("Set-Cookie", self.server.access.cookie(self._port()))
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def _take_rate(self, body: bytes) -> None:
        # A form of another site cannot send JSON; a browser asks before its script may.
        if self.headers.get_content_type() != JSON:
            self._send(415, TEXT, f"expected {JSON}\n".encode())
            return
        try:
            rate = json.loads(body)["rate"]
            if isinstance(rate, bool) or not isinstance(rate, int | float):
                raise TypeError
            rate = float(rate)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self._send_json(400, {"error": 'expected {"rate": 0.05}'})
            return
        try:
            threshold = self.server.board.set_rate(rate)
        except CalibrationError as error:
            self._send_json(422, {"error": str(error)})
            return
        self.server.say(
            "rate",
            f"{100 * rate:.3g} %, threshold {threshold:.5g}: set by {self.client_address[0]}",
        )
        self._send_json(200, {"false_reject_rate": rate, "threshold": threshold})

    def _port(self) -> int:
        return int(self.server.server_address[1])

    def _send_json(self, code: int, value: Any) -> None:
        self._send(code, JSON, json.dumps(value, allow_nan=False).encode())

    def _send(self, code: int, kind: str, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        policy = _policy(data.decode()) if kind == HTML else "default-src 'none'"
        self.send_header("Content-Security-Policy", f"{policy}; frame-ancestors 'none'")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write(data)


def _policy(page: str) -> str:
    """Only what is written in the page runs, by its digest; it talks to nobody else."""
    allowed = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        or "'none'"
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        f"img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'"
    )


def _open(address: Address, access: Access, say: Callable[[str, str], None]) -> _Server:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(family, (str(place[0]), int(place[1])), access, say)
    except socket.gaierror as error:
        raise InputError(f"--serve {address.host}: there is no such address or name") from error
    except OSError as error:
        where = f"{address.host}:{address.port}"
        match error.errno:
            case errno.EADDRINUSE:
                cure = f"is in use by another program: take another port, {address.port + 1} or so"
            case errno.EADDRNOTAVAIL:
                cure = "is not an address of this machine: take one of ip addr, or 127.0.0.1"
            case errno.EACCES:
                cure = "needs more rights: take a port from 1024 up"
            case _:
                cure = f"cannot be served: {error.strerror}"
        raise DeviceError(f"--serve {where} {cure}") from error
