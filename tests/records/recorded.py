"""Verdicts to be recorded, and how they are."""

from __future__ import annotations

import time
from pathlib import Path


def a_line(number: int, result, camera: str = "left", captured: str | None = None) -> dict:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 1000 + number))
    return {
        "id": f"{camera}-0123456789abcdef-{number}",
        "camera": camera,
        "frame": number,
        "captured": captured or f"{moment}.250Z",
        **result.to_dict(),
    }


def hear(records, *verdicts):
    """Each of them saved, with its frame, before the next is heard."""
    for line, result in verdicts:
        records.send(line)
        records.hear(line, result)
        give_up = time.monotonic() + 60
        while records._frames or records._queue:
            assert time.monotonic() < give_up
            time.sleep(0.002)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
