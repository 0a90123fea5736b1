"""Learn from reviewed frames: what is learnt, what is judged, what is swapped, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from relearning_line import RATE, a_request, mark_all, record

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.errors import DeviceError, InputError
from edgead.live.relearning import job
from edgead.live.relearning.choice import RelearningError, _halves, _one_each, _parts
from edgead.live.relearning.comparison import Judged, worse
from edgead.live.relearning.job import Request, chosen, from_text, to_text
from edgead.live.relearning.learning import Learning, back, check_same_size, look, swap
from edgead.live.relearning.state import CANDIDATE, State, read_state, write_state
from edgead.records.reviews import Reviews

KILLS = int(os.environ.get("EDGEAD_TEST_KILLS", "10"))
"""Of each action; 0: at every file operation."""


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rejected(bundle: Path, results: list[Any]) -> int:
    """By a Detector of its own."""
    with Detector(bundle, device="cpu", false_reject_rate=RATE) as detector:
        return sum(bool(detector.score(result.frame).is_anomalous) for result in results)


def test_false_alarms_that_were_forgiven_are_rejected_less_and_defects_are_still_caught(
    finished, taught, shift
):
    request, state, steps = finished
    assert (state.state, state.why, state.by) == ("ready", "", "Ada")
    assert digests(request.bundle) == digests(taught)  # what serves is not touched
    choice = chosen(request, ())
    assert state.frames == choice.counts() and state.learnt == tuple(e.id for e in choice.add)
    for name, bundle in (("before", request.bundle), ("after", request.place / CANDIDATE)):
        told = getattr(state, name)
        for key, kind in (("false_rejects", "good"), ("alarms", "alarms"), ("caught", "defective")):
            entries = getattr(choice, kind)
            results = [shift[int(entry.id.rpartition("-")[2])][1] for entry in entries]
            assert told[key]["images"] == len(results)
            assert told[key]["rejected"] == rejected(bundle, results)
            low, high = told[key]["interval"]
            assert low <= told[key]["share"] <= high
    before, after = state.before, state.after
    assert after["false_rejects"]["rejected"] < before["false_rejects"]["rejected"]
    assert after["alarms"]["rejected"] < before["alarms"]["rejected"] == len(choice.alarms)
    assert after["caught"] == before["caught"] and after["caught"]["share"] == 1
    assert steps[:2] == ["choosing frames", "copying frames"] and len(steps) > 5
    assert not (request.place / "frames").exists()


def test_no_frame_is_on_two_sides(finished):
    choice = chosen(finished[0], ())
    sides = [choice.add, choice.sample, choice.good, choice.alarms, choice.defective]
    ids = [entry.id for side in sides for entry in side]
    assert len(ids) == len(set(ids)) > 40
    assert all(e.is_sampled for e in (*choice.sample, *choice.good))
    assert not any(e.is_sampled for e in (*choice.add, *choice.alarms))
    assert max(e.number for e in choice.sample) < min(e.number for e in choice.good)
    assert max(e.number for e in choice.add) < min(e.number for e in choice.alarms)


def test_frames_of_one_part_are_one_and_stay_on_one_side(finished):
    entries = [SimpleNamespace(number=n, id=str(n), camera=c, captured=f"2026-11-30T10:00:{s}Z")
               for n, c, s in ((1, "a", "00.000"), (2, "b", "00.100"), (3, "a", "00.900"),
                               (4, "a", "01.800"), (5, "b", "01.200"), (6, "a", "09.000"),
                               (7, "a", "02.000"))]  # fmt: skip
    parts = _parts(entries[::-1], 1.0)
    assert parts == {"1": 0, "3": 0, "4": 0, "2": 1, "5": 4, "6": 5, "7": 6}
    assert [e.number for e in _one_each(entries[::-1], parts)] == [1, 2, 5, 6, 7]
    assert set(_parts(entries, 0.0).values()) == set(range(7))
    early, late = _halves(entries, parts)
    assert [[e.number for e in half] for half in (early, late)] == [[1, 2, 3, 4, 5], [6, 7]]
    with pytest.raises(RelearningError, match="1 good parts of the random sample"):
        chosen(Request(**{**given(finished[0]), "part_seconds": 1e6}), ())


def given(request: Request) -> dict[str, Any]:
    return {k: v for k, v in vars(request).items() if k != "place"}


def test_the_bundle_is_swapped_in_one_step_and_brought_back_byte_by_byte(ready):
    before, new = digests(ready.bundle), digests(ready.place / CANDIDATE)
    assert swap(ready).state == "swapped"
    assert digests(ready.bundle) == new != before
    with pytest.raises(RelearningError, match="no new bundle to swap in: it was swapped in alread"):
        swap(ready)
    known = read_state(ready.place).known
    later = {entry.id for entry in chosen(ready, known).add}
    assert known and later and not later & set(known)  # what it knows is not learnt again
    with pytest.raises(RelearningError, match="nothing to learn: no false alarm is marked good"):
        chosen(ready, (*known, *later, *(e.id for e in chosen(ready, known).alarms)))
    state = back(ready)
    assert (state.state, state.swapped_by, state.known) == ("back", "Ada", ())
    assert digests(ready.bundle) == before
    with pytest.raises(RelearningError, match="there is nothing to go back to"):
        back(ready)


def test_a_bundle_that_was_changed_meanwhile_is_not_swapped(ready, taught):
    manifest = json.loads((ready.bundle / "manifest.json").read_text())
    (ready.bundle / "manifest.json").write_text(json.dumps(manifest, indent=3))
    with pytest.raises(RelearningError, match="was changed since it was learnt from: learn again"):
        swap(ready)


def test_a_swap_that_was_interrupted_before_its_state_counts(ready, monkeypatch):
    from edgead.live.relearning import learning

    monkeypatch.setattr(learning, "write_state", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        swap(ready)
    monkeypatch.undo()
    assert look(ready).state == "swapped"
    assert back(ready).state == "back"


def test_kill_9_in_a_swap_leaves_a_bundle_that_serves(ready):
    code = (
        "import sys\nfrom edgead.live.relearning.job import from_text\n"
        "from edgead.live.relearning.learning import back, swap\n"
        "request = from_text(sys.argv[1])\nprint(flush=True)\n"
        "while True: swap(request); back(request); "
        "from edgead.live.relearning.state import *; "
        "write_state(request.place, read_state(request.place), state='ready')"
    )
    old, new = (open_bundle(path).sha256 for path in (ready.bundle, ready.place / CANDIDATE))
    words = [sys.executable, "-c", code, to_text(ready)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.4)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert open_bundle(ready.bundle).sha256 in (old, new)
    assert rejected(ready.bundle, []) == 0  # it qualifies


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each kill takes a fork")
@pytest.mark.parametrize("action", ["swap", "back"])
def test_kill_9_at_any_file_operation_leaves_the_old_bundle_or_the_new_one(ready, action):
    """What is there is whole, its state fits it, and the next call does the rest or says why."""
    from swap_killing import digest

    new = read_state(ready.place).learnt
    sides = {"ready": digest(ready.bundle), "swapped": digest(ready.place / CANDIDATE)}
    sides["back"] = sides["ready"]
    known = {"ready": [], "swapped": list(new), "back": []}
    if action == "back":
        swap(ready)
    begun, done = ("ready", "swapped") if action == "swap" else ("swapped", "back")
    script = Path(__file__).parent / "swap_killing.py"
    words = [sys.executable, str(script), to_text(ready), action, str(KILLS)]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    kills = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(kills) == KILLS or not KILLS
    assert {kill["state"] for kill in kills} == {begun, done}
    for kill in kills:
        assert kill["bundle"] == sides[kill["state"]], kill
        assert kill["known"] == known[kill["state"]], kill
        assert kill["after"] == sides[done], kill
        already = "swapped in already" if action == "swap" else "there is nothing to go back to"
        if kill["state"] == begun:  # it is done anew, which removes what the killed one left
            assert (kill["next"], kill["left"]) == (done, []), kill
        else:
            assert already in kill["next"], kill


def test_what_nothing_can_be_learnt_from_is_refused_with_the_reason(shift, taught, tmp_path):
    shutil.copytree(taught, tmp_path / "disc.edgead")
    kinds, request = [kind for kind, _ in shift], a_request(tmp_path)
    record(request.records, shift, 2)
    with pytest.raises(RelearningError, match="0 good parts of the random sample are marked"):
        chosen(request, ())
    mark_all(request.records, kinds, alarms_only=True)
    with pytest.raises(
        RelearningError, match=r"only alarms are marked \(.*promises nothing of oth"
    ):
        chosen(request, ())
    reviews = Reviews(request.records)
    for entry in [e for e in reviews.waiting(limit=1000) if e.is_sampled][:12]:
        reviews.mark(entry.id, "good", "Ada")
    with pytest.raises(RelearningError, match=r"expected 19: 9 set the threshold for a .* of 10 %"):
        chosen(request, ())
    with pytest.raises(RelearningError, match=r"^1 good .*12 frames, of which those within 999 s "):
        chosen(replace(request, part_seconds=999), ())
    waiting = [e for e in reviews.waiting(limit=1000) if e.is_sampled]
    for entry in (*waiting[:3], *waiting[-4:]):
        reviews.mark(entry.id, "good", "Ada")
    with pytest.raises(
        RelearningError, match=r"19 of .* of the random sample are marked: where peo"
    ):
        chosen(request, ())
    mark_all(request.records, kinds)
    frame = reviews.marked()[0].frame
    reviews.close()
    frame.unlink()
    with pytest.raises(
        RelearningError, match=r"1 marked frames are gone \(left-.*restore the file"
    ):
        chosen(request, ())


def test_a_bundle_of_another_size_is_refused_and_leaves_nothing(ready, monkeypatch):
    monkeypatch.setattr(job, "NICE", 0)
    smaller = [np.zeros((70, 90, 3), np.uint8)]
    monkeypatch.setattr(job, "golden_frames", lambda bundle: iter(smaller))
    state = job.learn(ready)
    assert state.state == "failed" and state == read_state(ready.place)
    assert "is 80 x 96 colour, disc.edgead was learnt from 70 x 90 colour: give" in state.why
    assert sorted(path.name for path in ready.place.iterdir()) == ["state.json"]
    with pytest.raises(RelearningError, match="no new bundle to swap in: learning failed: the fr"):
        swap(ready)


def test_a_bundle_that_sees_another_size_is_not_swapped_in(ready):
    serving = open_bundle(ready.bundle)
    params = replace(serving.manifest.preprocess, size=(32, 32))
    other = replace(serving, manifest=replace(serving.manifest, preprocess=params))
    check_same_size(serving, serving)
    with pytest.raises(RelearningError, match=r"sees frames as 32 x 32, disc.edgead as 64 x 64"):
        check_same_size(serving, other)


def test_nothing_is_learnt_for_a_bundle_that_was_trained(reviewed, bundle_dir, tmp_path):
    shutil.copytree(bundle_dir, tmp_path / "disc.edgead")
    shutil.copytree(reviewed, tmp_path / "records")
    learning = Learning(lambda camera, by: a_request(tmp_path, by=by), print)
    refusal = learning.state("left")["refusal"]
    assert "was trained (method" in refusal and "train again with these images" in refusal
    with pytest.raises(InputError, match="was trained"):
        learning.start("left", "Ada")


def test_what_is_worse_is_said_and_not_kept(finished, ready, monkeypatch):
    images = {"good": 20, "alarms": 4, "defective": 10}
    before = Judged({"good": 2, "alarms": 4, "defective": 9}, images)
    assert worse(before, Judged({"good": 2, "alarms": 4, "defective": 9}, images)) == ""
    assert worse(before, Judged({"good": 1, "alarms": 0, "defective": 10}, images)) == ""
    assert worse(before, Judged({"good": 3, "alarms": 0, "defective": 8}, images)) == (
        "3 of 20 good frames of the sample are rejected, before it were 2; 8 of 10 defective "
        "frames are caught, before it were 9"
    )
    made = iter([before, Judged({"good": 0, "alarms": 0, "defective": 8}, images)])
    monkeypatch.setattr(job, "NICE", 0)
    monkeypatch.setattr(job, "judge", lambda *_: next(made))
    monkeypatch.setattr(job._Work, "_learn", lambda self: None)  # the candidate is there
    state = job.learn(ready)
    assert (state.state, state.why) == ("worse", "8 of 10 defective frames are caught, before it w"
                                                 "ere 9")  # fmt: skip
    assert not (ready.place / CANDIDATE).exists()
    with pytest.raises(RelearningError, match="8 of 10 defective"):
        swap(ready)


def test_a_learning_whose_process_is_gone_was_interrupted_and_one_at_work_is_running(ready):
    write_state(ready.place, read_state(ready.place), state="running", step="scores")
    assert look(ready).state == "failed" and "it was interrupted" in look(ready).why
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from edgead.live.relearning.state import take_place\n"
        "held = take_place(Path(sys.argv[1]))\nprint(flush=True)\nsys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(ready.place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        assert (look(ready).state, look(ready).step) == ("running", "scores")
        with pytest.raises(RelearningError, match="another process learns from"):
            job.learn(ready)
        process.stdin.close()
    assert look(ready).state == "failed"


def test_a_damaged_state_is_named_and_the_bundle_goes_on(ready):
    (ready.place / "state.json").write_text('{"state": "rea')
    with pytest.raises(DeviceError, match=r"state\.json is damaged .*: remove it"):
        look(ready)


def test_a_child_learns_and_one_that_is_killed_says_how(ready):
    said: list[Any] = []
    learning = Learning(lambda camera, by: a_request(ready.bundle.parent, by=by), said.append)
    learning._say = lambda *words: said.append(words)
    assert learning.start("left", "Ada")["state"] == "running"
    with pytest.raises(RelearningError, match="learning is going on already"):
        learning.start("left", "Grace")
    assert learning.state("left")["state"] == "running"
    (child,) = learning._children.values()
    child.kill()
    child.wait()
    told = learning.state("left")
    assert told["state"] == "failed" and "was ended by signal 9" in told["why"]
    assert "the bundle that serves is as it was" in told["why"] and told["refusal"] is None
    assert said == [("learn", f"from {len(chosen(ready, ()).add)} frames for {ready.bundle}, "
                              "asked by Ada")]  # fmt: skip
    learning.close()


def test_a_request_is_the_same_in_another_process(ready):
    assert from_text(to_text(ready)) == ready
    assert isinstance(read_state(ready.place), State)
