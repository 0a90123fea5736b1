"""Learning as a program asks for it by HTTP, and as a person does on the command line."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
from typing import Any

import pytest
from relearning_line import RATE, a_request, record

from edgead.bundle.storage import open_bundle
from edgead.cli.main import main
from edgead.errors import BundleError
from edgead.live.access import Address
from edgead.live.page import learn as routes
from edgead.live.relearning import job, learning
from edgead.live.relearning.choice import RelearningError
from edgead.live.relearning.learning import Learning, back, swap
from edgead.live.relearning.state import CANDIDATE, read_state
from edgead.live.server import PageServer


@pytest.fixture
def ask(ready, monkeypatch):
    """``ask(path, body)``: (status, JSON); ``ask.changed``: how often a bundle was replaced."""
    monkeypatch.delenv("EDGEAD_TOKEN", raising=False)
    changed: list[int] = []

    def request_of(camera: str, by: str) -> job.Request:
        if camera != "left":
            raise RelearningError(f"there is no camera {camera}: it has left")
        return a_request(ready.bundle.parent, by=by)

    learns = Learning(request_of, lambda *_: None, lambda: changed.append(1))
    server = PageServer(Address("127.0.0.1", 0), lambda *_: None)
    server.start({}, more=routes.routes(learns))

    def put(path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=60)
        method = "GET" if body is None else "POST"
        connection.request(method, path, body and json.dumps(body), {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    put.changed = changed  # type: ignore[attr-defined]
    yield put
    learns.close()
    server.close()


def test_the_routes_look_swap_and_go_back(ask, ready):
    status, told = ask("/api/learn?camera=left")
    assert (status, told["state"], told["bundle"]) == (200, "ready", "disc.edgead")
    assert told["can_go_back"] is False and told["refusal"] is None
    assert told["would_learn"] == told["frames"]
    before = open_bundle(ready.bundle).sha256
    body = {"camera": "left", "by": " Ada "}
    assert ask("/api/learn/back", body)[0] == 422
    status, told = ask("/api/learn/swap", body)
    assert (status, told["state"], told["swapped_by"]) == (200, "swapped", "Ada")
    assert told["can_go_back"] is True and ask.changed == [1]
    assert open_bundle(ready.bundle).sha256 == told["sha256_after"] != before
    status, told = ask("/api/learn/swap", body)
    assert status == 422 and "it was swapped in already" in told["error"]
    assert ask("/api/learn/back", body)[1]["state"] == "back"
    assert open_bundle(ready.bundle).sha256 == before and ask.changed == [1, 1]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/api/learn?camera=right", None, 422, "there is no camera right: it has left"),
        ("/api/learn", {"camera": "left"}, 400, 'expected {"camera": "left", "by": "Ada"}'),
        ("/api/learn", ["left"], 400, "expected {"),
        ("/api/learn", {"camera": "left", "by": " "}, 409, "expected a name of up to"),
        ("/api/learn", {"camera": "left", "by": "A", "force": 1}, 400, "force: expected true or"),
        ("/api/learn/swap", {"camera": 3, "by": "Ada"}, 400, "expected {"),
    ],
)
def test_what_a_request_must_be(ask, path, body, status, sentence):
    found, told = ask(path, body)
    assert (found, sentence in told["error"]) == (status, True), told


def test_a_form_of_another_site_starts_nothing(ask):
    body = {"camera": "left", "by": "Ada"}
    assert ask("/api/learn", body, kind="text/plain")[0] == 415


def test_a_full_disk_leaves_the_bundle_and_a_swap_that_can_be_tried_again(ready, monkeypatch):
    before = open_bundle(ready.bundle).sha256

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(ready.bundle))

    from edgead.bundle import storage

    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_directory", full)
        with pytest.raises(BundleError, match="space"):
            swap(ready)
    assert open_bundle(ready.bundle).sha256 == before
    assert learning.look(ready).state == "ready" and swap(ready).state == "swapped"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_directory", full)
        with pytest.raises(BundleError, match="space"):
            back(ready)
    assert back(ready).state == "back" and open_bundle(ready.bundle).sha256 == before


def test_a_learning_on_a_full_disk_failed_and_says_so(ready, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "frame.png")

    monkeypatch.setattr(job, "NICE", 0)
    monkeypatch.setattr(job.Path, "write_bytes", full)
    state = job.learn(ready)
    assert state.state == "failed" and "no space left on the disk for frame.png" in state.why


def test_the_command_line_says_that_nothing_was_reviewed(taught, shift, tmp_path, capsys):
    folder = record(tmp_path / "records", shift[:3], 2)
    words = [str(folder), "--bundle", str(taught), "--by", "Ada"]
    assert main(["records", "learn", *words]) == 1
    assert f"no frame of {folder} is marked: review some first, on" in capsys.readouterr().err


def test_the_command_line_learns_swaps_and_goes_back(ready, monkeypatch, capsys):
    monkeypatch.setattr(job, "NICE", 0)
    monkeypatch.setattr(job._Work, "_learn", lambda self: None)  # the candidate is there
    before = open_bundle(ready.bundle).sha256
    new = open_bundle(ready.place / CANDIDATE).sha256
    words = [str(ready.records), "--bundle", str(ready.bundle), "--by", "Ada"]
    assert main(["records", "learn", *words, "--false-reject-rate", str(RATE)]) == 0
    out = capsys.readouterr().out
    state = read_state(ready.place)
    caught = state.after["caught"]
    assert re.search(rf"defects caught +{caught['rejected']} of {caught['images']} \(", out)
    assert out.splitlines()[-1].startswith(f"next   edgead records swap {ready.records} --bundle ")
    assert main(["records", "swap", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "swapped"
    assert open_bundle(ready.bundle).sha256 == new
    assert main(["records", "swap", *words]) == 1
    assert "it was swapped in already" in capsys.readouterr().err
    assert main(["records", "back", *words]) == 0
    assert open_bundle(ready.bundle).sha256 == before
    assert "kill -HUP" in capsys.readouterr().out
    for missing in ("--bundle", "--by"):
        few = [w for i, w in enumerate(words) if missing not in (w, words[i - 1])]
        assert main(["records", "learn", *few]) == 1
        assert f"edgead records learn: {missing} is missing" in capsys.readouterr().err
