"""Reviews of recorded frames: what waits, who says good or defective, and when.

Alarms and a random sample of *all* frames wait for review side by side: a threshold that is set by
forgiven alarms alone promises nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edgead.errors import InputError
from edgead.records.lines import Line
from edgead.records.pruning import iso, transaction
from edgead.records.schema import FILE, connect

LABELS = ("good", "defective")
RELEASED = "released"
CLAIM_MINUTES = 30.0
LONGEST_NAME, LONGEST_NOTE = 100, 2000  # characters
ANY = "any"
"""In place of what a reviewer saw: whatever was said before."""


class ReviewError(InputError):
    """A review that cannot be: of a frame that is not there, or by nobody."""


@dataclass(frozen=True)
class Entry:
    """A recorded verdict, and its latest review.

    Args:
        number: order of recording; the cursor of ``history``.
        id, camera, captured, score, p_value, is_anomalous, threshold: as in its line.
        is_sampled: whether chance chose it for review.
        frame, heatmap: paths of the files; None where there are none, or they were pruned.
        pruned: when they were.
        label: good, defective, released or None.
        reviewer, reviewed, note: of the label.
        claimed_by: who looks at it now, until the claim lapses.
    """

    number: int
    id: str
    camera: str
    captured: str
    score: float | None
    p_value: float | None
    is_anomalous: bool | None
    threshold: float | None
    is_sampled: bool
    frame: Path | None
    heatmap: Path | None
    pruned: str | None
    label: str | None
    reviewer: str | None
    reviewed: str | None
    note: str | None
    claimed_by: str | None


class Reviews:
    """Reads the records of a folder, and adds reviews; also while ``edgead watch`` records.

    May be used by several threads.

    Args:
        folder: of the records.
        writes: whether reviews are to be added.

    Raises:
        InputError: there are no records.
        DeviceError: the database is damaged.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.folder = folder
        if not (folder / FILE).is_file():
            raise InputError(f"{folder} has no {FILE}: expected a folder of records")
        self._store = connect(folder / FILE, writes=writes)
        self._guard = threading.Lock()

    def waiting(self, camera: str | None = None, limit: int = 100) -> list[Entry]:
        """What waits for review, the latest first: alarms and the sample, unless it is claimed."""
        return self._entries(
            "frame IS NOT NULL AND pruned IS NULL AND label IS NULL AND claimed_by IS NULL",
            {"camera": camera},
            limit,
        )

    def history(
        self,
        *,
        camera: str | None = None,
        is_anomalous: bool | None = None,
        is_sampled: bool | None = None,
        label: str | None = None,
        is_reviewed: bool | None = None,
        since: str | None = None,
        until: str | None = None,
        low: float | None = None,
        high: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """Recorded verdicts that are so, the latest first.

        Args:
            camera, is_anomalous, is_sampled, label: None for all.
            is_reviewed: whether there is a label, or none.
            since, until: of ``captured``, as in lines; ``until`` is not included.
            low, high: of the score, both included.
            before: only numbers below; that of the last entry leads to the next page.
            limit: most entries.
        """
        same = {
            "camera": camera,
            "is_anomalous": is_anomalous,
            "is_sampled": is_sampled,
            "label": label,
        }
        condition = (
            "(:since IS NULL OR captured >= :since) AND (:until IS NULL OR captured < :until) "
            "AND (:before IS NULL OR number < :before) "
            "AND (:low IS NULL OR score >= :low) AND (:high IS NULL OR score <= :high)"
        )
        if is_reviewed is not None:
            condition += f" AND label IS {'NOT ' if is_reviewed else ''}NULL"
        given = {"since": since, "until": until, "before": before, "low": low, "high": high}
        return self._entries(condition, same, limit, given)

    def after(self, number: int, limit: int) -> list[Entry]:
        """The verdicts after ``number``, in the order of recording."""
        return self._entries("number > :after", {}, limit, {"after": number}, "ASC")

    def entry(self, identity: str) -> Entry:
        """The verdict with this id.

        Raises:
            ReviewError: it is not there.
        """
        found = self._entries("1", {"id": identity}, 1)
        if not found:
            raise ReviewError(_absent(identity))
        return found[0]

    def line(self, identity: str) -> Line:
        """The line of a verdict; without a frame it has no ``regions``."""
        self.entry(identity)
        with self._guard:
            row = self._store.execute("SELECT line FROM verdicts WHERE id = ?", (identity,))
            found: Line = json.loads(row.fetchone()[0])
        return found

    def claim(self, identity: str, reviewer: str, minutes: float = CLAIM_MINUTES) -> Entry:
        """Take a frame for a while: it is not pruned, and does not wait for others.

        Raises:
            ReviewError: no such frame, it was pruned, another person has it, or nobody claims it.
        """
        reviewer = _name(reviewer)
        until = iso(datetime.now(timezone.utc) + timedelta(minutes=minutes))
        with self._reviewing(identity) as entry:
            if entry.claimed_by not in (None, reviewer):
                raise ReviewError(f"{entry.claimed_by} looks at {identity} now: take another one")
            self._store.execute(
                "UPDATE evidence SET claimed_by = ?, claimed_until = ? WHERE id = ?",
                (reviewer, until, identity),
            )
        return self.entry(identity)

    def let_go(self, identity: str, reviewer: str) -> Entry:
        """End a claim of one's own, so that the frame waits for others; else nothing happens.

        Raises:
            ReviewError: no such frame, it was pruned, or nobody asks.
        """
        reviewer = _name(reviewer)
        with self._reviewing(identity):
            self._store.execute(
                "UPDATE evidence SET claimed_by = NULL, claimed_until = NULL "
                "WHERE id = ? AND claimed_by = ?",
                (identity, reviewer),
            )
        return self.entry(identity)

    def mark(
        self, identity: str, label: str, reviewer: str, note: str = "", seen: str | None = ANY
    ) -> Entry:
        """Say that a frame is good or defective; a later mark takes the place of an earlier one.

        All marks stay on record. The frame is not pruned until it is released.

        Args:
            identity: of the verdict.
            label: good or defective.
            reviewer: who says so.
            note: anything that should be known of it.
            seen: ``reviewed`` of the entry that the reviewer looked at, None without a review;
                refused when another reviewed it since. ANY: a mark that comes always counts.

        Raises:
            ReviewError: no such frame, it was pruned, it was reviewed since, or a wrong label,
                reviewer or note.
        """
        if label not in LABELS:
            raise ReviewError(f"label {label!r}: expected {' or '.join(LABELS)}")
        if len(note) > LONGEST_NOTE:
            raise ReviewError(f"the note has {len(note)} characters, expected up to {LONGEST_NOTE}")
        reviewer = _name(reviewer)
        with self._reviewing(identity) as entry:
            if seen not in (ANY, entry.reviewed):
                now = "is no longer reviewed"
                if entry.label is not None:
                    now = f"was marked {entry.label} by {entry.reviewer} meanwhile"
                raise ReviewError(f"{identity} {now}: look at it again")
            self._add(identity, label, reviewer, note)
        return self.entry(identity)

    def withdraw(self, identity: str, reviewer: str) -> Entry:
        """Take back one's own latest mark: what was said before it counts again.

        It stays on record, with the time at which it was taken back.

        Raises:
            ReviewError: no such frame, it was pruned, or the latest mark is not the reviewer's.
        """
        reviewer = _name(reviewer)
        with self._reviewing(identity) as entry:
            if entry.label not in LABELS or entry.reviewer != reviewer:
                who = f"is {entry.label} by {entry.reviewer}" if entry.label else "is not marked"
                raise ReviewError(f"{identity} {who}: only one's own latest mark is taken back")
            self._store.execute(
                "UPDATE reviews SET withdrawn = ? WHERE number = "
                "(SELECT MAX(number) FROM reviews WHERE id = ? AND withdrawn IS NULL)",
                (iso(datetime.now(timezone.utc)), identity),
            )
        return self.entry(identity)

    def release(self, identities: Iterable[str], reviewer: str, note: str = "") -> None:
        """Let marked frames be pruned, once they were learnt from; their labels stay on record.

        Raises:
            ReviewError: one that is not marked; then none is released.
        """
        chosen, reviewer = list(identities), _name(reviewer)
        for identity in chosen:
            if self.entry(identity).label not in LABELS:
                raise ReviewError(f"{identity} is not marked: only marked frames are released")
        with self._guard, transaction(self._store):
            for identity in chosen:
                self._add(identity, RELEASED, reviewer, note)

    def marked(self, camera: str | None = None) -> list[Entry]:
        """Frames marked good or defective, in the order of recording."""
        found = self._entries(
            "label IN ('good', 'defective') AND pruned IS NULL", {"camera": camera}, -1
        )
        return found[::-1]

    def marks(self, identity: str) -> list[dict[str, str | None]]:
        """All that was said of a frame, the first first; ``withdrawn``: when it was taken back."""
        with self._guard:
            rows = self._store.execute(
                "SELECT label, reviewer, reviewed, note, withdrawn FROM reviews WHERE id = ? "
                "ORDER BY number",
                (identity,),
            ).fetchall()
        keys = ("label", "reviewer", "reviewed", "note", "withdrawn")
        return [dict(zip(keys, row, strict=True)) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        with self._guard:
            self._store.close()

    def _add(self, identity: str, label: str, reviewer: str, note: str) -> None:
        now = iso(datetime.now(timezone.utc))
        self._store.execute(
            "INSERT INTO reviews (id, label, reviewer, reviewed, note) VALUES (?, ?, ?, ?, ?)",
            (identity, label, reviewer, now, note),
        )
        self._store.execute(
            "UPDATE evidence SET claimed_by = NULL, claimed_until = NULL WHERE id = ?", (identity,)
        )

    @contextmanager
    def _reviewing(self, identity: str) -> Iterator[Entry]:
        """A transaction in which the frame of ``identity`` is there."""
        with self._guard, transaction(self._store):
            found = self._select("1", {"id": identity}, 1, {})
            if not found:
                raise ReviewError(_absent(identity))
            if found[0].pruned is not None:
                raise ReviewError(
                    f"the frame of {identity} was pruned on {found[0].pruned}, when the records "
                    "reached their limit: raise limit_mb to keep frames longer"
                )
            if found[0].frame is None:
                raise ReviewError(f"{identity} has no frame: it was neither an alarm nor sampled")
            yield found[0]

    def _entries(
        self,
        condition: str,
        same: dict[str, Any],
        limit: int,
        more: dict[str, Any] | None = None,
        order: str = "DESC",
    ) -> list[Entry]:
        with self._guard:
            return self._select(condition, same, limit, more or {}, order)

    def _select(
        self,
        condition: str,
        same: dict[str, Any],
        limit: int,
        more: dict[str, Any],
        order: str = "DESC",
    ) -> list[Entry]:
        given = {key: value for key, value in same.items() if value is not None}
        where = " AND ".join([f"({condition})", *(f"{key} = :{key}" for key in given)])
        rows = self._store.execute(
            f"SELECT * FROM ({_SELECT}) WHERE {where} ORDER BY number {order} LIMIT :limit",
            {**given, **more, "limit": limit},
        ).fetchall()
        return [self._entry(row) for row in rows]

    def _entry(self, row: Sequence[Any]) -> Entry:
        values = dict(zip(_COLUMNS, row, strict=True))
        for key in ("is_anomalous", "is_sampled"):
            values[key] = None if values[key] is None else bool(values[key])
        for key in ("frame", "heatmap"):
            gone = values[key] is None or values["pruned"] is not None
            values[key] = None if gone else self.folder / values[key]
        return Entry(**values)


def _absent(identity: str) -> str:
    return (
        f"there is no record {identity}: it was never saved, or removed for its age; reload the "
        "list"
    )


def reviewer_name(reviewer: str) -> str:
    """The name of who reviews, without blanks around it.

    Raises:
        ReviewError: nothing, or no name.
    """
    return _name(reviewer)


def _name(reviewer: str) -> str:
    name = reviewer.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ReviewError(f"reviewer {reviewer!r}: expected a name of up to {LONGEST_NAME} letters")
    return name


_LATEST = (
    "SELECT {} FROM reviews WHERE reviews.id = verdicts.id AND withdrawn IS NULL "
    "ORDER BY number DESC LIMIT 1"
)
_SELECT = (
    "SELECT number, id, camera, captured, score, p_value, is_anomalous, threshold, is_sampled, "
    "frame, heatmap, pruned, "
    + "".join(f"({_LATEST.format(key)}) AS {key}, " for key in ("label", "reviewer", "reviewed"))
    + f"({_LATEST.format('note')}) AS note, "
    "CASE WHEN claimed_until > strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN claimed_by END "
    "AS claimed_by FROM verdicts LEFT JOIN evidence USING (id)"
)
_COLUMNS = tuple(Entry.__dataclass_fields__)
