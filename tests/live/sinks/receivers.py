"""A broker that can be killed and comes back, what listens to it, and certificates."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

LONGEST_S = 60  # of anything that is waited for: only a defect takes so long


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def eventually(holds: Callable[[], Any], why: Callable[[], object] = lambda: "") -> Any:
    """What ``holds()`` gives as soon as it is true."""
    give_up = time.monotonic() + LONGEST_S
    while not (found := holds()):
        assert time.monotonic() < give_up, f"waited for {LONGEST_S} s: {why()}"
        time.sleep(0.005)
    return found


def a_record(frame: int, camera: str = "left", run: str = "0123456789abcdef", **more: Any) -> dict:
    """A line of ``edgead watch`` with ``id`` and ``camera``, as a loop would make it."""
    return {
        "id": f"{camera}-{run}-{frame}",
        "camera": camera,
        "frame": frame,
        "captured": f"2026-11-30T10:{frame // 60 % 60:02d}:{frame % 60:02d}.250Z",
        "latency_ms": 31.5,
        "queue_age_ms": 0.25,
        "score": 1.5 + frame / 1000,
        "p_value": 0.25,
        "is_anomalous": frame % 5 == 3,
        "threshold": 2.0,
        "regions": [],
        "timings_ms": {"preprocess": 0.5, "engine": 25.0, "anomaly_map": 1.0, "total": 26.5},
        "region_count": 0,
        "health": [],
        **more,
    }


class Broker:
    """Debian's mosquitto on a port of this machine; what it keeps outlives ``stop``."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._config = folder / "mosquitto.conf"
        common = [
            "user root",
            "max_queued_messages 0",
            "persistence true",
            f"persistence_location {folder}/",
        ]
        text = [f"listener {self.port} 127.0.0.1", *(lines or ["allow_anonymous true"]), *common]
        self._config.write_text("\n".join([*text, ""]))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Until it takes connections."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", self._config], stdout=log, stderr=log
            )

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

        eventually(listens, (self.folder / "log").read_text)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; SIGTERM lets it save what it promised to durable listeners."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


class Listener:
    """Hears all topics, also what came while the broker was away: its session is durable."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, bytes, bool]] = []
        self._subscribed = threading.Event()
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False
        )
        if login:
            client.username_pw_set(**login)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload, m.retain))
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert self._subscribed.wait(LONGEST_S)

    def records(self, camera: str = "left", topic: str = "edgead") -> list[dict[str, Any]]:
        """The verdicts of a camera, in the order in which they came."""
        name = f"{topic}/{camera}/verdict"
        return [json.loads(data) for where, data, _ in list(self.messages) if where == name]

    def latest(self, topic: str) -> bytes | None:
        """The payload that came last."""
        found = [data for where, data, _ in list(self.messages) if where == topic]
        return found[-1] if found else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def unique(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the doubles, as a receiver would drop them: by id, the first counts."""
    return list({record["id"]: record for record in reversed(records)}.values())[::-1]


class Certificates:
    """An authority and what it signs, in PEM files below ``folder``."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = self._write("authority", self._key, self._key, days=(-1000, 1000))[0]

    def sign(self, name: str, days: tuple[int, int] = (-1, 1), host: str = "127.0.0.1"):
        """(certificate, key) of ``host``, valid from and until so many days from now."""
        from cryptography.hazmat.primitives.asymmetric import ec

        return self._write(name, ec.generate_private_key(ec.SECP256R1()), self._key, days, host)

    def _write(self, name: str, own: Any, signing: Any, days: tuple[int, int], host: str = ""):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        now = datetime.now(timezone.utc)
        named = [
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)])
            for each in (name, "authority")
        ]
        made = (
            x509.CertificateBuilder()
            .subject_name(named[0])
            .issuer_name(named[1])
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days[0]))
            .not_valid_after(now + timedelta(days[1]))
            .add_extension(x509.BasicConstraints(ca=not host, path_length=None), critical=True)
        )
        if host:
            with contextlib.suppress(ValueError):
                host_name = x509.IPAddress(ipaddress.ip_address(host))
                made = made.add_extension(x509.SubjectAlternativeName([host_name]), False)
        pem = serialization.Encoding.PEM
        key = own.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(made.sign(signing, hashes.SHA256()).public_bytes(pem))
        files[1].write_bytes(key)
        return str(files[0]), str(files[1])
