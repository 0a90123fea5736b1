"""A line that sees a part every two seconds: its records, its reviewer, what is learnt from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgead.live.relearning.job import Request
from edgead.records.reviews import Reviews
from edgead.records.store import Records, RecordsSettings

RATE = 0.1
"""Its promise takes 9 frames of the sample."""


def a_line(number: int, result: Any, camera: str = "left") -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 10_000 + 2 * number))
    return {
        "id": f"{camera}-0123456789abcdef-{number}",
        "camera": camera,
        "frame": number,
        "captured": f"{moment}.250Z",
        **result.to_dict(),
    }


def record(folder: Path, found: Sequence[tuple[str, Any]], every: int) -> Path:
    """Records of these frames, of which each ``every``-th is in the sample."""
    numbers = iter(range(len(found)))
    draw = lambda: 0.0 if next(numbers) % every == 0 else 0.99  # noqa: E731
    records = Records(RecordsSettings(folder, sample_every=2), print, draw)
    for number, (_, result) in enumerate(found):
        line = a_line(number, result)
        records.send(line)
        records.hear(line, result)
        while records._frames:
            time.sleep(0.001)
    records.close()
    return folder


def mark_all(folder: Path, kinds: list[str], *, alarms_only: bool = False) -> None:
    """As a person who is always right would."""
    reviews = Reviews(folder)
    for entry in reviews.waiting(limit=1000):
        if alarms_only and entry.is_sampled:
            continue
        kind = kinds[int(entry.id.rpartition("-")[2])]
        reviews.mark(entry.id, "defective" if kind == "scratch" else "good", "Ada")
    reviews.close()


def a_request(folder: Path, **more: Any) -> Request:
    """For the bundle and the records in ``folder``."""
    given = {"rates": {"left": RATE}, "by": "Ada", "device": "cpu", **more}
    return Request(folder / "records", folder / "disc.edgead", **given)
