"""A sink that serves the latest verdict of each camera to clients that ask, in its own thread."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgead.errors import DeviceError
from edgead.files import in_words, os_sentence
from edgead.live.sinks.interface import SinkState
from edgead.records.lines import Line


@dataclass(frozen=True)
class Shown:
    """What is shown of a camera.

    Args:
        record: the latest; None before the first.
        verdict: the latest record that is no error; None before the first.
        health: what is wrong with the camera.
        verdicts, anomalous, errors: records since the start of the process.
    """

    record: Line | None = None
    verdict: Line | None = None
    health: tuple[str, ...] = ()
    verdicts: int = 0
    anomalous: int = 0
    errors: int = 0


class Served(ABC):
    """Serves at ``host``:``port``; see ``Sink``.

    Args:
        name: of the sink.
        host, port: where.
    """

    def __init__(self, name: str, host: str, port: int) -> None:
        self._name, self._host, self._port = name, host, port
        self._guard = threading.Lock()
        self._shown: dict[str, Shown] = {}
        self._changed: set[str] = set()
        self._delivered = 0
        self._why: str | None = "not open yet"
        self._begun = threading.Event()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)

    @abstractmethod
    async def begin(self) -> None:
        """Listen; raises what is wrong."""

    @abstractmethod
    async def show(self, camera: str, shown: Shown) -> None:
        """Show this of a camera from now on."""

    @abstractmethod
    async def end(self) -> None:
        """Listen no more."""

    def check(self) -> str | None:
        """Whether the port is free; see ``Sink``."""
        return port_trouble(self._host, self._port)

    def open(self) -> None:
        """Listen; see ``Sink``."""
        if (why := self.check()) is not None:
            raise DeviceError(f"[sink.{self._name}] {why}")
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            why = in_words(self._failure)
            raise DeviceError(f"[sink.{self._name}] {self._where}: {why}") from self._failure
        self._why = None

    def send(self, record: Line) -> None:
        """Show a record; see ``Sink``."""
        with self._guard:
            before = self._shown.get(record["camera"], Shown())
            if "error" in record:
                shown = replace(before, record=record, errors=before.errors + 1)
            else:
                shown = replace(
                    before,
                    record=record,
                    verdict=record,
                    verdicts=before.verdicts + 1,
                    anomalous=before.anomalous + bool(record["is_anomalous"]),
                )
            self._note(record["camera"], shown)
            self._delivered += 1

    def report(self, camera: str, health: Sequence[str]) -> None:
        """Show the health of a camera; see ``Sink``."""
        with self._guard:
            self._note(camera, replace(self._shown.get(camera, Shown()), health=tuple(health)))

    def state(self) -> SinkState:
        """How it fares; see ``Sink``."""
        return SinkState(self._why is None, self._why, delivered=self._delivered)

    def close(self) -> None:
        """Listen no more; see ``Sink``."""
        if self._loop is None:
            return
        self._closing = True
        self._wake()
        self._thread.join()
        self._loop = None

    @property
    def _where(self) -> str:
        return f"{self._host}:{self._port}"

    def _note(self, camera: str, shown: Shown) -> None:
        self._shown[camera] = shown
        self._changed.add(camera)
        self._wake()

    def _wake(self) -> None:
        loop, news = self._loop, self._news
        if loop is not None and news is not None and not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._why, self._failure = in_words(error), error
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        await self.begin()
        self._begun.set()
        try:
            while not self._closing:
                with self._guard:
                    changed = {camera: self._shown[camera] for camera in self._changed}
                    self._changed.clear()
                for camera, shown in changed.items():
                    await self._show(camera, shown)
                await self._news.wait()
                self._news.clear()
        finally:
            await self.end()

    async def _show(self, camera: str, shown: Shown) -> None:
        """Show it; what cannot be shown does not stop what comes next."""
        try:
            await self.show(camera, shown)
            self._why = None
        except Exception as error:
            self._why = f"a verdict of {camera} cannot be shown: {in_words(error)}"


def port_trouble(host: str, port: int) -> str | None:
    """Why nothing can listen at ``host``:``port``, with the cure; None where it can."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
            trial.listen(1)
    except socket.gaierror:
        return f"host = {host!r}: there is no such address or name"
    except OSError as error:
        cures = {
            errno.EADDRINUSE: f"port = {port} is in use by another program: take another one",
            errno.EADDRNOTAVAIL: f"host = {host!r} is not an address of this machine: see ip addr",
            errno.EACCES: f"port = {port} needs more rights: take one from 1024 up, or give the "
            "unit CAP_NET_BIND_SERVICE",
        }
        return cures.get(error.errno or 0, f"{host}:{port}: {os_sentence(error)}")
    return None
