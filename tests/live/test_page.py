"""The page: what it shows, who may see it and move its slider, and that a browser can use it."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from datetime import datetime
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest

from edgead.errors import DeviceError, EdgeadError, InputError
from edgead.live import access as access_module
from edgead.live import server as module
from edgead.live.access import Access, Address, allowed_hosts, parse_address
from edgead.live.schedule import Schedule, parse_schedule
from edgead.live.server import PageServer
from edgead.live.source import Moment, Reading

TOKEN = "a token of 24 characters"


def test_the_state_before_the_first_verdict(page):
    state = page.state()
    assert (state["latest"], state["history"], state["p50_ms"]) == (None, [], None)
    assert (state["source"], state["bundle"]) == ("camera 7", "tiny")
    assert page.ask("/frame.jpg")[0] == 404


def test_the_state_has_the_latest_verdict_and_what_is_new(page, frames):
    page.feed(*frames[:4])
    state = page.state()
    assert [past["frame"] for past in state["history"]] == [0, 1, 2, 3]
    assert [past["frame"] for past in page.state(after=1)["history"]] == [2, 3]
    assert page.state(after="x")["history"] == state["history"]
    assert state["latest"]["frame"] == 3 and state["latest"]["is_anomalous"] is True
    assert state["history"][3]["score"] == page.detector.score(frames[3]).score
    anomalous = sum(page.detector.score(frame).is_anomalous for frame in frames[:4])
    assert (state["frames"], state["verdicts"], state["anomalous"]) == (4, 4, anomalous)
    assert state["idle_s"] >= 0
    assert state["p50_ms"] in [past["latency_ms"] for past in state["history"]]


def test_how_far_apart_verdicts_usually_are_says_when_one_is_late(page, frames):
    """A camera that is triggered every 10 s is not late after 3."""
    assert page.state()["usual_s"] is None
    page.feed(*frames[:4])
    page.board._heard_s.clear()
    page.board._heard_s.extend([0.0, 10.0, 20.0, 90.0, 100.0])  # a break moves no median
    assert page.state()["usual_s"] == 10
    page.board._heard_s.extend(100 + 0.1 * n for n in range(1, 25))
    assert page.state()["usual_s"] == pytest.approx(0.1), "the latest 20 count"


def test_outside_of_its_schedule_a_camera_is_not_missed(page, frames):
    page.feed(frames[0])
    now = datetime(2026, 11, 30, 12)
    for texts, idle in ((["08:00-13:00"], True), (["13:00-14:00"], False)):
        page.board.schedule = Schedule(parse_schedule(texts).spans, lambda: now)
        assert (page.state()["idle_s"] is not None) is idle


@pytest.mark.parametrize(
    ("query", "heatmap"), [("", True), ("?heatmap=1", True), ("?heatmap=0", False)]
)
def test_the_picture_is_the_latest_frame_with_or_without_its_heatmap(page, frames, query, heatmap):
    page.feed(frames[0])
    before = page.ask(f"/frame.jpg{query}")[2]
    assert page.ask(f"/frame.jpg{query}")[2] == before
    page.feed(frames[3])
    status, headers, data = page.ask(f"/frame.jpg{query}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
    overlay = page.detector.score(frames[3]).overlay()
    near, far = (overlay, frames[3]) if heatmap else (frames[3], overlay)
    assert np.abs(image - near).mean() < 6 < np.abs(image - far).mean()


def test_a_large_frame_is_shown_smaller(page, make_frame):
    page.feed(make_frame(1, (600, 2560)))
    image = cv2.imdecode(np.frombuffer(page.ask("/frame.jpg")[2], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (300, 1280, 3)
    data = page.ask("/frame.jpg?small=1")[2]
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (75, 320, 3)
    assert page.ask("/frame.jpg")[2] != data  # each is kept by itself


def test_the_history_is_bounded(page, frames, monkeypatch):
    page.feed(frames[0])
    line, result, _ = page.board._latest
    for number in range(1, 2000):
        page.board.hear({**line, "frame": number}, result)
    assert [past["frame"] for past in page.state()["history"]] == list(range(1400, 2000))


def test_the_slider_sets_the_rate_of_the_running_detector(page, frames):
    before = page.detector.threshold
    status, _, body = page.ask("/rate", json.dumps({"rate": 0.5}), Origin=f"http://{page.host}")
    assert status == 200
    assert page.detector.false_reject_rate == 0.5
    assert json.loads(body) == {"false_reject_rate": 0.5, "threshold": page.detector.threshold}
    assert page.detector.threshold < before
    page.feed(frames[1])
    assert page.state()["latest"]["threshold"] == page.detector.threshold
    assert page.log[-1][0] == "rate" and "set by 127.0.0.1" in page.log[-1][1]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"rate": 0.001}', 422, "the best possible is 0.025"),
        ('{"rate": 1}', 422, "expected a number between 0 and 1"),
        ('{"rate": NaN}', 422, "expected a number between 0 and 1"),
        ('{"rate": true}', 400, "expected"),
        ('{"rate": "0.5"}', 400, "expected"),
        ("[0.5]", 400, "expected"),
        ("0.5", 400, "expected"),
        ("{", 400, "expected"),
        ('{"rate": 1' + "0" * 400 + "}", 400, "expected"),
        ("[" * 4000, 400, "expected"),
        ("x" * 17_000, 413, "bytes"),
    ],
)
def test_a_rate_that_is_none_or_cannot_be_promised_changes_nothing(page, body, status, words):
    found, _, answer = page.ask("/rate", body)
    assert (found, page.detector.false_reject_rate) == (status, 0.05)
    assert words in answer.decode()


@pytest.mark.parametrize(
    ("request_line", "length", "status"),
    [
        ("GET http://[ HTTP/1.0", "0", 404),
        ("POST /rate HTTP/1.0", "9" * 5000, 400),
        ("POST /rate HTTP/1.0", "\u00b2", 400),
        ("POST /rate HTTP/1.0", "-1", 400),
    ],
)
def test_a_request_that_is_none_gets_an_answer(page, capfd, request_line, length, status):
    head = f"{request_line}\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", page.server.address.port)) as connection:
        connection.sendall(head.encode("latin-1"))
        assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
    page.server.close()
    assert capfd.readouterr().err == ""


def test_every_answer_forbids_caching_framing_and_foreign_content(page, frames):
    page.feed(frames[0])
    for path in ("/", "/state", "/frame.jpg", "/nothing"):
        status, headers, _ = page.ask(path)
        assert status == (404 if path == "/nothing" else 200)
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Access-Control-Allow-Origin"] is None


OTHERS = [
    {"Host": "evil.example"},  # DNS rebinding
    {"Host": "evil.example:{port}"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": ""},
    {"Host": "["},
    {"Origin": "http://evil.example"},  # another site's script or form
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", OTHERS)
@pytest.mark.parametrize("path", ["/", "/state", "/rate", "/token"])
def test_another_site_gets_nothing_and_moves_nothing(page, path, headers):
    headers = {k: v.format(port=page.server.address.port) for k, v in headers.items()}
    body = None if path in ("/", "/state") else '{"rate": 0.5}'
    status, _, answer = page.ask(path, body, **headers)
    assert status == 403 and b"another site asked" in answer
    assert page.detector.false_reject_rate == 0.05


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_what_a_form_can_send_without_asking_moves_nothing(page, kind):
    assert page.ask("/rate", '{"rate": 0.5}', Content_Type=kind)[0] == 415
    assert page.detector.false_reject_rate == 0.05


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost:9000", "[::1]:80", "10.0.0.7", "LOCALHOST."]
)
def test_the_own_names_are_known(page, host):
    assert page.ask("/state", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["x@localhost", "localhost/x", "localhost?x", "localhost#x", "localhost:x", "localhost:80:80",
     "::1", "[::1", "[localhost]", "[::1]x", "localhost,x", "evil.example@127.0.0.1", "127.1",
     "2130706433", "0x7f000001", ""],
)  # fmt: skip
def test_what_is_not_a_host_or_another_way_to_write_one_is_refused(page, host):
    assert page.ask("/state", Host=host)[0] == 403


@pytest.mark.parametrize("name", ["Line3.Local.", "BÜCHER.example", "line3"])
def test_the_name_that_is_served_is_known_however_it_is_written(name):
    access = Access(Address(name, 8080), environment={})
    sent = name.lower().removesuffix(".").replace("bücher", "xn--bcher-kva")
    for host in (sent, f"{sent}:8080", f"{sent.upper()}.:8080"):
        assert access.refusal({"Host": host}) == ""


def test_further_names_are_allowed_one_by_one_and_the_refusal_names_the_option(make_page):
    page = make_page(
        hosts=allowed_hosts(["Line3.local"], {"EDGEAD_ALLOW_HOST": "box bücher.example"})
    )
    for host in ("line3.local", "LINE3.local:9000", "line3.local.", "box", "xn--bcher-kva.example"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert page.ask("/state", **headers)[0] == 200, host
    for host in ("line4.local", "x.line3.local", "line3.local.evil.example", "local", "ox"):
        status, _, answer = page.ask("/state", Host=host)
        assert status == 403 and f"--allow-host {host} ".encode() in answer
    assert page.ask("/state", Host="line3.local", Origin="http://evil.example")[0] == 403
    status, _, answer = page.ask("/state", Host="<script>.local")
    assert status == 403 and b"<script>" not in answer and b"--allow-host NAME" in answer


@pytest.mark.parametrize(
    "name",
    ["", "*", "*.local", "a b", "line3:80", "http://line3", "-a", "a-", "a..b", "a/b", "\n",
     "\udce9", "x" * 64, ".".join(["abc"] * 64), "[::1]"],
)  # fmt: skip
def test_what_is_no_name_of_a_host_is_refused(name):
    with pytest.raises(InputError, match=r"--allow-host .*expected the name of a host") as caught:
        allowed_hosts([name], {})
    assert str(caught.value).isprintable()
    if name and not re.search(r"\s", name):  # blanks are between names there
        with pytest.raises(InputError, match=r"EDGEAD_ALLOW_HOST .*expected the name of a host"):
            allowed_hosts([], {"EDGEAD_ALLOW_HOST": f"fine {name}"})


def test_on_another_address_everything_asks_for_the_token(make_page, frames):
    page = make_page(host="0.0.0.0")
    page.feed(frames[0])
    token = re.fullmatch(r"http://0\.0\.0\.0:\d+/, token ([\w-]{43})", page.log[0][1])[1]
    for path, body in (("/state", None), ("/frame.jpg", None), ("/rate", '{"rate": 0.5}')):
        status, _, answer = page.ask(path, body)
        assert status == 401 and b"the token is missing" in answer
    status, _, answer = page.ask("/")
    assert status == 401 and b'name="token"' in answer and b"/state" not in answer
    assert page.detector.false_reject_rate == 0.05
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert b"That is not the token" not in answer
    status, headers, answer = page.ask("/token", "token=wrong", **form)
    assert (status, headers["Set-Cookie"]) == (401, None)
    assert b"That is not the token" in answer and b'name="token"' in answer
    status, headers, _ = page.ask("/token", f"token={token}", **form)
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert token not in cookie
    status, _, answer = page.ask("/", Cookie=cookie)
    assert status == 200 and token.encode() not in answer
    assert page.ask("/rate", '{"rate": 0.5}', Cookie=cookie)[0] == 200
    assert page.ask("/state", Cookie=cookie[:-1])[0] == 401
    assert page.ask("/state", Cookie="edgead=;;=")[0] == 401
    assert page.ask("/state", Authorization=f"Bearer {token}")[0] == 200
    assert page.ask("/state", Authorization="Bearer ")[0] == 401


def test_the_token_of_the_environment_counts_and_is_not_printed(make_page, monkeypatch, page):
    monkeypatch.setitem(os.environ, "EDGEAD_TOKEN", TOKEN)
    guarded = make_page()  # on loopback, too
    assert guarded.ask("/state")[0] == 401
    assert guarded.ask("/state", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert TOKEN not in str(guarded.log)
    monkeypatch.setitem(os.environ, "EDGEAD_TOKEN", "short")
    with pytest.raises(InputError, match="EDGEAD_TOKEN has 5 characters: expected 16 or more"):
        PageServer(Address("127.0.0.1", 0), print)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "has 0 characters"),
        ("x" * 15, "has 15 characters"),
        (os.fsdecode(b"caf\xe9 of 16 bytes and more"), "not UTF-8"),
        ("a token\nof two lines and more", "control characters"),
        ("a token with a \x7f in it", "control characters"),
        (" a token with a blank before", "blanks around it"),
    ],
)
def test_a_token_that_nobody_could_send_is_refused_at_the_start(monkeypatch, token, words):
    monkeypatch.setitem(os.environ, "EDGEAD_TOKEN", token)
    with pytest.raises(
        InputError, match=f"EDGEAD_TOKEN {'' if 'has' in words else 'has .*'}{words}"
    ):
        PageServer(Address("127.0.0.1", 0), print)


def test_a_token_may_be_any_text(make_page, monkeypatch):
    token = "Schlüssel für Linie 3 – 鍵"
    monkeypatch.setitem(os.environ, "EDGEAD_TOKEN", token)
    page = make_page()
    raw = f"Bearer {token}".encode().decode("latin-1")  # http.client sends Latin-1
    assert page.ask("/state", Authorization=raw)[0] == 200
    assert page.ask("/state", Authorization="Bearer \xff\xfe")[0] == 401
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    status, headers, _ = page.ask("/token", urlencode({"token": token}), **form)
    assert status == 303
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert page.ask("/state", Cookie=cookie)[0] == 200
    assert page.ask("/token", b"token=%ff%fe", **form)[0] == 401


def test_a_file_with_any_name_is_shown_on_the_page(page, frames):
    page.slot.put(Reading(Moment.now(), frames[0], os.fsdecode(b"caf\xe9\n.png")))
    page.loop.run(iter([False, True]).__next__)
    status, _, data = page.ask("/state")
    assert status == 200
    assert os.fsencode(json.loads(data.decode("utf-8"))["latest"]["file"]) == b"caf\xe9\n.png"


def test_secrets_are_compared_in_constant_time(make_page, monkeypatch):
    compared = []
    monkeypatch.setitem(os.environ, "EDGEAD_TOKEN", TOKEN)
    real = access_module.hmac.compare_digest
    monkeypatch.setattr(
        access_module.hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b)
    )
    page = make_page()
    page.ask("/state", Authorization="Bearer x", Cookie=f"edgead_{page.server.address.port}=x")
    assert TOKEN.encode() in compared and len(compared) == 2


def test_two_on_one_port_is_a_sentence_with_the_cure(page):
    port = page.server.address.port
    with pytest.raises(DeviceError, match=f"127.0.0.1:{port} is in use .* take another port"):
        PageServer(Address("127.0.0.1", port), print)


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        (Address("192.0.2.1", 8080), "is not an address of this machine"),  # TEST-NET-1
        (Address("no such host", 8080), "there is no such address or name"),
    ],
)
def test_an_address_that_cannot_be_had_is_a_sentence_with_the_cure(address, cure):
    with pytest.raises(EdgeadError, match=cure):
        PageServer(address, print)


def test_a_port_that_wants_rights_is_a_sentence(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module.socket, "create_server", refuse)
    with pytest.raises(DeviceError, match="take a port from 1024 up"):
        PageServer(Address("127.0.0.1", 80), print)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("8080", ("127.0.0.1", 8080)),
        ("[::1]:80", ("::1", 80)),
        ("camera.local:0", ("camera.local", 0)),
    ],
)
def test_an_address_is_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":80", "localhost", "localhost:", "h:99999", "h:-1", "h:8o", "::1", "[::1", "fe80::1",
     "[[::1]]:80", "http://h:80"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError, match="expected HOST:PORT"):
        parse_address(text)
