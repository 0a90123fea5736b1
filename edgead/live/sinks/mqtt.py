"""MQTT: every verdict to a broker, at least once and in order, and the health of each camera.

``TOPIC/CAMERA/verdict`` has the records, ``TOPIC/CAMERA/health`` (retained) what is wrong with the
camera, ``TOPIC/status`` (retained) ``online`` or, also by the last will, ``offline``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgead.files import os_sentence
from edgead.live.sinks.sender import Sender, SpoolSettings
from edgead.live.sinks.table import Table
from edgead.live.sinks.tls import TLSSettings, in_network_words
from edgead.live.source import Moment
from edgead.records.lines import to_json

PORT, TLS_PORT = 1883, 8883
WINDOW = 20
"""Messages on their way to the broker at once, where it does not ask for fewer."""
ANSWER_S = 10.0
"""How long the broker may take to accept a connection."""
LOOK_S = 0.1
ONLINE, OFFLINE = "online", "offline"
_CURES = {
    "Not authorized": "check user, password and the broker's rights",
    "Bad user name or password": "check user, password_file and password_env",
    "Unsupported protocol version": 'set version = "3.1.1"',
    "Client identifier not valid": "set client_id as the broker expects it",
}


@dataclass(frozen=True)
class MQTTSettings:
    """The keys of a table of kind ``mqtt``."""

    host: str
    port: int
    topic: str
    client_id: str
    version: str
    keepalive_s: int
    user: str | None
    password: str | None
    tls: TLSSettings

    @classmethod
    def read(cls, table: Table) -> MQTTSettings:
        """Take them from the table."""
        tls = TLSSettings.read(table)
        topic = table.text("topic", "edgead").strip("/")
        if not topic or set(topic) & set("+#"):
            raise table.wrong("topic", f"= {topic!r}: expected the beginning of a topic, as 'hall'")
        found = cls(
            host=table.text("host", example="127.0.0.1"),
            port=table.whole("port", TLS_PORT if tls.on else PORT, 1, 65535),
            topic=topic,
            client_id=table.optional("client_id") or "",
            version=table.choice("version", ("5", "3.1.1"), "5"),
            keepalive_s=table.whole("keepalive_s", 15, 1, 65535),
            user=table.optional("user"),
            password=table.secret("password"),
            tls=tls,
        )
        if found.password is not None and found.user is None:
            raise table.wrong("user", "is missing: a password goes with a user")
        return found


class MQTTSink(Sender):
    """Publishes to a broker with QoS 1; see the module's docstring.

    Args:
        name: of the sink.
        settings: the broker and how it is reached.
        spool: where records wait.
    """

    def __init__(self, name: str, settings: MQTTSettings, spool: SpoolSettings) -> None:
        super().__init__(name, spool)
        self._broker = settings
        self._where = f"the broker {settings.host}:{settings.port}"
        self._link: _Link | None = None
        self._health: dict[str, bytes] = {}  # by topic, the latest
        self._untold: set[str] = set()  # topics whose health is not published yet
        self._guard = threading.Lock()  # of the two above

    @classmethod
    def from_settings(
        cls, name: str, settings: Mapping[str, Any], folder: Path = Path()
    ) -> MQTTSink:
        """See ``Sink``."""
        table = Table(f"sink.{name}", settings, folder)
        made = cls(name, MQTTSettings.read(table), SpoolSettings.read(table))
        table.end()
        return made

    def check(self) -> str | None:
        """Whether the broker accepts a connection; see ``Sink``."""
        try:
            link = _Link(self._broker, self._where, self._news, will=False)
        except OSError as error:
            return os_sentence(error)
        try:
            return link.connect(self._closing)
        finally:
            link.close()

    def report(self, camera: str, health: Sequence[str]) -> None:
        """Publish what is wrong with a camera, retained."""
        topic = f"{self._broker.topic}/{camera}/health"
        payload = {"camera": camera, "ok": not health, "health": list(health)}
        with self._guard:
            self._health[topic] = to_json(payload)
            self._untold.add(topic)
        self._news.set()

    def connect(self) -> str | None:
        """Connect and say that edgead is there."""
        self._link = _Link(self._broker, self._where, self._news, will=True)
        if (why := self._link.connect(self._closing)) is not None:
            return why
        self._link.publish(f"{self._broker.topic}/status", ONLINE.encode(), retain=True)
        with self._guard:
            self._untold = set(self._health)
        return None

    def deliver(self) -> str | None:
        """Publish what waits, and take confirmations."""
        link = self._link
        assert link is not None
        while True:
            numbers, why = link.confirmed()
            self.confirmed(numbers)
            if why is not None:
                return why
            with self._guard:
                news = {topic: self._health[topic] for topic in sorted(self._untold)}
                self._untold.clear()
            for topic, payload in news.items():
                link.publish(topic, payload, retain=True)
            items = self.spool.take(link.room)
            for item in items:
                topic = f"{self._broker.topic}/{item.camera}/verdict"
                link.publish(topic, item.record, number=item.number)
            if not items and not numbers:
                return None

    def disconnect(self) -> None:
        """Say that edgead leaves, where the broker can still hear it."""
        link, self._link = self._link, None
        if link is not None:
            link.close(f"{self._broker.topic}/status")


class _Link:
    """One connection to the broker; a new one is made after a loss, so nothing goes twice in it."""

    def __init__(
        self, broker: MQTTSettings, where: str, news: threading.Event, *, will: bool
    ) -> None:
        self._broker, self._where, self._news = broker, where, news
        self._answered = threading.Event()
        self._lost: str | None = None  # why the connection is over
        self._log, self._window = "", WINDOW
        self._confirmed: deque[tuple[int, ReasonCode]] = deque()
        self._numbers: dict[int, int | None] = {}  # of a message -> of the record
        version = MQTTv5 if broker.version == "5" else MQTTv311
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=True if version == MQTTv311 else None,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # paho's own window, which knows no broker's wish
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls.on:
            client.tls_set_context(broker.tls.context())
        if will:
            client.will_set(f"{broker.topic}/status", OFFLINE, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_log = self._on_log

    @property
    def room(self) -> int:
        """How many more messages may be on their way."""
        return max(0, self._window - len(self._numbers))

    def connect(self, closing: threading.Event) -> str | None:
        """Connect and wait for the broker's answer; None, or why not."""
        broker = self._broker
        if broker.tls.on and (why := broker.tls.expired()) is not None:
            return why
        try:
            self._client.connect(broker.host, broker.port, broker.keepalive_s)
        except (OSError, ValueError) as error:
            return in_network_words(error, self._where)
        self._client.loop_start()
        give_up_s = Moment.now().monotonic_s + ANSWER_S
        while not self._answered.wait(LOOK_S):
            if closing.is_set() or Moment.now().monotonic_s > give_up_s:
                return f"{self._where} does not answer as a broker: check port and tls"
        return self._lost

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, number: int | None = None
    ) -> None:
        """Send with QoS 1; ``confirmed`` tells when ``number`` arrived."""
        message = self._client.publish(topic, payload, qos=1, retain=retain)
        self._numbers[message.mid] = number

    def confirmed(self) -> tuple[list[int], str | None]:
        """Numbers of the records that arrived, and why the connection is over, if it is."""
        found = []
        while self._confirmed:
            message, code = self._confirmed.popleft()
            number = self._numbers.pop(message, None)
            if code.is_failure:  # of MQTT 5: accepted by the connection, refused by the broker
                self._lost = f"{self._where} refuses a record: {_with_cure(code)}"
            elif number is not None:
                found.append(number)
        return found, self._lost

    def close(self, status: str | None = None) -> None:
        """End the connection; the network's thread ends too."""
        if status is not None and self._lost is None and self._client.is_connected():
            self._client.publish(status, OFFLINE, qos=1, retain=True).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, _: Any, flags: Any, code: ReasonCode, properties: Any
    ) -> None:
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        if code.is_failure:
            self._lost = f"{self._where} refuses the connection: {_with_cure(code)}"
        self._answered.set()
        self._news.set()

    def _on_disconnect(
        self, client: Client, _: Any, flags: Any, code: ReasonCode, *more: Any
    ) -> None:
        if self._lost is None:
            reason = self._log or str(code).lower()
            self._lost = f"{self._where} ended the connection ({reason})"
            if not self._answered.is_set():
                tls = self._broker.tls
                asks = ": it may ask for a certificate: give cert_file and key_file"
                cure = asks if tls.on and tls.cert_file is None else ": check port and tls"
                self._lost += cure
        self._answered.set()
        self._news.set()

    def _on_publish(self, client: Client, _: Any, message: int, code: ReasonCode, *m: Any) -> None:
        self._confirmed.append((message, code))
        self._news.set()

    def _on_log(self, client: Client, _: Any, level: int, text: str) -> None:
        if "failed to receive" in text or "failed to send" in text:
            self._log = text.partition(": ")[2]


def _with_cure(code: ReasonCode) -> str:
    name = str(code)
    return f"{name.lower()}: {_CURES.get(name, 'see the log of the broker')}"
