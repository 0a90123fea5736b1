"""What the page answers of the records: each figure against SQL by hand, and bad questions."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest

from edgead.records import summaries
from edgead.records.schema import connect

TIME = "2026-11-30T15:00:00Z"
FILTERS = [
    ({}, "1"),
    ({"verdict": "anomalous"}, "is_anomalous = 1"),
    ({"verdict": "good", "sampled": "yes"}, "is_anomalous = 0 AND is_sampled = 1"),
    ({"sampled": "no"}, "is_sampled = 0"),
    ({"camera": "camera"}, "camera = 'camera'"),
    ({"camera": "other"}, "0"),
    ({"low": "2.0"}, "score >= 2.0"),
    ({"low": "1.5", "high": "2.5"}, "score >= 1.5 AND score <= 2.5"),
    ({"reviewed": "yes"}, "id IN (SELECT id FROM reviews WHERE withdrawn IS NULL)"),
    ({"reviewed": "no"}, "id NOT IN (SELECT id FROM reviews WHERE withdrawn IS NULL)"),
    ({"label": "good"}, "id IN (SELECT id FROM reviews WHERE label = 'good')"),
    ({"since": "2020-01-01T00:00:00+01:00"}, "captured >= '2019-12-31T23:00:00.000Z'"),
    ({"until": "2020-01-01T00:00:00Z"}, "0"),
]


@pytest.mark.parametrize(("query", "condition"), FILTERS)
def test_the_history_has_what_sql_finds_by_hand(recorded, query, condition):
    anomalous = recorded.ids("is_anomalous")
    assert recorded.mark(anomalous[0], "good")[0] == recorded.mark(anomalous[1], "defective")[0]
    status, found = recorded.page.get("/api/records", **query)
    assert (status, [entry["id"] for entry in found["entries"]]) == (200, recorded.ids(condition))
    assert found["before"] is None


def test_pages_of_the_history_follow_each_other_without_a_gap(recorded):
    found, before = [], {}
    while before is not None:
        _, answer = recorded.page.get("/api/records", limit=5, **before)
        found += [entry["id"] for entry in answer["entries"]]
        before = None if answer["before"] is None else {"before": answer["before"]}
    assert found == recorded.ids() and len(found) == 12


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"verdict": "purple"}, "verdict is 'purple': expected good or anomalous"),
        ({"label": "fine"}, "expected good, defective or released"),
        ({"reviewed": "1"}, "reviewed is '1': expected yes or no"),
        ({"low": "x"}, "low is 'x': expected a number"),
        ({"high": "nan"}, "high is 'nan': expected a number"),
        ({"low": "3", "high": "2"}, "low 3 is above high 2"),
        ({"since": "yesterday"}, "expected a time with its zone, as 2026-11-30T15:00:00Z"),
        ({"since": "2026-11-30T15:00:00"}, "expected a time with its zone"),
        ({"until": "9999-12-31T23:59:59-23:00"}, "expected a time with its zone"),
        ({"since": TIME, "until": "2020-01-01T00:00:00Z"}, "is after until"),
        ({"limit": "0"}, "expected a whole number from 1 to 500"),
        ({"limit": "501"}, "expected a whole number from 1 to 500"),
        ({"before": "-1"}, "before is '-1': expected a whole number"),
        ({"verdict": "x" * 4000}, "expected good or anomalous"),
    ],
)
def test_a_filter_that_means_nothing_is_a_sentence(recorded, query, words):
    status, found = recorded.page.get("/api/records", **query)
    assert status == 400 and words in found["error"] and len(found["error"]) < 300


def test_one_verdict_has_its_line_its_pictures_and_what_was_said(recorded, frames):
    identity = recorded.ids("is_anomalous AND is_sampled")[0]
    recorded.mark(identity, "good")
    status, found = recorded.page.get(f"/api/records/{identity}")
    row = recorded.store.execute("SELECT line, score FROM verdicts WHERE id = ?", (identity,))
    line, score = row.fetchone()
    assert status == 200 and found["line"] == json.loads(line)
    assert found["entry"]["score"] == score and found["entry"]["label"] == "good"
    assert found["frame_size"] == [70, 90]
    assert [(mark["label"], mark["reviewer"]) for mark in found["marks"]] == [("good", "Ada")]
    number = found["line"]["frame"] % 6
    _, headers, data = recorded.page.ask(f"/api/records/{identity}/frame.png")
    png = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert headers["Content-Type"] == "image/png" and np.array_equal(png, frames[number])
    overlay = recorded.page.detector.score(frames[number]).overlay()
    pictures = {"frame.jpg": frames[number], "heatmap.jpg": overlay, "heatmap.jpg?small=1": overlay}
    for name, expected in pictures.items():
        status, headers, data = recorded.page.ask(f"/api/records/{identity}/{name}")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert np.abs(image.astype(int) - expected).mean() < 6, name


def test_a_list_has_small_pictures(recorded, make_frame):
    identity, path = recorded.store.execute("SELECT id, heatmap FROM evidence").fetchone()
    for size, expected in (((3000, 2000), (240, 160)), ((200, 1000), (48, 240))):
        cv2.imwrite(str(recorded.folder / path), make_frame(1, (*size, 3)))
        data = recorded.page.ask(f"/api/records/{identity}/heatmap.jpg?small=1")[2]
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[:2] == expected
    (recorded.folder / path).write_bytes(b"\xff\xd8 no picture")
    status, found = recorded.page.get(f"/api/records/{identity}/heatmap.jpg", small=1)
    assert status == 410 and "damaged" in found["error"]


@pytest.mark.parametrize("depth", [12, 16])
def test_a_frame_of_16_bits_is_shown_as_bright_as_its_bits_say(recorded, depth):
    identity, path = recorded.store.execute("SELECT id, frame FROM evidence").fetchone()
    frame = np.full((40, 60), 2 ** (depth - 1), np.uint16)  # half of white
    cv2.imwrite(str(recorded.folder / path), frame)
    with recorded.store:  # of a camera that is not configured any more
        recorded.store.execute("UPDATE verdicts SET camera = 'gone' WHERE id = ?", (identity,))
    recorded.page.board.looks = lambda: ("bgr", depth)
    data = recorded.page.ask(f"/api/records/{identity}/frame.jpg")[2]
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert abs(float(image.mean()) - 128) < 2


def test_a_verdict_without_a_frame_says_why(recorded):
    without = recorded.ids("frame IS NULL")[0]
    status, found = recorded.page.get(f"/api/records/{without}/frame.jpg")
    assert status == 404 and "neither an alarm nor sampled" in found["error"]
    assert recorded.page.get(f"/api/records/{without}")[1]["frame_size"] is None
    status, found = recorded.mark(without, "good")
    assert status == 409 and "has no frame" in found["error"]


def test_a_pruned_frame_is_a_stated_error(recorded):
    identity = recorded.ids("frame IS NOT NULL")[0]
    recorded.prune(identity)
    for name in ("frame.jpg", "frame.png", "heatmap.jpg"):
        status, found = recorded.page.get(f"/api/records/{identity}/{name}")
        assert status == 410 and "pruned on 2026-11-30T10:00:00.000Z" in found["error"]
    for path in ("claim", "skip", "undo"):
        body = {"id": identity, "reviewer": "Ada"}
        status, found = recorded.page.post(f"/api/review/{path}", **body)
        assert status == 409 and "was pruned on 2026-11-30" in found["error"]
    assert recorded.mark(identity, "good")[0] == 409
    assert recorded.store.execute("SELECT COUNT(*) FROM reviews").fetchone() == (0,)
    gone = recorded.ids("frame IS NOT NULL AND pruned IS NULL")[0]  # its file alone is gone
    status, found = recorded.page.get(f"/api/records/{gone}/frame.jpg")
    assert status == 410 and "is gone from the folder of records" in found["error"]


@pytest.mark.parametrize("identity", ["none", "..", "%2e%2e%2fx", "' OR 1=1 --", "x" * 3000])
def test_an_unknown_id_is_a_sentence(recorded, identity):
    path = identity.replace(" ", "%20").replace("'", "%27")
    status, _, data = recorded.page.ask(f"/api/records/{path}")
    assert status == 404 and b"there is no" in data
    status, found = recorded.mark(identity, "good")
    assert status == 404 and "there is no record" in found["error"]


PATHS = ["/api/workplace", "/api/records", "/api/records/x", "/api/records/x/frame.jpg",
         "/api/review/queue", "/api/review/counts", "/api/threshold", "/api/course?camera=camera",
         "/cameras", "/static/app.js"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_each_path_asks_for_the_token_where_there_is_one(make_page, monkeypatch, path):
    monkeypatch.setitem(os.environ, "EDGEAD_TOKEN", "a token of 24 characters")
    page = make_page()
    assert page.ask(path)[0] == 401
    assert page.ask(path, Authorization="Bearer a token of 24 character")[0] == 401
    assert page.ask(path, Authorization="Bearer a token of 24 characters")[0] != 401


@pytest.mark.parametrize("path", PATHS[1:6] + PATHS[7:8])
def test_without_records_or_with_a_folder_that_is_gone_it_says_what_to_do(page, recorded, path):
    status, found = page.get(path)
    assert status == 404 and "start edgead watch with --records DIR" in found["error"]
    recorded.folder.rename(recorded.folder.with_name("elsewhere"))
    status, found = recorded.page.get(path)
    assert status == 503 and "the records are gone: records.db is not in" in found["error"]
    assert not recorded.folder.exists()
    assert recorded.page.get("/state")[0] == 200  # the camera goes on
    recorded.folder.with_name("elsewhere").rename(recorded.folder)
    assert recorded.page.get("/api/records")[0] == 200


def test_a_damaged_database_is_a_sentence(recorded):
    (recorded.folder / "records.db").write_bytes(b"no database at all" * 300)
    for extra in ("-wal", "-shm"):
        (recorded.folder / f"records.db{extra}").unlink(missing_ok=True)
    status, found = recorded.page.get("/api/records")
    assert status == 503 and "cannot be used" in found["error"]


@pytest.mark.parametrize("rate", [0.025, 0.05, 0.25, 0.5])
def test_what_another_rate_would_have_changed_is_what_sql_counts(recorded, rate):
    alarms = recorded.ids("is_anomalous")
    recorded.mark(alarms[0], "good")
    recorded.mark(alarms[1], "defective")
    status, found = recorded.page.get("/api/threshold", rate=rate, last=10)
    before = recorded.page.detector.threshold
    recorded.page.detector.false_reject_rate = rate
    threshold = recorded.page.detector.threshold
    recorded.page.detector.false_reject_rate = 0.05
    assert (status, found["threshold"], found["threshold_now"]) == (200, threshold, before)
    last = "FROM (SELECT * FROM verdicts ORDER BY number DESC LIMIT 10)"
    query = f"SELECT SUM(is_anomalous), SUM(score > ?), SUM(score > ? AND NOT is_anomalous), " \
            f"SUM(score <= ? AND is_anomalous) {last}"  # fmt: skip
    counted = recorded.store.execute(query, [threshold] * 3).fetchone()
    keys = ("anomalous", "anomalous_then", "more", "fewer")
    assert tuple(found[key] for key in keys) == counted and found["verdicts"] == 10
    changed = f"SELECT id {last} WHERE (score > ?) <> is_anomalous ORDER BY number DESC"
    ids = [row[0] for row in recorded.store.execute(changed, [threshold])]
    assert [each["id"] for each in found["changed"]] == ids
    assert sum(found["histogram"]["counts"]) == 10
    for label, identity in (("good", alarms[0]), ("defective", alarms[1])):
        score = recorded.store.execute("SELECT score FROM verdicts WHERE id = ?", (identity,))
        then = int(score.fetchone()[0] > threshold)
        expected = {"verdicts": 1, "anomalous": 1, "anomalous_then": then}
        assert found["reviewed"][label] == expected


def test_the_latest_start_of_a_camera_can_be_looked_at_alone(recorded):
    with recorded.store:
        recorded.store.execute(
            "INSERT INTO verdicts (id, camera, captured, score, p_value, is_anomalous, threshold, "
            "is_sampled, line) VALUES ('camera-ffff-0', 'camera', '2999-01-01T00:00:00.000Z', 9, "
            "0.1, 1, 2, 0, '{}')"
        )
    _, found = recorded.page.get("/api/threshold")
    assert (found["verdicts"], found["starts"]) == (13, 2)
    _, found = recorded.page.get("/api/threshold", start="latest")
    assert (found["verdicts"], found["starts"], found["until"][:4]) == (1, 1, "2999")


def test_without_records_the_last_verdicts_in_memory_are_weighed(page, frames):
    assert page.get("/api/threshold")[1]["verdicts"] == 0
    page.feed(*frames)
    _, found = page.get("/api/threshold", rate=0.5)
    scores = [page.detector.score(frame).score for frame in frames]
    assert found["verdicts"] == 6 and found["recorded"] is False
    assert found["anomalous_then"] == sum(score > found["threshold"] for score in scores)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"rate": "0.001"}, 422, "the best possible is 0.025"),
        ({"rate": "2"}, 422, "expected a number between 0 and 1"),
        ({"rate": "x"}, 400, "rate is 'x': expected a number"),
        ({"last": "0"}, 400, "expected a whole number"),
        ({"last": "1000000"}, 400, "expected a whole number from 1 to 100000"),
    ],
)
def test_a_rate_that_cannot_be_weighed_is_a_sentence(recorded, query, status, words):
    found, answer = recorded.page.get("/api/threshold", **query)
    assert found == status and words in answer["error"]


def insert(store, number, captured, score, anomalous, **more):
    line = json.dumps({"latency_ms": 5.0 + number, "health": [], "drift": None, **more})
    store.execute(
        "INSERT INTO verdicts (id, camera, captured, score, p_value, is_anomalous, threshold, "
        "is_sampled, line) VALUES (?, 'top', ?, ?, 0.5, ?, 2.5, 0, ?)",
        (f"top-ffff-{number}", captured, score, anomalous, line),
    )


def test_the_course_has_what_was_in_each_part(recorded):
    now = datetime.now(timezone.utc)
    at = lambda minutes: (now - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")  # noqa: E731
    with recorded.store:
        for number, (minutes, score, anomalous, more) in enumerate([
            (50, 1.0, 0, {}), (49, 2.0, 0, {}), (48, 9.0, 1, {"health": ["brightness 7 is low"]}),
            (10, 3.0, 1, {"drift": "drift after 9 frames"}),
            (9, None, None, {"error": "no picture", "health": ["brightness 8.25e+1 is low"]}),
            (90, 7.0, 1, {}),  # before
        ]):  # fmt: skip
            insert(
                recorded.store, number, at(minutes).replace("+00:00", "Z"), score, anomalous, **more
            )
    status, found = recorded.page.get("/api/course", camera="top", hours=1, steps=2)
    assert (status, found["verdicts"], found["every"]) == (200, 5, 1)
    first, second = found["steps"]
    assert second["start"] - first["start"] == pytest.approx(found["step_s"])
    assert found["step_s"] == pytest.approx(1800, abs=1)
    keys = ("verdicts", "anomalous", "failed", "health", "drift", "p50", "latency_ms")
    assert [first[key] for key in keys] == [3, 1, 0, 1, 0, 2.0, 6.0]
    assert [second[key] for key in keys] == [2, 1, 1, 1, 1, 3.0, 8.5]
    assert first["p95"] == pytest.approx(8.3) and first["threshold"] == 2.5
    said = [(each["text"], each["verdicts"]) for each in found["reasons"]]
    assert said == [("brightness 8.25e+1 is low", 2), ("drift after 9 frames", 1)]
    assert recorded.page.get("/api/course", camera="none")[1]["steps"] == []


def test_of_too_many_verdicts_every_kth_is_looked_at_and_said(recorded, monkeypatch):
    monkeypatch.setattr(summaries, "MOST_ROWS", 4)
    _, found = recorded.page.get("/api/course", camera="camera", hours=1, steps=1)
    assert (found["verdicts"], found["every"]) == (12, 3)
    assert [step["verdicts"] for step in found["steps"]] == [4]


OF_TOP = [{"hours": "0"}, {"hours": "inf"}, {"hours": "1e9"}, {"steps": "0"}]


@pytest.mark.parametrize("query", [{}, *({"camera": "top", **each} for each in OF_TOP)])
def test_a_course_of_no_time_is_a_sentence(recorded, query):
    status, found = recorded.page.get("/api/course", **query)
    assert status == 400 and ("expected" in found["error"] or "missing" in found["error"])


def test_cameras_that_take_turns_are_looked_at_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "MOST_ROWS", 3)
    store = connect(tmp_path / "records.db", writes=True)
    for number in range(12):  # left has all even numbers, right all odd ones
        store.execute(
            "INSERT INTO verdicts (number, id, camera, captured, is_sampled, line) "
            "VALUES (?, ?, ?, ?, 0, '{}')",
            (number, str(number), ("left", "right")[number % 2], f"2026-11-30T15:00:{number:02}Z"),
        )
    for camera in ("left", "right"):
        found = summaries.course(store, camera=camera, since="2026", until="2027", steps=1)
        assert (found["verdicts"], found["every"]) == (6, 2)
        assert [step["verdicts"] for step in found["steps"]] == [3]
    store.close()
