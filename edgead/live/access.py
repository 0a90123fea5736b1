"""Who may look at the page and move its slider."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from edgead.errors import InputError, shortened

TOKEN_VARIABLE = "EDGEAD_TOKEN"
SHORTEST_TOKEN = 16


class Address(NamedTuple):
    """Where the page is served."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """``http://host:port/``."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


def parse_address(text: str) -> Address:
    """The address in ``HOST:PORT``, or ``PORT`` alone for 127.0.0.1.

    Raises:
        InputError: ``text`` is neither.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    known = re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65535
    if not known or not _can_be_host(host):
        raise InputError(
            f"--serve {shortened(text)}: expected HOST:PORT, for example 127.0.0.1:8080"
        )
    return Address(host, int(port))


def _can_be_host(name: str) -> bool:
    """Whether ``name`` can be asked for: no label of it is empty or longer than 63 characters."""
    try:
        return bool(name) and "\0" not in name and bool(name.encode("idna"))
    except UnicodeError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Access:
    """Judges requests by their headers.

    On loopback no token is asked for, unless the environment has EDGEAD_TOKEN; on any other
    address it always is. ``made`` is the token when it was made here, else "".

    Raises:
        InputError: an EDGEAD_TOKEN that can be guessed.
    """

    def __init__(self, address: Address, environment: Mapping[str, str] = os.environ) -> None:
        given = environment.get(TOKEN_VARIABLE, "")
        if given and len(given) < SHORTEST_TOKEN:
            raise InputError(
                f"{TOKEN_VARIABLE} has {len(given)} characters: expected {SHORTEST_TOKEN} or more; "
                f"unset it to have one made"
            )
        open_to_all = is_loopback(address.host) and not given
        self.made = "" if given or open_to_all else secrets.token_urlsafe()
        self._token = given or self.made
        self._session = secrets.token_urlsafe()
        self._hosts = {"localhost", address.host.lower(), socket.gethostname().lower()}

    def cookie(self, port: int) -> str:
        """The Set-Cookie of a browser that gave the token. Ports share cookies: it has its own."""
        return f"edgead_{port}={self._session}; HttpOnly; SameSite=Strict; Path=/"

    def is_token(self, word: str) -> bool:
        """Whether ``word`` is the token, compared in constant time."""
        return bool(self._token) and hmac.compare_digest(word.encode(), self._token.encode())

    def is_authorized(self, request: Request, port: int) -> bool:
        """Whether no token is needed, or the request has the cookie or the token as Bearer."""
        if not self._token:
            return True
        if self.is_token(request.headers.get("Authorization", "").removeprefix("Bearer ")):
            return True
        session = request.cookies.get(f"edgead_{port}", "")
        return hmac.compare_digest(session.encode(), self._session.encode())

    def is_same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the request is meant for this page and comes from no other site's.

        A site that makes its name point here (DNS rebinding) sends that name as Host; an address
        in numbers cannot be made to point elsewhere. Browsers name the page that asks in Origin.
        """
        host, origin = headers.get("Host", ""), headers.get("Origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name not in self._hosts:
                ipaddress.ip_address(name)
            return origin is None or urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False
