"""The page and browsers that go away, send slowly, do not read, or are too many."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time

import pytest

from edgead.live import server as module


def test_a_browser_that_goes_away_disturbs_nobody(page, frames, capfd):
    page.feed(*frames)
    for sent in (
        b"",
        b"GET /fra",
        b"GET /frame.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01",
    ):
        with socket.create_connection(("127.0.0.1", page.server.address.port)) as connection:
            connection.sendall(sent)
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # close with a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    page.feed(frames[0])
    assert page.state()["verdicts"] == 7
    page.server.close()  # waits for the threads of those requests
    assert capfd.readouterr().err == ""


def test_a_browser_that_sends_nothing_does_not_hold_the_end(page):
    with socket.create_connection(("127.0.0.1", page.server.address.port)):
        page.state()  # the silent one was accepted before
        closing = threading.Thread(target=page.server.close)
        closing.start()
        closing.join(module.LONGEST_REQUEST_S / 2)
        assert not closing.is_alive()


def test_requests_at_once_are_bounded(page, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_REQUEST_S", 600)  # nobody is let go for being slow
    silent = [
        socket.create_connection(("127.0.0.1", page.server.address.port))
        for _ in range(module.MOST_CONNECTIONS)
    ]
    with socket.create_connection(("127.0.0.1", page.server.address.port)) as turned_away:
        turned_away.settimeout(60)
        assert turned_away.recv(1) == b""
    for connection in silent:
        connection.close()


def test_a_browser_that_sends_byte_after_byte_is_let_go(page, monkeypatch):
    """Each byte comes in time, the request never."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "LONGEST_REQUEST_S", 0.3)
        dribble(page)
    assert page.ask("/state")[0] == 200


def dribble(page):
    """Begin a request and never end it; comes back when the connection was ended."""
    with socket.create_connection(("127.0.0.1", page.server.address.port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: ")
        connection.settimeout(0.05)
        for _ in range(600):
            try:
                connection.sendall(b"x")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:  # nothing came, which is what a patient server sends
                continue
            except OSError:
                break
        else:
            raise AssertionError("still there after half a minute")


LARGE = 2**26
"""Bytes of a picture, more than the sockets' buffers hold."""


@pytest.fixture
def stall(page, monkeypatch):
    """``stall()``: a connection that asks for a large picture and stops reading it."""
    monkeypatch.setattr(page.board, "picture", lambda heatmap, small: bytes(LARGE))
    with socket.socket() as stalled:

        def begin(*, answered=True):
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", page.server.address.port))
            stalled.sendall(b"GET /frame.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found = b""
            with contextlib.suppress(ConnectionResetError):  # its time may be over already
                found = stalled.recv(2048)
            assert not answered or f"content-length: {LARGE}\r\n".encode() in found
            return stalled

        yield begin


def rest(connection):
    """How many bytes come until the connection ends."""
    read = 0
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(2**20):
            read += len(more)
    return read


def test_a_browser_that_does_not_read_does_not_hold_the_end(page, stall):
    stalled = stall()
    closing = threading.Thread(target=page.server.close)
    closing.start()
    closing.join(module.LONGEST_REQUEST_S / 2)
    assert not closing.is_alive()
    assert rest(stalled) < LARGE - 2048


def test_a_browser_that_does_not_read_is_let_go(page, stall, monkeypatch):
    """It takes the only place until its time is over; then its answer ends early."""
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "LONGEST_REQUEST_S", 0.5)
        stalled = stall(answered=False)
    for _ in range(3000):
        try:
            assert page.ask("/state")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            time.sleep(0.02)
    else:
        raise AssertionError("still there after a minute")
    assert rest(stalled) < LARGE - 2048
