"""MQTT against Debian's mosquitto: what it hears, what it missed, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from receivers import a_record, eventually, free_port, unique

from edgead.live.sinks.table import SettingsError


@pytest.fixture
def settings(tmp_path):
    """``settings(broker)``: of a sink for it."""
    return lambda broker, **more: {
        "host": "127.0.0.1",
        "port": broker.port,
        "spool": str(tmp_path / "spool"),
        **more,
    }


def test_records_come_once_in_order_as_they_were_sent(broker, listen, sinks, settings):
    hall = broker()
    listener = listen(hall.port)
    sink = sinks("mqtt", **settings(hall))
    sent = {camera: [a_record(n, camera) for n in range(150)] for camera in ("left", "right")}
    for left, right in zip(*sent.values(), strict=True):
        sink.send(left)
        sink.send(right)
    for camera, records in sent.items():
        eventually(lambda c=camera: len(listener.records(c)) >= 150, sink.state)
        assert listener.records(camera) == records
    eventually(lambda: sink.state().queued == 0)
    assert sink.state().delivered == 300 and sink.state().why is None


def test_the_status_and_the_health_are_retained_and_the_will_tells_of_a_killed_process(
    broker, listen, settings, sinks
):
    hall = broker()
    sink = sinks("mqtt", **settings(hall))
    sink.report("left", ["too dark"])
    sink.report("left", [])
    sink.report("right", ["blurred"])
    sink.send(a_record(0))
    eventually(lambda: sink.state().delivered, sink.state)
    late = listen(hall.port)  # hears what is retained
    for camera, expected in (("left", []), ("right", ["blurred"])):
        found = eventually(lambda c=camera: late.latest(f"edgead/{c}/health"))
        assert json.loads(found) == {"camera": camera, "ok": not expected, "health": expected}
    assert eventually(lambda: late.latest("edgead/status")) == b"online"
    assert late.records() == []  # verdicts are not retained
    sink.close()
    eventually(lambda: late.latest("edgead/status") == b"offline")


def test_a_broker_that_is_away_and_comes_back_misses_nothing(broker, listen, sinks, settings):
    hall = broker()
    listener = listen(hall.port)
    sink = sinks("mqtt", **settings(hall))
    for number in range(100):
        sink.send(a_record(number))
    eventually(lambda: len(listener.records()) >= 20, sink.state)  # in the middle of them
    hall.stop()
    eventually(lambda: sink.state().why, sink.state)
    for number in range(100, 400):
        sink.send(a_record(number))
    assert not sink.state().reachable
    assert sink.state().queued >= 300
    assert "refuses connections" in eventually(
        lambda: "refuses" in (sink.state().why or "") and sink.state().why
    )
    hall.start()
    eventually(lambda: sink.state().queued == 0, sink.state)
    eventually(lambda: len(unique(listener.records())) == 400)
    assert unique(listener.records()) == [a_record(number) for number in range(400)]
    assert sink.state().why is None and sink.state().dropped == 0


CAMERA = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from receivers import a_record
from edgead.live.sinks.interface import load
sink = load("hall", json.loads(sys.argv[2]))
sink.open()
for number in range(int(sys.argv[3]), 100_000):
    record = a_record(number)
    sink.send(record)
    print(json.dumps(record), flush=True)
    time.sleep(0.001)
"""


def test_after_kill_9_every_record_that_was_printed_reaches_the_broker(
    broker, listen, sinks, settings, request
):
    """With the broker there, away, and away until the process is dead."""
    hall = broker()
    listener = listen(hall.port)
    given = json.dumps({"kind": "mqtt", **settings(hall)})
    printed = []
    for there in (True, False):
        words = [sys.executable, "-c", CAMERA, request.path.parent, given, str(len(printed))]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(100)]
            if not there:
                hall.stop()
            lines += [process.stdout.readline() for _ in range(100)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().split(b"\n")[:-1]
        printed += [json.loads(line) for line in lines]
        if there:
            eventually(lambda: listener.latest("edgead/status") == b"offline")  # the will
    hall.start()
    sink = sinks("mqtt", **settings(hall))
    eventually(lambda: sink.state().queued == 0 and sink.state().reachable, sink.state)
    ids = [record["id"] for record in printed]
    eventually(lambda: {*ids} <= {record["id"] for record in listener.records()})
    received = unique(listener.records())
    assert [record for record in received if record["id"] in ids] == unique(printed)
    assert received == sorted(received, key=lambda record: record["frame"])


def test_what_does_not_fit_into_the_spool_is_counted_and_the_latest_arrive(
    broker, listen, sinks, settings
):
    hall = broker()
    listener = listen(hall.port)
    hall.stop()
    sink = sinks("mqtt", **settings(hall, spool_mb=1))
    for number in range(1500):
        sink.send(a_record(number, note="x" * 500))
    dropped = sink.state().dropped
    assert 0 < dropped < 1500
    hall.start()
    eventually(lambda: sink.state().queued == 0, sink.state)
    numbers = list(range(dropped, 1500))
    eventually(lambda: len(unique(listener.records())) == len(numbers))
    assert [record["frame"] for record in unique(listener.records())] == numbers


def test_a_user_and_a_password_are_checked_and_never_shown(
    broker, sinks, settings, tmp_path, monkeypatch
):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "line", "s3cret"], check=True)
    hall = broker(f"password_file {passwords}", "allow_anonymous false")
    (tmp_path / "right").write_text("s3cret\n")
    monkeypatch.setenv("WRONG", "other s3cret")
    login = {"user": "line", "password_file": str(tmp_path / "right")}
    assert sinks("mqtt", opened=False, **settings(hall, **login)).check() is None
    for wrong in ({}, {"user": "line", "password_env": "WRONG"}):
        sink = sinks("mqtt", opened=False, **settings(hall, **wrong))
        why = sink.check()
        assert "refuses the connection: not authorized: check user, password" in why
        assert "s3cret" not in why
    wrong = sinks("mqtt", **settings(hall, user="line", password_env="WRONG"))
    wrong.send(a_record(0))
    assert "not authorized" in eventually(
        lambda: "authorized" in (wrong.state().why or "") and wrong.state().why
    )
    assert wrong.state().queued == 1
    old = sinks("mqtt", opened=False, **settings(hall, version="3.1.1", **login))
    assert old.check() is None


