"""Who may look at the page and move its slider."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from edgead.errors import InputError, printable, shortened

TOKEN_VARIABLE = "EDGEAD_TOKEN"
HOSTS_VARIABLE = "EDGEAD_ALLOW_HOST"
SHORTEST_TOKEN = 16
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.ASCII)
_HOST_HEADER = re.compile(r"(\[[^\[\]@/?#]+\]|[^\[\]@/?#:]+)(:[0-9]*)?", re.ASCII)


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
    if not known or not _can_be_host(host) or (":" in host and not _is_number(host)):
        raise InputError(
            f"--serve {shortened(text)}: expected HOST:PORT, for example 127.0.0.1:8080 or "
            "[::1]:8080"
        )
    return Address(host, int(port))


def allowed_hosts(
    given: Sequence[str], environment: Mapping[str, str] = os.environ
) -> frozenset[str]:
    """The names behind ``--allow-host`` and in EDGEAD_ALLOW_HOST, separated by blanks.

    Raises:
        InputError: one that is not the name of a host.
    """
    named = [("--allow-host", name) for name in given]
    named += [(HOSTS_VARIABLE, name) for name in environment.get(HOSTS_VARIABLE, "").split()]
    return frozenset(_host_name(*each) for each in named)


def _as_sent(name: str) -> str:
    """A name of a host as browsers send it, without the dot at its end."""
    name = name.lower().removesuffix(".")
    with contextlib.suppress(UnicodeError):
        name = name.encode("idna").decode()
    return name


def _host_name(where: str, text: str) -> str:
    name = _as_sent(text)
    if not _HOST.fullmatch(name):
        raise InputError(
            f"{where} {printable(shortened(text)) or repr('')}: expected the name of a host, as "
            "line3.local, without a port; each name is allowed by itself, wildcards are not"
        )
    return name


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

    Args:
        address: where the page is.
        hosts: further names under which it may be asked for, lower case.
        environment: has EDGEAD_TOKEN, or not.

    Raises:
        InputError: an EDGEAD_TOKEN that can be guessed, or that cannot be sent.
    """

    def __init__(
        self,
        address: Address,
        hosts: Iterable[str] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        given = _given_token(environment)
        open_to_all = is_loopback(address.host) and not given
        self.made = "" if given or open_to_all else secrets.token_urlsafe()
        self._token = given or self.made
        self._session = secrets.token_urlsafe()
        own = map(_as_sent, (address.host, socket.gethostname()))
        self._hosts = {"localhost", *own, *hosts}

    def cookie(self, port: int) -> str:
        """The Set-Cookie of a browser that gave the token. Ports share cookies: it has its own."""
        return f"edgead_{port}={self._session}; HttpOnly; SameSite=Strict; Path=/"

    def is_token(self, word: bytes) -> bool:
        """Whether ``word`` is the token in UTF-8, compared in constant time."""
        return bool(self._token) and hmac.compare_digest(word, self._token.encode())

    def is_authorized(self, request: Request, port: int) -> bool:
        """Whether no token is needed, or the request has the cookie or the token as Bearer."""
        if not self._token:
            return True
        # Starlette reads the bytes of a header as Latin-1.
        word = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.is_token(word.encode("latin-1", "replace")):
            return True
        session = request.cookies.get(f"edgead_{port}", "")
        return hmac.compare_digest(session.encode("utf-8", "replace"), self._session.encode())

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Why a request is not meant for this page, or comes from another site's; "" if it is fine.

        A site that makes its name point here (DNS rebinding) sends that name as Host; an address
        in numbers cannot be made to point elsewhere. Browsers name the page that asks in Origin.
        """
        host, origin = headers.get("Host", ""), headers.get("Origin")
        try:
            right = _HOST_HEADER.fullmatch(host)
            name = (urlsplit(f"//{host}").hostname or "").removesuffix(".") if right else ""
            if name not in self._hosts and not _is_number(name):
                shown = name if _HOST.fullmatch(name) else "NAME"
                return (
                    f"another site asked, or a browser that calls this machine {shown}: open the "
                    f"page by its address or host name, or start edgead watch with --allow-host "
                    f"{shown} (or {HOSTS_VARIABLE}={shown} in its environment)"
                )
            if origin is None or urlsplit(origin).netloc.lower() == host.lower():
                return ""
        except ValueError:
            pass
        return "another site asked: open the page by its address or host name"


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _given_token(environment: Mapping[str, str]) -> str:
    """The token of the environment, "" without one."""
    given = environment.get(TOKEN_VARIABLE)
    if given is None:
        return ""
    if not given.isprintable() or given != given.strip():  # bytes that are not UTF-8 are surrogates
        raise InputError(
            f"{TOKEN_VARIABLE} has control characters, blanks around it or bytes that are not "
            f"UTF-8: expected {SHORTEST_TOKEN} or more printable characters; unset it to have one "
            "made"
        )
    if len(given) < SHORTEST_TOKEN:
        raise InputError(
            f"{TOKEN_VARIABLE} has {len(given)} characters: expected {SHORTEST_TOKEN} or more; "
            f"unset it to have one made"
        )
    return given
