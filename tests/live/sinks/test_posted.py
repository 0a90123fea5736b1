"""The webhook and JSON lines: what a receiver gets, and what becomes of what it does not take."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading

import pytest
from receivers import a_record, eventually, free_port, unique

from edgead.errors import DeviceError, InputError
from edgead.live.sinks.table import SettingsError


class Receiver:
    """An HTTP server that answers with ``statuses`` in turn, then with 200; an event among them
    is waited for."""

    def __init__(self, statuses=(), context=None):
        self.posted, self.headers, self.statuses = [], [], list(statuses)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if isinstance(status, threading.Event):
                    status.wait()
                    status = 200
                if status == 200:
                    receiver.posted.append(json.loads(body))
                receiver.headers.append(dict(self.headers))
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/verdicts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(monkeypatch):
    """``receiver(…)``: a Receiver; retries come at once."""
    pytest.importorskip("urllib3")
    monkeypatch.setattr("edgead.live.sinks.sender.FIRST_DELAY_S", 0.01)
    monkeypatch.setattr("edgead.live.sinks.sender.LONGEST_DELAY_S", 0.02)
    started = []

    def start(*words, **options):
        started.append(Receiver(*words, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def hook(sinks, tmp_path):
    """``hook(url, …)``: a webhook."""
    spool = str(tmp_path / "spool")
    return lambda url, **more: sinks("webhook", url=url, spool=spool, **more)


def test_each_record_is_posted_in_order_with_its_id_and_the_token(receiver, hook, tmp_path):
    (tmp_path / "token").write_text("t0ken\n")
    mes = receiver()
    sink = hook(mes.url, token_file=str(tmp_path / "token"))
    for number in range(20):
        sink.send(a_record(number))
    eventually(lambda: sink.state().delivered == 20, sink.state)
    assert mes.posted == [a_record(number) for number in range(20)]
    for headers, record in zip(mes.headers, mes.posted, strict=True):
        assert headers["Idempotency-Key"] == record["id"]
        assert headers["Authorization"] == "Bearer t0ken"
        assert headers["Content-Type"] == "application/json"
    assert sink.state().queued == 0 and sink.state().why is None


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "see the receiver's log"), (401, "check token_file"), (404, "check the path of url"),
     (302, "it sends elsewhere")],
)  # fmt: skip
def test_any_other_answer_is_said_and_tried_again_until_all_arrived_in_order(
    receiver, hook, status, words
):
    mes = receiver([200, *[status] * 3, 200, 200, status])
    sink, whys = hook(mes.url), set()
    for number in range(6):
        sink.send(a_record(number))

    def arrived():
        whys.add(sink.state().why)
        return sink.state().delivered == 6

    eventually(arrived, sink.state)
    assert mes.posted == [a_record(number) for number in range(6)]
    assert any(f"answers {status}" in why and words in why for why in whys if why)


def test_a_receiver_that_is_away_gets_all_later_also_from_the_next_process(
    receiver, hook, tmp_path
):
    port = free_port()
    sink = hook(f"http://127.0.0.1:{port}/")
    for number in range(5):
        sink.send(a_record(number))
    assert "refuses connections: is it running" in eventually(
        lambda: "refuses" in (sink.state().why or "") and sink.state().why, sink.state
    )
    assert "refuses connections" in sink.check()
    sink.close()
    mes = receiver()
    again = hook(mes.url)
    assert again.check() is None
    again.send(a_record(5))
    eventually(lambda: again.state().queued == 0, again.state)
    assert unique(mes.posted) == [a_record(number) for number in range(6)]


def test_a_receiver_that_does_not_answer_does_not_hold_the_end(receiver, hook, monkeypatch):
    monkeypatch.setattr("edgead.live.sinks.sender.LEAVE_S", 0.1)
    answer = threading.Event()
    mes = receiver([answer])
    sink = hook(mes.url, timeout_s=600)
    sink.send(a_record(0))
    eventually(lambda: not mes.statuses)  # it has the record
    ending = threading.Thread(target=sink.close, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
    again = hook(mes.url)
    eventually(lambda: again.state().delivered == 1, again.state)
    answer.set()
    sink._thread.join(60)
    assert not sink._thread.is_alive() and unique(mes.posted) == [a_record(0)]


def test_tls_is_checked_and_an_expired_certificate_named(receiver, hook, certificates):
    def serve(days):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificates.sign("mes", days))
        return receiver(context=context)

    trusted = {"ca_file": certificates.ca}
    sink = hook(serve((-1, 1)).url, **trusted)
    sink.send(a_record(0))
    eventually(lambda: sink.state().delivered, sink.state)
    sink.close()
    old = serve((-20, -10))
    sink = hook(old.url, **trusted)
    sink.send(a_record(1))
    why = eventually(lambda: "expired" in (sink.state().why or "") and sink.state().why)
    assert "the certificate of the receiver 127.0.0.1" in why and "renew it" in why
    assert sink.check() == why
    sink.close()
    assert "is not trusted" in hook(serve((-1, 1)).url).check()
    assert old.posted == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "mes.local/x"}, "url is no address: expected http://HOST/PATH"),
        ({"url": "http://me:s3cret@mes.local/"}, "url holds a login: give token_file or token_env"),
        ({"url": "http://mes.local/", "tls": True}, "beside certificates: expected https"),
        ({"url": "http://mes.local/", "token": "s3cret"}, "token is not taken from here"),
        ({"url": "http://mes.local:99999/"}, "url is no address"),
    ],
)
def test_a_wrong_key_of_a_webhook_is_named_without_what_is_secret(sinks, tmp_path, wrong, words):
    pytest.importorskip("urllib3")
    with pytest.raises(SettingsError) as caught:
        sinks("webhook", opened=False, spool=str(tmp_path / "spool"), **wrong)
    assert words in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["s3cret\n\n", "s3cr\u20act", "s3\x07cret"])
def test_a_token_that_no_header_takes_is_refused_and_not_shown(sinks, tmp_path, monkeypatch, token):
    pytest.importorskip("urllib3")
    (tmp_path / "token").write_text(token)
    monkeypatch.setenv("TOKEN", token)
    for key, value in (("token_file", str(tmp_path / "token")), ("token_env", "TOKEN")):
        more = {"url": "http://mes.local/", "spool": str(tmp_path / "spool"), key: value}
        with pytest.raises(
            SettingsError, match=f"{key} has a token with .*printable ASCII"
        ) as said:
            sinks("webhook", opened=False, **more)
        assert "s3" not in str(said.value)


def test_json_lines_are_appended_and_a_broken_one_is_removed(sinks, tmp_path):
    path = tmp_path / "verdicts.jsonl"
    lines = [json.dumps(a_record(number)) for number in range(4)]
    path.write_text(lines[0] + "\n" + lines[1][:40])  # the power failed here
    sink = sinks("jsonl", path=str(path))
    for number in (2, 3):
        sink.send(a_record(number))
    assert path.read_text() == f"{lines[0]}\n{lines[2]}\n{lines[3]}\n"
    assert sink.state().delivered == 2


def test_json_lines_on_a_full_disk_are_counted_and_none_is_there_in_part(
    sinks, tmp_path, monkeypatch
):
    sink = sinks("jsonl", path=str(tmp_path / "verdicts.jsonl"))
    sink.send(a_record(0))
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:100]))
    sink.send(a_record(1))
    assert sink.state().dropped == 1 and "no space left on the disk" in sink.state().why
    monkeypatch.undo()
    sink.send(a_record(2))
    assert sink.state().why is None
    found = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert found == [a_record(0), a_record(2)]


def test_a_file_of_json_lines_has_one_process_and_is_no_other_file(sinks, tmp_path):
    path = tmp_path / "verdicts.jsonl"
    sinks("jsonl", path=str(path))
    code = (
        "import sys; from edgead.live.sinks.interface import load\n"
        "load('hall', {'kind': 'jsonl', 'path': sys.argv[1]}).open()"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "another edgead writes to" in done.stderr
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InputError, match="does not end with a line of JSON: choose another file"):
        sinks("jsonl", path=str(tmp_path / "notes"))
    assert (tmp_path / "notes").read_text() == "mine"
    os.mkfifo(tmp_path / "pipe")
    for wrong, kind in ((tmp_path / "pipe", InputError), (tmp_path, DeviceError)):
        with pytest.raises(kind, match=r"not a file|is a folder"):
            sinks("jsonl", path=str(wrong))
    missing = sinks("jsonl", opened=False, path=str(tmp_path / "none" / "x"))
    assert "does not exist: make it" in missing.check()