def test_a_topic_that_the_broker_refuses_is_said_and_nothing_is_lost(
    broker, sinks, settings, tmp_path
):
    (tmp_path / "rights").write_text("topic write edgead/status\n")
    hall = broker(f"acl_file {tmp_path / 'rights'}", "allow_anonymous true")
    sink = sinks("mqtt", **settings(hall))
    sink.send(a_record(0))
    assert "refuses a record: not authorized: check" in eventually(
        lambda: "record" in (sink.state().why or "") and sink.state().why
    )
    assert sink.state().queued == 1


@pytest.fixture
def tls_broker(broker, certificates):
    """``tls_broker(days, host)``: its certificate is of that host and time."""

    def start(days=(-1, 1), host="127.0.0.1", *more):
        cert, key = certificates.sign("broker", days, host)
        lines = [f"cafile {certificates.ca}", f"certfile {cert}", f"keyfile {key}", *more]
        return broker("allow_anonymous true", *lines)

    return start


def test_tls_checks_the_brokers_certificate_its_name_and_its_time(
    tls_broker, certificates, sinks, settings
):
    trusted = {"ca_file": certificates.ca}
    hall = tls_broker()
    sink = sinks("mqtt", **settings(hall, **trusted))
    sink.send(a_record(0))
    eventually(lambda: sink.state().delivered, sink.state)

    def check(hall, **more):
        return sinks("mqtt", opened=False, **settings(hall, **more)).check()

    assert "is not trusted" in check(hall, tls=True)
    assert "give its issuer as ca_file" in check(hall, tls=True)
    assert "ended the connection" in check(hall) and "check port and tls" in check(hall)
    expired = check(tls_broker((-20, -10)), **trusted)
    assert "the certificate of the broker 127.0.0.1" in expired and "has expired" in expired
    assert "not valid yet: this clock says" in check(tls_broker((10, 20)), **trusted)
    assert "of another host" in check(tls_broker(host="10.0.0.9"), **trusted)


def test_a_certificate_of_the_client_is_shown_and_one_that_expired_is_named(
    tls_broker, certificates, sinks, settings
):
    hall = tls_broker((-1, 1), "127.0.0.1", "require_certificate true")

    def check(*files):
        named = dict(zip(("ca_file", "cert_file", "key_file"), files, strict=False))
        return sinks("mqtt", opened=False, **settings(hall, **named)).check()

    assert check(certificates.ca, *certificates.sign("edgead")) is None
    assert "may ask for a certificate: give cert_file" in check(certificates.ca)
    why = check(certificates.ca, *certificates.sign("old", (-20, -10)))
    assert "old.crt expired on" in why and "renew it" in why


def test_a_broker_that_is_not_there_or_is_none_is_named(sinks, settings, tmp_path):
    spool = str(tmp_path / "spool")
    nowhere = sinks("mqtt", opened=False, host="127.0.0.1", port=free_port(), spool=spool)
    assert "refuses connections: is it running" in nowhere.check()
    unknown = sinks("mqtt", opened=False, host="no-such-host.invalid", spool=spool)
    assert "no-such-host.invalid:1883: host not found: " in unknown.check()
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"host": None}, "host is missing: expected a text, as '127.0.0.1'"),
        ({"spool": None}, "spool is missing"),
        ({"hots": "x"}, "hots is not a key here (did you mean host?)"),
        ({"port": 70000}, "port = 70000: expected a whole number from 1 to 65535"),
        ({"port": True}, "port = True: expected a whole number"),
        ({"topic": "a/#"}, "topic = 'a/#': expected the beginning of a topic"),
        ({"spool_mb": 0}, "spool_mb = 0: expected a number from 1"),
        ({"version": "4"}, "version = '4': expected one of 5, 3.1.1"),
        ({"password": "s3cret"}, "password is not taken from here, where many may read it"),
        ({"password_env": "NO_SUCH_VARIABLE"}, "that variable is not set"),
        ({"password_file": "nowhere"}, "nowhere does not exist"),
        ({"ca_file": __file__}, "expected a certificate in PEM"),
        ({"tls": False, "ca_file": "{ca}"}, "tls = false beside ca_file"),
        ({"cert_file": "{ca}"}, "key_file is missing"),
        ({"kind": "mqqt"}, "kind = 'mqqt' (did you mean mqtt?): expected one of"),
        ({"kind": None}, "kind is missing: expected one of"),
    ],
)
def test_a_wrong_key_is_named_with_its_cure(wrong, words, tmp_path, certificates):
    pytest.importorskip("paho.mqtt")
    from edgead.live.sinks.interface import load

    good = {"kind": "mqtt", "host": "127.0.0.1", "spool": str(tmp_path / "spool")}
    changed = {
        key: value.format(ca=certificates.ca) if isinstance(value, str) else value
        for key, value in {**good, **wrong}.items()
        if value is not None
    }
    with pytest.raises(SettingsError) as caught:
        load("hall", changed)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"[sink.hall] {caught.value.key}")
    assert "s3cret" not in str(caught.value)
    assert caught.value.key in {*wrong, "key_file"}
