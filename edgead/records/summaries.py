"""What a page asks of the records: what waits, how scores went over time, what was scored last."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

MOST_ROWS = 20_000
"""Verdicts that are looked at for a course over time; of more, every k-th."""
_FRAMES = (
    "evidence CROSS JOIN verdicts ON verdicts.id = evidence.id"  # in this order: there are few
)
_OPEN = "NOT EXISTS (SELECT 1 FROM reviews WHERE reviews.id = evidence.id AND withdrawn IS NULL)"
_LATEST = (
    "number = (SELECT MAX(number) FROM reviews AS later WHERE later.id = reviews.id "
    "AND withdrawn IS NULL)"
)


class Waiting(NamedTuple):
    """How many frames wait for review, and how many were marked.

    ``alarms``: that wait and were not drawn; ``sample``: that were drawn by chance, whatever their
    verdict; ``good``, ``defective``: marked so now; ``sample_marked``: of those, drawn by chance.
    """

    alarms: int
    sample: int
    good: int
    defective: int
    sample_marked: int


def waiting(store: sqlite3.Connection, camera: str | None = None) -> Waiting:
    """Count what waits for review and what was marked, of one camera or of all."""
    given = {"camera": camera}
    open_ = store.execute(
        "SELECT COALESCE(SUM(NOT is_sampled), 0), COALESCE(SUM(is_sampled), 0) "
        f"FROM {_FRAMES} WHERE pruned IS NULL "
        f"AND (:camera IS NULL OR camera = :camera) AND {_OPEN}",
        given,
    ).fetchone()
    marked = store.execute(
        "SELECT COALESCE(SUM(label = 'good'), 0), COALESCE(SUM(label = 'defective'), 0), "
        "COALESCE(SUM(is_sampled AND label <> 'released'), 0) "
        "FROM (SELECT id, label FROM reviews "
        f"WHERE {_LATEST}) AS marked CROSS JOIN verdicts ON verdicts.id = marked.id "
        "WHERE (:camera IS NULL OR camera = :camera)",
        given,
    ).fetchone()
    return Waiting(*open_, *marked)


def queue(
    store: sqlite3.Connection, *, camera: str | None, reviewer: str | None, limit: int
) -> list[str]:
    """Ids of frames that wait for review: an alarm and one of the sample in turn, latest first.

    Args:
        store: the database.
        camera: None for all.
        reviewer: frames claimed by others are left out.
        limit: most ids.
    """
    found = []
    for is_sampled in (False, True):
        rows = store.execute(
            f"SELECT evidence.id FROM {_FRAMES} WHERE pruned IS NULL "
            "AND is_sampled = :is_sampled AND (:camera IS NULL OR camera = :camera) "
            f"AND {_OPEN} AND (claimed_by IS NULL OR claimed_by = :reviewer "
            "OR claimed_until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) "
            "ORDER BY verdicts.number DESC LIMIT :limit",
            {"is_sampled": is_sampled, "camera": camera, "reviewer": reviewer, "limit": limit},
        )
        found.append([row[0] for row in rows])
    alarms, sample = found
    turns = max(map(len, found))
    mixed = [each[turn] for turn in range(turns) for each in (alarms, sample) if turn < len(each)]
    return mixed[:limit]


def course(
    store: sqlite3.Connection, *, camera: str, since: str, until: str, steps: int
) -> dict[str, Any]:
    """How a camera's verdicts went between two times, in ``steps`` equal parts.

    Args:
        store: the database.
        camera: its name.
        since, until: as ``captured``; ``until`` is not included.
        steps: how many parts.

    Returns:
        ``every``: each how-manieth verdict was looked at (1: all); ``verdicts``: how many there
        are; ``reasons``: of health and drift, the most frequent first, as text, verdicts that have
        it and when it was last; ``steps``: of each part that has verdicts its beginning ``start``
        (seconds since 1970), and of those looked at their number ``verdicts``, how many were
        ``anomalous``, could not be scored (``failed``) or had a note of ``health`` or ``drift``,
        ``p50`` and ``p95`` of scores, the last ``threshold``, ``latency_ms`` (p50).
    """
    given = {"camera": camera, "since": since, "until": until}
    where = "camera = :camera AND captured >= :since AND captured < :until"
    total = store.execute(f"SELECT COUNT(*) FROM verdicts WHERE {where}", given).fetchone()[0]
    every = max(1, -(-total // MOST_ROWS))
    rows = store.execute(
        "SELECT (julianday(captured) - 2440587.5) * 86400, score, is_anomalous, threshold, "
        "json_extract(line, '$.latency_ms'), json_extract(line, '$.health'), "
        "json_extract(line, '$.drift'), captured FROM verdicts WHERE number IN "  # of this camera:
        "(SELECT number FROM (SELECT number, ROW_NUMBER() OVER (ORDER BY captured) AS place "
        f"FROM verdicts WHERE {where}) WHERE place % :every = 0) ORDER BY captured",  # not of all
        {**given, "every": every},
    ).fetchall()
    start, end = store.execute(
        "SELECT (julianday(:since) - 2440587.5) * 86400, (julianday(:until) - 2440587.5) * 86400",
        given,
    ).fetchone()
    step_s = (end - start) / steps
    parts: dict[int, list[Any]] = {}
    for row in rows:
        parts.setdefault(min(int((row[0] - start) / step_s), steps - 1), []).append(row)
    return {
        "every": every,
        "verdicts": total,
        "start": start,
        "step_s": step_s,
        "reasons": _reasons(rows),
        "steps": [_step(start + step_s * index, part) for index, part in sorted(parts.items())],
    }


def _step(start: float, rows: list[Any]) -> dict[str, Any]:
    scores = [row[1] for row in rows if row[1] is not None]
    latencies = [row[4] for row in rows if row[4] is not None]
    thresholds = [row[3] for row in rows if row[3] is not None]
    return {
        "start": start,
        "verdicts": len(rows),
        "anomalous": sum(bool(row[2]) for row in rows),
        "failed": sum(row[2] is None for row in rows),
        "health": sum(row[5] not in (None, "[]") for row in rows),
        "drift": sum(row[6] is not None for row in rows),
        "p50": float(np.median(scores)) if scores else None,
        "p95": float(np.percentile(scores, 95)) if scores else None,
        "threshold": thresholds[-1] if thresholds else None,
        "latency_ms": float(np.median(latencies)) if latencies else None,
    }


def _reasons(rows: list[Any], most: int = 8) -> list[dict[str, Any]]:
    """What health and drift said, without its numbers counted as one."""
    counts, latest = Counter[str](), dict[str, tuple[str, str]]()
    for *_, health, drift, captured in rows:
        said = [] if health in (None, "[]") else _texts(health)
        for text in [*said, *([] if drift is None else [drift])]:
            kind = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text)
            counts[kind] += 1
            latest[kind] = text, captured
    return [
        {"text": latest[kind][0], "verdicts": count, "latest": latest[kind][1]}
        for kind, count in counts.most_common(most)
    ]


def _texts(found: str) -> list[str]:
    """The list of texts that SQLite gave as JSON."""
    return [str(text) for text in json.loads(found)]


class Scored(NamedTuple):
    """A verdict with its score, and what a person said of it; ``id`` None where it is not kept."""

    id: str | None
    captured: str
    score: float
    is_anomalous: bool
    threshold: float
    label: str | None


def scored(store: sqlite3.Connection, camera: str, last: int) -> list[Scored]:
    """The last verdicts of a camera that have a score, the latest first."""
    rows = store.execute(
        "SELECT id, captured, score, is_anomalous, threshold, (SELECT label FROM reviews "
        f"WHERE reviews.id = verdicts.id AND {_LATEST}) FROM verdicts "
        "WHERE camera = ? AND score IS NOT NULL ORDER BY captured DESC, number DESC LIMIT ?",
        (camera, last),
    )
    return [Scored(a, b, c, bool(is_anomalous), d, e) for a, b, c, is_anomalous, d, e in rows]
