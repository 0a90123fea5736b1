"""Webhook: each verdict as the body of a POST, in order, until the receiver answers with 2xx."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from edgead.live.sinks.sender import Sender, SpoolSettings
from edgead.live.sinks.table import Table
from edgead.live.sinks.tls import TLSSettings, in_network_words

TIMEOUT_S = 10.0
AT_ONCE = 50
"""Records that are read from the spool at a time; one is on its way."""


class WebhookSink(Sender):
    """Posts to a URL; see the module's docstring.

    Args:
        name: of the sink.
        url: http or https.
        token: sent as ``Authorization: Bearer``; None for none.
        timeout_s: until a receiver that does not answer is given up, and tried again.
        tls: for https.
        spool: where records wait.
    """

    def __init__(
        self,
        name: str,
        url: str,
        token: str | None,
        timeout_s: float,
        tls: TLSSettings,
        spool: SpoolSettings,
    ) -> None:
        super().__init__(name, spool)
        self._url, self._tls = url, tls
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._where = f"the receiver {self._host}:{self._port}"
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json", "User-Agent": "edgead"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool: urllib3.PoolManager | None = None

    @classmethod
    def from_settings(
        cls, name: str, settings: Mapping[str, Any], folder: Path = Path()
    ) -> WebhookSink:
        """See ``Sink``."""
        table = Table(f"sink.{name}", settings, folder)
        url = table.text("url", example="https://mes.local/verdicts")
        tls = TLSSettings.read(table)
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            good = False
        if not good:
            raise table.wrong("url", "is no address: expected http://HOST/PATH or https://…")
        if parts.username is not None or parts.password is not None:
            raise table.wrong("url", "holds a login: give token_file or token_env instead")
        if tls.on and parts.scheme != "https":
            raise table.wrong("url", f"= {url!r} beside certificates: expected https://…")
        token = table.secret("token")
        if token is not None and not (token.isascii() and token.isprintable()):
            # Refused here: the library that sends it would say what it is, in the log.
            key = "token_file" if table.has("token_file") else "token_env"
            raise table.wrong(key, "has a token with a line break, or another character that no "
                              "header takes: expected printable ASCII")  # fmt: skip
        timeout_s = table.number("timeout_s", TIMEOUT_S, 0.1, 600)
        made = cls(name, url, token, timeout_s, tls, SpoolSettings.read(table))
        table.end()
        return made

    def check(self) -> str | None:
        """Whether a connection is accepted; nothing is posted. See ``Sink``."""
        if (why := self._tls.expired()) is not None:
            return why
        try:
            kind = urllib3.connection.HTTPConnection
            more: dict[str, Any] = {}
            if self._url.startswith("https:"):
                kind, more = urllib3.connection.HTTPSConnection, {"ssl_context": self._context()}
            connection = kind(self._host, self._port, timeout=self._timeout_s, **more)
            try:
                connection.connect()
            finally:
                connection.close()
        except (OSError, urllib3.exceptions.HTTPError) as error:
            return in_network_words(_cause(error), self._where)
        return None

    def report(self, camera: str, health: Sequence[str]) -> None:
        """The health of a camera is in its records; see ``Sink``."""

    def connect(self) -> str | None:
        """Make ready; the first record shows whether the receiver is there."""
        context = self._context() if self._url.startswith("https:") else None
        self._pool = urllib3.PoolManager(ssl_context=context, retries=False)
        return self._tls.expired()

    def deliver(self) -> str | None:
        """Post what waits, one record after the other."""
        while items := self.spool.take(AT_ONCE):
            for item in items:
                if self._closing.is_set():
                    return None
                if (why := self._post(item.record)) is not None:
                    return why
                self.confirmed([item.number])
        return None

    def disconnect(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.clear()

    def _post(self, record: bytes) -> str | None:
        assert self._pool is not None
        headers = {**self._headers, "Idempotency-Key": json.loads(record)["id"]}
        try:
            answer = self._pool.request(
                "POST",
                self._url,
                body=record,
                headers=headers,
                timeout=self._timeout_s,
                redirect=False,
            )
        except (OSError, urllib3.exceptions.HTTPError) as error:
            return in_network_words(_cause(error), self._where)
        if 200 <= answer.status < 300:
            return None
        cure = {
            401: "check token_file and token_env",
            403: "check token_file, token_env and the receiver's rights",
            404: "check the path of url",
        }.get(answer.status, "see the receiver's log")
        if 300 <= answer.status < 400:
            cure = "it sends elsewhere: give that address as url"
        return f"{self._where} answers {answer.status} {answer.reason or ''}: {cure}"

    def _context(self) -> ssl.SSLContext:
        return self._tls.context()


def _cause(error: Exception) -> Exception:
    """What the network said, within what urllib3 made of it."""
    inner = error.__cause__ or error.__context__ or (error.args[-1] if error.args else None)
    if isinstance(inner, Exception) and inner is not error:
        return _cause(inner)
    return TimeoutError() if isinstance(error, urllib3.exceptions.TimeoutError) else error
