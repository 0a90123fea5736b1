"""Reviews on the page: what waits, who marks it, two people at once, and marks that are none."""

from __future__ import annotations

import json
import threading

import pytest


def test_alarms_and_the_sample_wait_in_turn_and_are_counted(recorded):
    status, found = recorded.page.get("/api/review/queue")
    alarms = recorded.ids("frame IS NOT NULL AND NOT is_sampled")
    sample = recorded.ids("frame IS NOT NULL AND is_sampled")
    assert len(sample) == 4 and alarms
    order = [
        each for turn in range(12) for kind in (alarms, sample) for each in kind[turn : turn + 1]
    ]
    assert status == 200 and [entry["id"] for entry in found["entries"]] == order
    counts = {"alarms": len(alarms), "sample": 4, "good": 0, "defective": 0, "sample_marked": 0}
    assert found["counts"] == {"waiting": len(alarms) + 4, **counts}
    recorded.mark(sample[0], "good")
    recorded.mark(alarms[0], "defective")
    _, found = recorded.page.get("/api/review/counts", camera="camera")
    counts = {"alarms": len(alarms) - 1, "sample": 3, "good": 1, "defective": 1, "sample_marked": 1}
    assert found == {"waiting": len(alarms) + 2, **counts}
    assert recorded.page.get("/api/review/counts", camera="other")[1]["waiting"] == 0


@pytest.mark.parametrize("recorded", [(4, range(24))], indirect=True)  # all in the sample
def test_the_queue_gives_as_many_as_are_asked_for_up_to_500(recorded):
    ask = recorded.page.get
    waiting = recorded.ids()
    for asked, expected in (({}, 20), ({"limit": 22}, 22), ({"limit": 500}, 24)):
        status, found = ask("/api/review/queue", **asked)
        assert status == 200
        assert [entry["id"] for entry in found["entries"]] == waiting[:expected]
    assert ask("/api/review/queue", limit=501)[0] == 400


def test_a_mark_is_taken_back_and_what_was_said_before_counts_again(recorded):
    identity = recorded.ids("frame IS NOT NULL")[0]
    first = recorded.mark(identity, "good", "Ada")[1]["entry"]
    second = recorded.mark(identity, "defective", "Grace", first["reviewed"])[1]["entry"]
    assert (second["label"], second["reviewer"]) == ("defective", "Grace")
    undo = lambda who: recorded.page.post("/api/review/undo", id=identity, reviewer=who)  # noqa: E731
    status, found = undo("Ada")
    assert status == 409 and "is defective by Grace: only one's own latest mark" in found["error"]
    for who, label in (("Grace", "good"), ("Ada", None)):
        assert undo(who)[1]["entry"]["label"] == label
    assert undo("Ada")[0] == 409
    rows = recorded.store.execute("SELECT label, reviewer, withdrawn FROM reviews ORDER BY number")
    assert [(a, b, bool(c)) for a, b, c in rows] == [
        ("good", "Ada", True), ("defective", "Grace", True)
    ]  # fmt: skip
    assert identity in [e["id"] for e in recorded.page.get("/api/review/queue")[1]["entries"]]


def test_two_reviewers_get_different_frames(recorded):
    page, identity = recorded.page, recorded.ids("frame IS NOT NULL")[0]
    claim = lambda who: page.post("/api/review/claim", id=identity, reviewer=who)  # noqa: E731
    assert claim("Ada")[0] == 200 and claim("Ada")[0] == 200
    status, found = claim("Grace")
    assert status == 409 and "Ada looks at" in found["error"] and "take another" in found["error"]
    assert recorded.mark(identity, "good", "Grace")[0] == 409
    of = {
        who: [e["id"] for e in page.get("/api/review/queue", reviewer=who)[1]["entries"]]
        for who in ("Ada", "Grace")
    }
    assert identity in of["Ada"] and identity not in of["Grace"]
    assert page.post("/api/review/skip", id=identity, reviewer="Grace")[0] == 200
    assert claim("Grace")[0] == 409  # a claim of another is not let go
    assert page.post("/api/review/skip", id=identity, reviewer="Ada")[0] == 200
    assert claim("Grace")[0] == 200


def test_of_two_marks_at_once_one_is_refused(recorded):
    identity = recorded.ids("frame IS NOT NULL")[0]
    answers, ready = [], threading.Barrier(2)

    def mark(who, label):
        ready.wait()
        answers.append(recorded.mark(identity, label, who))

    threads = [threading.Thread(target=mark, args=each) for each in
               (("Ada", "good"), ("Grace", "defective"))]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200, 409]
    refused = next(found["error"] for status, found in answers if status == 409)
    assert "meanwhile: look at it again" in refused or "looks at" in refused
    assert recorded.store.execute("SELECT COUNT(*) FROM reviews").fetchone() == (1,)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"label": "good", "reviewer": "Ada", "seen": None}, 400, "id is None: expected a text"),
        ({"id": 7, "label": "good", "reviewer": "Ada", "seen": None}, 400, "id is 7"),
        ({"id": "ID", "label": "good", "seen": None}, 400, "reviewer is None: expected a text"),
        ({"id": "ID", "label": "good", "reviewer": "Ada"}, 400, "seen is missing"),
        ({"id": "ID", "label": "good", "reviewer": "Ada", "seen": 1}, 400, "seen is missing"),
        ({"id": "ID", "label": "fine", "reviewer": "Ada", "seen": None}, 409, "good or defective"),
        ({"id": "ID", "label": "good", "reviewer": " ", "seen": None}, 409, "expected a name"),
        ({"id": "ID", "label": "good", "reviewer": "a\nb", "seen": None}, 409, "expected a name"),
        ({"id": "ID", "label": "good", "reviewer": "A", "seen": "x"}, 409, "no longer reviewed"),
        ({"id": "ID", "label": "good", "reviewer": "A", "seen": None, "note": "x" * 2001}, 409,
         "the note has 2001 characters"),
        ({"id": "ID", "label": "good", "reviewer": "A", "seen": None, "note": "\ud83d"}, 400,
         "note is '\\\\ud83d': expected a text"),
        ({"id": "ID", "label": "good", "reviewer": "A", "seen": None, "note": "x" * 20000}, 413,
         "expected up to"),
    ],
)  # fmt: skip
def test_a_mark_that_is_none_changes_nothing(recorded, body, status, words):
    identity = recorded.ids("frame IS NOT NULL")[0]
    body = {key: identity if value == "ID" else value for key, value in body.items()}
    found, _, data = recorded.page.ask("/api/review/mark", json.dumps(body))
    assert (found, words in data.decode()) == (status, True), data
    assert recorded.store.execute("SELECT COUNT(*) FROM reviews").fetchone() == (0,)


@pytest.mark.parametrize("path", ["claim", "mark", "undo", "skip"])
def test_a_form_of_another_site_reviews_nothing(recorded, path):
    body = json.dumps({"id": recorded.ids()[0], "reviewer": "Ada", "label": "good", "seen": None})
    ask = recorded.page.ask
    assert ask(f"/api/review/{path}", body, Content_Type="text/plain")[0] == 415
    assert ask(f"/api/review/{path}", body, Origin="http://evil.example")[0] == 403
    assert ask(f"/api/review/{path}", "[]")[0] == 400
    assert ask(f"/api/review/{path}")[0] == 405
