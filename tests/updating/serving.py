"""A server of static files, with ranges, that can be told to misbehave."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


class Server:
    """Serves a folder on a free port.

    ``cut``: name -> bytes after which the connection ends, once each. ``more``: names of files
    after which more is sent than was said. ``said``: name -> another Content-Length. ``endless``:
    names that are sent without a length. ``down``: answers 503. ``ranges``: whether parts are sent.
    ``asked``: (name, Range) of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut: dict[str, int] = {}
        self.more: set[str] = set()
        self.said: dict[str, int] = {}
        self.endless: set[str] = set()
        self.down = 0
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = unquote(handler.path).lstrip("/")
        path, wish = self.folder / name, handler.headers.get("Range")
        short = name.partition("/")[2]
        self.asked.append((short, wish))
        if self.down:
            self.down -= 1
            handler.send_error(503)
            return
        if not path.is_file():
            handler.send_error(404)
            return
        data = path.read_bytes()
        start = 0
        if wish and self.ranges:
            start = int(wish.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            handler.send_response(200)
        body = data[start:]
        if short not in self.endless:
            handler.send_header("Content-Length", str(self.said.get(short, len(body))))
        handler.end_headers()
        if short in self.cut:
            body = body[: self.cut.pop(short)]
        if short in self.more:
            body += b"more than was said" * 10
        handler.wfile.write(body)
