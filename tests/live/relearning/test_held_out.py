"""How many frames judge a bundle, and what becomes of processes; no bundle is learnt here."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from relearning_line import a_request

from edgead.bundle.storage import MANIFEST
from edgead.cli import records_learn
from edgead.cli.main import main
from edgead.live.relearning import job, learning
from edgead.live.relearning.choice import LEAST_HELD_OUT, RelearningError, choose
from edgead.live.relearning.learning import Learning, back, can_go_back, look, swap
from edgead.live.relearning.state import State, read_state, take_place, write_state


def an_entry(number: int, at_s: float, *, is_sampled: bool) -> SimpleNamespace:
    captured = (datetime(2026, 11, 30) + timedelta(seconds=at_s)).isoformat(timespec="milliseconds")
    return SimpleNamespace(
        number=number,
        id=str(number),
        camera="left",
        captured=f"{captured}Z",
        label="good",
        is_sampled=is_sampled,
        frame=Path(__file__),
    )


def choice(sampled_s: list[float], alarms_s: list[float]) -> Any:
    at = sorted([(s, True) for s in sampled_s] + [(s, False) for s in alarms_s])
    entries = [an_entry(n, s, is_sampled=drawn) for n, (s, drawn) in enumerate(at)]
    reviews: Any = SimpleNamespace(marked=lambda _: entries, waiting=lambda *_: [])
    return choose(reviews, ["left"], 0.5)  # one frame promises this rate


def test_ten_good_frames_judge_also_where_few_set_the_threshold():
    sampled_s = [10.0 * n for n in range(12)]
    found = choice(sampled_s, [55, 65])
    assert (len(found.sample), len(found.good)) == (2, LEAST_HELD_OUT)
    with pytest.raises(RelearningError, match="9 good parts of the random sample are held out"):
        choice(sampled_s, [50.5, 65])  # an alarm that is learnt shows the part of one of them


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="it has no sessions")
def test_the_end_ends_the_one_that_learns_for_a_child_too(tmp_path):
    started = Learning(lambda camera, by: a_request(tmp_path, by=by), print)
    words = ["sh", "-c", "sleep 300 & echo; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        started._children["place"] = child
        started.close()
        assert select.select([child.stdout], [], [], 60)[0]  # nobody has its other end any more


def test_who_looks_at_the_state_does_not_keep_a_learning_from_its_start(tmp_path, monkeypatch):
    real, busy = fcntl.flock, [True]

    def flock(descriptor: int, how: int) -> None:
        if busy:
            busy.clear()
            raise BlockingIOError
        real(descriptor, how)

    monkeypatch.setattr(job, "NICE", 0)
    monkeypatch.setattr(fcntl, "flock", flock)
    state = job.learn(a_request(tmp_path))
    assert state.state == "failed" and "has no records.db" in state.why  # it began


def test_nothing_is_replaced_while_another_process_learns(tmp_path):
    request = a_request(tmp_path)
    request.bundle.mkdir()
    manifest = request.bundle / "manifest.json"
    manifest.write_bytes(b'{"provenance": {"parent": {"bundle_sha256": "old"}}}')
    held = take_place(request.place)
    assert held is not None
    # Its state is the one that the other process read; it has not written that it began.
    told = State("ready", swapped_from="old", sha256_before="old", sha256_after="new")
    write_state(request.place, told)
    try:
        for work in (swap, back):
            with pytest.raises(RelearningError, match=r"learns for disc\.edgead, or replaces it"):
                work(request)
    finally:
        os.close(held)
    assert read_state(request.place) == told


def test_a_swap_holds_off_a_learning_until_it_is_written_down(tmp_path, monkeypatch):
    request, found = a_request(tmp_path), []
    request.bundle.mkdir()
    manifest = request.bundle / "manifest.json"
    manifest.write_bytes(b'{"provenance": {"parent": {"bundle_sha256": "old"}}}')
    request.place.mkdir(parents=True)
    write_state(request.place, State("swapped", swapped_from="old"))
    monkeypatch.setattr(learning, "open_bundle", lambda path: path)
    monkeypatch.setattr(learning, "forget", lambda *_: found.append(take_place(request.place)))
    assert back(request).state == "back" and found == [None]
    (tmp_path / "none").mkdir()
    with pytest.raises(RelearningError, match="start learning first"):
        swap(a_request(tmp_path / "none"))
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize("action", ["swap", "back"])
def test_only_learning_asks_for_one_camera(tmp_path, monkeypatch, bundle_dir, capsys, action):
    monkeypatch.setattr(records_learn, "_cameras", lambda folder: ["left", "right"])
    words = [str(tmp_path), "--bundle", str(bundle_dir), "--by", "Ada"]
    assert main(["records", action, *words]) == 1
    said = {"swap": "start learning first", "back": "there is nothing to go back to"}
    assert said[action] in capsys.readouterr().err
    assert main(["records", "learn", *words]) == 1
    assert "the records are of left, right: choose with --camera" in capsys.readouterr().err


def test_a_swap_can_be_undone_after_a_later_learning_that_failed(tmp_path, monkeypatch):
    request = a_request(tmp_path)
    request.bundle.mkdir()
    manifest = request.bundle / "manifest.json"
    old = b'{"provenance": {}}'
    before = hashlib.sha256(old).hexdigest()
    new = json.dumps({"provenance": {"parent": {"bundle_sha256": before}}}).encode()
    manifest.write_bytes(new)
    request.place.mkdir(parents=True)
    digests = {"sha256_before": before, "sha256_after": hashlib.sha256(new).hexdigest()}
    write_state(request.place, State("ready", known=("1",), learnt=("2",), **digests))
    swapped = look(request)
    assert (swapped.state, swapped.known) == ("swapped", ("1", "2"))
    monkeypatch.setattr(job, "NICE", 0)
    assert job.learn(request).state == "failed"  # there are no records
    assert can_go_back(look(request), request)
    monkeypatch.setattr(learning, "open_bundle", lambda path: path)
    monkeypatch.setattr(learning, "forget", lambda _, out: (out / MANIFEST).write_bytes(old))
    with monkeypatch.context() as killed:  # before it is written down
        killed.setattr(learning, "write_state", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            back(request)
    assert (look(request).state, look(request).known) == ("back", ("1",))
    manifest.write_bytes(new)
    told = back(request)
    assert (told.state, told.known, told.swapped_by) == ("back", ("1",), "Ada")
    assert manifest.read_bytes() == old and not can_go_back(look(request), request)
