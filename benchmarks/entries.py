"""The files of figures: one entry for a method on a data set, its runs over seeds side by side.

    [{"method", "preset", "dataset", "settings" (all of them), "command",
      "seeds": [...], "image_auroc": [...], "pixel_auroc": [...], "aupro": [...],
      "model_mb", "gflop", "score_ms", "train_seconds", "agreement", "changed_verdicts",
      "runs": [{"seed", ...}]}]

``runs`` is what was measured, everything before it is made from it. No torch.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgead.errors import InputError
from edgead.files import write_file

HEAD = ("method", "preset", "dataset", "settings", "command")
FIGURES = ("image_auroc", "pixel_auroc", "aupro")  # one number for each seed, None without masks
OF_A_RUN = (
    *("seed", *FIGURES, "model_mb", "gflop", "score_ms", "train_seconds", "steps"),
    *("agreement", "changed_verdicts", "calibration_images", "test_images", "processor"),
)
"""What is measured of a run. agreement: largest difference of an image AUROC from torch's;
changed_verdicts: calibration images on which the engine and torch differ; score_ms: median of
Detector.score in one thread."""

Entry = dict[str, Any]


class Results:
    """The entries of one JSON file. ``place`` names the keys that no two entries share."""

    def __init__(self, path: Path, place: tuple[str, ...]) -> None:
        self.path, self.place = path, place
        self.entries = read_entries(path)

    def find(self, head: Entry) -> Entry | None:
        """The entry in the place of ``head``, of whatever command."""
        for entry in self.entries:
            if all(entry[key] == head[key] for key in self.place):
                return entry
        return None

    def holds(self, head: Entry, seed: int) -> bool:
        """Whether this run was measured, with the same command and settings."""
        entry = self.find(head)
        return entry is not None and _same(entry, head) and seed in entry["seeds"]

    def check(self, head: Entry) -> None:
        """Raises: InputError when the place of ``head`` is taken by other settings or bounds."""
        entry = self.find(head)
        if entry is None or _same(entry, head):
            return
        changed = [key for key, value in head["settings"].items()
                   if entry["settings"].get(key) != value]  # fmt: skip
        what = f"other settings ({', '.join(changed)})" if changed else "another command"
        raise InputError(
            f"{self.path} holds {head['method']} on {head['dataset']} with {what}: "
            f"{entry['command']}; expected: {head['command']}. Give the same options, --replace to "
            "measure it anew, or another --results"
        )

    def add(self, head: Entry, run: Entry) -> None:
        """Put a run into its entry and write the file; an entry of another command gives way."""
        self.entries = read_entries(self.path)  # another process may have added to it
        entry = self.find(head)
        kept = []
        if entry is not None:
            self.entries.remove(entry)
            kept = entry["runs"] if _same(entry, head) else []
        runs = [old for old in kept if old["seed"] != run["seed"]] + [run]
        self.entries.append(make_entry(head, runs))
        self.entries.sort(
            key=lambda e: [e["dataset"], e["method"], e["preset"], str(e["settings"])]
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, (json.dumps(self.entries, indent=1) + "\n").encode())


def _same(entry: Entry, head: Entry) -> bool:
    return all(entry[key] == head[key] for key in ("settings", "command"))


def make_entry(head: Entry, runs: Sequence[Entry]) -> Entry:
    """The entry of ``runs``, by seed: lists beside each other, costs as one number."""
    runs = sorted(runs, key=lambda run: run["seed"])
    columns = {key: [run[key] for run in runs] for key in OF_A_RUN}
    return {
        **{key: head[key] for key in HEAD},
        "seeds": columns["seed"],
        **{key: columns[key] for key in FIGURES},
        "model_mb": round(statistics.mean(columns["model_mb"]), 3),
        "gflop": round(statistics.mean(columns["gflop"]), 4),
        "score_ms": round(statistics.median(columns["score_ms"]), 3),
        "train_seconds": round(statistics.mean(columns["train_seconds"]), 1),
        "agreement": max(columns["agreement"]),
        "changed_verdicts": sum(columns["changed_verdicts"]),
        "runs": list(runs),
    }


def read_entries(path: Path) -> list[Entry]:
    """The entries of the file ``path``; none where there is no file.

    Raises: InputError for a file that is damaged, or whose lists are not those of its runs.
    """
    if not path.exists():
        return []
    cure = "restore it, or give another --results"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        for entry in entries:
            if make_entry(entry, entry["runs"]) != entry:
                name = f"{entry['method']} on {entry['dataset']}"
                raise InputError(f"{path}: the figures of {name} are not those of its runs; {cure}")
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a file of figures ({error!r}); {cure}") from error
    return list(entries)
