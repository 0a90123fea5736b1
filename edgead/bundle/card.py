"""The model card: ``card.md``, what a bundle is, for people who decide whether to use it.

It is made of the manifest alone, and is a file of the bundle like any other: its digest is in the
manifest, so that a signature covers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgead.bundle.manifest import Manifest
from edgead.calibration import best_false_reject_rate
from edgead.errors import printable

CARD = "card.md"
ABOUT = "card"
"""Of the provenance: ``data_licence`` and ``notes``, which the maker may have given."""
UNSAID = "not stated"
_CONSEQUENCE = (
    "The threshold holds for parts, camera, lens, light and placement as in the calibration "
    "images.\nWhen one of them changes, calibrate again (`edgead calibrate`).\n"
)


def with_card(manifest: Manifest, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """``files`` with the card of ``manifest``, in place of an older one."""
    return {**files, CARD: card_of(manifest).encode("utf-8", "backslashreplace")}


def card_of(manifest: Manifest) -> str:
    """The card in Markdown.

    Args:
        manifest: complete but for ``files``.
    """
    about = manifest.provenance.get(ABOUT, {})
    parts = [
        f"# {_plain(manifest.name)}\n",
        f"Finds what is unlike good parts, by {_plain(manifest.method)}. Made by edgead "
        f"{manifest.edgead_version}.\n",  # not when: the same data give the same file
        "## Data\n",
        _table(_data(manifest.provenance)),
        "## Figures\n",
        _table(_figures(manifest)),
        "## Limits\n",
        _CONSEQUENCE + _limits(manifest),
        "## Licences\n",
        _table(_licences(manifest.provenance)),
        "edgead itself: Apache-2.0.\n",
    ]
    if notes := about.get("notes"):
        parts += ["## From the maker\n", f"{notes.strip()}\n"]
    return "\n".join(parts)


def _data(provenance: Mapping[str, Any]) -> dict[str, object]:
    """What was learnt from."""
    data, contents = provenance.get("data", {}), provenance.get("contents", {})
    counts = {
        f"images {word}": contents[key]["images"]
        for key, word in (("learnt", "learnt from"), ("calibrated", "that calibrate"))
        if isinstance(contents.get(key), dict)
    }
    shown = {key: data[key] for key in ("name", "layout", "category") if key in data}
    return {**shown, **counts, "licence": provenance.get(ABOUT, {}).get("data_licence", UNSAID)}


def _figures(manifest: Manifest) -> dict[str, object]:
    """What was measured when it was made."""
    calibration = manifest.calibration
    number, of_what = calibration.counted()
    low, high = min(calibration.scores), max(calibration.scores)
    rate = calibration.false_reject_rate
    found: dict[str, object] = {
        "scores of good images": f"{low:.4g} to {high:.4g}, {len(calibration.scores)} images",
        "false-reject rate": f"{rate:.3g}; the lowest that {number} {of_what} promise: "
        f"{best_false_reject_rate(number):.3g}",
        "golden frames": len(manifest.golden),
    }
    for precision in manifest.models:
        tolerance = manifest.tolerance_of(precision)
        found[f"threshold in {precision}"] = f"{manifest.limit(precision, rate):.5g}"
        found[f"tolerance in {precision}"] = f"score {tolerance.score:.2g}, map {tolerance.map:.2g}"
    defects = manifest.provenance.get("defects")
    if isinstance(defects, dict) and "caught" in defects and "images" in defects:
        found["known defects caught"] = f"{defects['caught']} of {defects['images']}"
    return found


def _limits(manifest: Manifest) -> str:
    seen = manifest.preprocess.size if manifest.tiling is None else manifest.tiling.size
    size = f"{seen[0]} x {seen[1]} (height x width)"
    lines = [
        f"- Frames are brought to {size}: what is smaller than a few pixels then is not seen."
        if manifest.tiling is None
        else f"- Frames are seen in tiles of {size} pixels.",
        "- No defect was learnt. A defect that resembles good parts is missed; how many are missed "
        "is known only for defects that were tried.",
        "- The false-reject rate is promised for good parts like those that calibrate.",
    ]
    if manifest.ignore is not None:
        lines.append("- Parts of the frame are ignored: the ignore mask.")
    return "\n" + "\n".join(lines) + "\n"


def _licences(provenance: Mapping[str, Any]) -> dict[str, object]:
    learn = provenance.get("learn", {})
    backbone = learn.get("backbone", provenance.get("backbone", {}))
    found: dict[str, object] = {"data": provenance.get(ABOUT, {}).get("data_licence", UNSAID)}
    if isinstance(backbone, dict) and backbone:
        found["backbone"] = backbone.get("licence", UNSAID)
        names = [backbone[key] for key in ("name", "weights", "source") if backbone.get(key)]
        found["weights of"] = ", ".join(map(str, dict.fromkeys(names)))
    return found


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {key} | {_plain(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def _plain(value: object) -> str:
    """Text on one line of a table: no markup and no link of a name takes effect."""
    text = printable(value)
    return "".join(f"\\{c}" if c in "\\|<>[]*_`#&!" else c for c in text)
