"""Reviews: what may be said of a frame, by whom, and what it keeps."""

from __future__ import annotations

import json
import time

import pytest
from recorded import a_line, hear

from edgead.records import pruning
from edgead.records.reviews import ReviewError, Reviews


def test_what_a_review_must_be(open_records, results, tmp_path):
    good, alarm = results
    records = open_records()
    hear(records, (a_line(0, good), good), (a_line(1, alarm), alarm))
    reviews = Reviews(tmp_path / "records")
    plain, there = (a_line(n, good)["id"] for n in (0, 1))
    for words, sentence in (
        ((there, "bad", "Ada"), "label 'bad': expected good or defective"),
        ((there, "good", " "), "reviewer ' ': expected a name"),
        ((there, "good", "Ada", "x" * 3000), "the note has 3000 characters"),
        ((plain, "good", "Ada"), "has no frame: it was neither an alarm nor sampled"),
        (("left-0-7", "good", "Ada"), "there is no record left-0-7"),
    ):
        with pytest.raises(ReviewError, match=sentence):
            reviews.mark(*words)
    with pytest.raises(ReviewError, match="is not marked"):
        reviews.release([there], "Ada")
    assert reviews.marks(there) == []
    assert reviews.claim(there, "Ada").claimed_by == "Ada"
    assert reviews.waiting() == []
    with pytest.raises(ReviewError, match=r"Ada looks at .* now: take another one"):
        reviews.claim(there, "Grace")
    entry = reviews.mark(there, "good", "Grace", "dust")
    assert (entry.label, entry.reviewer, entry.note, entry.claimed_by) == (
        *("good", "Grace", "dust"),
        None,
    )
    assert reviews.mark(there, "defective", "Ada").label == "defective"
    assert [mark["reviewer"] for mark in reviews.marks(there)] == ["Grace", "Ada"]
    assert (
        abs(
            time.time()
            - time.mktime(time.strptime(entry.reviewed[:19], "%Y-%m-%dT%H:%M:%S"))
            + time.timezone
        )
        < 5
    )
    reviews.close()


def test_the_history_is_filtered_and_paged(open_records, results, tmp_path):
    good, alarm = results
    records = open_records()
    for number in range(12):
        result = alarm if number % 4 == 0 else good
        hear(records, (a_line(number, result, "left" if number % 2 else "right"), result))
    reviews = Reviews(tmp_path / "records")

    def numbers(**filters):
        return [json.loads(e.id.rpartition("-")[2]) for e in reviews.history(**filters)]

    assert numbers() == list(range(11, -1, -1))
    assert numbers(camera="left") == [11, 9, 7, 5, 3, 1]
    assert numbers(is_anomalous=True) == [8, 4, 0]
    assert numbers(limit=3) == [11, 10, 9]
    assert numbers(limit=3, before=reviews.history(limit=3)[-1].number) == [8, 7, 6]
    middle = a_line(6, good)["captured"]
    assert sorted(numbers(since=middle) + numbers(until=middle)) == list(range(12))
    assert 6 in numbers(since=middle)
    reviews.close()


def test_a_mark_that_was_taken_back_does_not_keep_a_frame(open_records, results, tmp_path):
    records = open_records(limit_mb=1)
    hear(records, *((a_line(n, results[1]), results[1]) for n in range(2)))
    reviews = Reviews(tmp_path / "records")
    kept, back = (entry.id for entry in reviews.waiting())
    for identity in (kept, back):
        reviews.mark(identity, "good", "Ada")
    reviews.withdraw(back, "Ada")
    with pytest.raises(ReviewError, match="is not marked: only one's own latest mark"):
        reviews.withdraw(back, "Ada")
    pruning.prune_by_size(records._store, 0, records._remove)
    with pytest.raises(ReviewError, match="there is no record"):
        reviews.entry(back)
    assert reviews.entry(kept).pruned is None and reviews.marked()[0].id == kept
    reviews.close()
