"""The files of figures: one entry for a method on a data set, its runs over seeds side by side.

    [{"method", "preset", "dataset", "trained", "with_instant", "settings" (all of them), "command",
      "seeds": [...], "image_auroc": [...], "pixel_auroc": [...], "aupro": [...], ...
      "model_mb", "gflop", "score_ms", "train_seconds", "agreement", "changed_verdicts",
      "parts", "image_auroc_interval": [low, high], "false_reject_promised",
      "false_reject_reached": [...], "cost_over_backbone", "ahead_of_untrained",
      "runs": [{"seed", ...}]}]

``runs`` is what was measured, everything before it is made from it. ``earlier``: true marks an
entry of an earlier protocol, which gives way to a new one. No torch.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgead.errors import InputError
from edgead.files import write_file

HEAD = ("method", "preset", "dataset", "trained", "with_instant", "settings", "command")
FIGURES = ("image_auroc", "pixel_auroc", "aupro")  # one number for each seed, None without masks
MORE_FIGURES = ("aupro_0_05", "frame_size_aupro", "frame_size_aupro_0_05", "false_reject_reached")
"""The same, and None in earlier runs."""
OF_A_RUN = (
    *("seed", *FIGURES, "model_mb", "gflop", "score_ms", "train_seconds", "steps"),
    *("agreement", "changed_verdicts", "calibration_images", "test_images", "processor"),
)
"""What is measured of a run. agreement: largest difference of an image AUROC from torch's;
changed_verdicts: calibration images on which the engine and torch differ, both None of what is not
trained and where the statistics are joined, which torch does not compute; score_ms: median of
Detector.score in one thread."""
LATER = (
    *("parts", "image_auroc_interval", "false_reject_promised", "cost_over_backbone"),
    *("ahead_of_untrained", *MORE_FIGURES),
)
"""The same, missing in earlier runs. parts: of the test set, over which intervals are made;
cost_over_backbone: Detector.score over bare inference of the backbone, one thread, in turns, None
untrained, where it is that of the trained one;
ahead_of_untrained: the image AUROC less that of the untrained run of the same seed, and the ends of
its interval over the same draws of parts; None of an untrained run."""

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
        return entry is not None and _kept(entry, head) and seed in entry["seeds"]

    def check(self, head: Entry) -> None:
        """Raises: InputError when the place of ``head`` is taken by other settings or bounds."""
        entry = self.find(head)
        if entry is None or _same(entry, head) or entry.get("earlier"):
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
            kept = entry["runs"] if _kept(entry, head) else []
        runs = [old for old in kept if old["seed"] != run["seed"]] + [run]
        self.entries.append(make_entry(head, runs))
        self.entries.sort(
            key=lambda e: [
                *(e[key] for key in ("dataset", "method", "preset", "with_instant", "trained")),
                str(e["settings"]),
            ]
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, (json.dumps(self.entries, indent=1) + "\n").encode())


def _same(entry: Entry, head: Entry) -> bool:
    return all(entry[key] == head[key] for key in ("settings", "command"))


def _kept(entry: Entry, head: Entry) -> bool:
    return _same(entry, head) and not entry.get("earlier")


def make_entry(head: Entry, runs: Sequence[Entry]) -> Entry:
    """The entry of ``runs``, by seed: lists beside each other, costs as one number."""
    runs = sorted(runs, key=lambda run: run["seed"])
    columns = {key: [run[key] for run in runs] for key in OF_A_RUN}
    later = {key: [run.get(key) for run in runs] for key in LATER}
    return {
        **{key: head[key] for key in HEAD},
        **({"earlier": True} if head.get("earlier") else {}),
        "seeds": columns["seed"],
        **{key: columns[key] for key in FIGURES},
        "model_mb": round(statistics.mean(columns["model_mb"]), 3),
        "gflop": round(statistics.mean(columns["gflop"]), 4),
        "score_ms": round(statistics.median(columns["score_ms"]), 3),
        "train_seconds": round(statistics.mean(columns["train_seconds"]), 1),
        "agreement": _over(max, columns["agreement"]),
        "changed_verdicts": _over(sum, columns["changed_verdicts"]),
        **{key: later[key] for key in MORE_FIGURES},
        **{key: later[key][0] for key in ("parts", "false_reject_promised")},
        **{key: _means(later[key]) for key in ("image_auroc_interval", "ahead_of_untrained")},
        "cost_over_backbone": _over(statistics.median, later["cost_over_backbone"]),
        "runs": list(runs),
    }


def _over(compute: Callable[[list[Any]], Any], values: Sequence[Any]) -> Any:
    """What ``compute`` gives of the values that are there; None without any."""
    known = [value for value in values if value is not None]
    return compute(known) if known else None


def _means(rows: Sequence[Sequence[float] | None]) -> list[float] | None:
    """The mean over the runs of each place of their lists: the parts are the same in all runs."""
    known = [row for row in rows if row is not None]
    return [statistics.mean(place) for place in zip(*known, strict=True)] if known else None


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
