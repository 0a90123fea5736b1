"""Cases that the tests of Python and of the C library both read, from ``tests/corpus``.

``manifest.json`` has every entry that a manifest may have. ``manifests.json`` has changes of it, a
row for each: ``at``, keys and indices; what ``is`` there then, without which it is taken away; and
what is said of it, null where it is read. The sentences are those of the implementation in Python
that was there before both shared one. ``p_values.json`` was counted by hand.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"


def manifests() -> list[tuple[dict[str, Any], str | None]]:
    """(manifest, what is said of it) for each row of ``manifests.json``."""
    whole = json.loads((CORPUS / "manifest.json").read_text(encoding="utf-8"))
    return [
        (_changed(whole, row), row["says"])
        for row in json.loads((CORPUS / "manifests.json").read_text(encoding="utf-8"))
    ]


def _changed(whole: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    manifest = copy.deepcopy(whole)
    place: Any = manifest
    *path, last = row["at"]
    for key in path:
        place = place[key]
    if "is" in row:
        place[last] = row["is"]
    else:
        del place[last]
    return manifest


def p_values() -> list[dict[str, Any]]:
    """The rows of ``p_values.json``: a score and its p-value, or a rate and what follows of it."""
    found: list[dict[str, Any]] = json.loads((CORPUS / "p_values.json").read_text(encoding="utf-8"))
    return found
