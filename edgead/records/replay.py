"""Replay: score the saved frames of recorded verdicts again, and find the first mismatch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.detector import Detector
from edgead.engine.digests import Digests
from edgead.errors import InputError
from edgead.images import IMAGE_SUFFIXES, read_image
from edgead.records.evidence import FRAME, VERDICT, stem_of

STAGES = ("frame", "preprocess", "engine", "anomaly_map", "score")
"""In the order in which a verdict is made; a mismatch is named by the first."""


@dataclass(frozen=True)
class Record:
    """A verdict that was written with digests, and the image its frame was saved to."""

    name: str
    image: Path
    score: float
    digests: Digests


@dataclass
class Records:
    """What was read, and how many verdicts were left out."""

    found: list[Record] = field(default_factory=list)
    without_digests: int = 0
    without_frame: int = 0

    def setting(self, key: str) -> Any:
        """A setting that all records were made with; InputError for several values."""
        values = {record.digests.served.get(key) for record in self.found}
        if len(values) > 1:
            listed = " and ".join(sorted(map(repr, values)))
            raise InputError(
                f"the verdicts were recorded with {key} {listed}; expected one value for a replay: "
                "replay the records separately"
            )
        return values.pop()


@dataclass(frozen=True)
class Replayed:
    """A record and what its frame gives now; ``stage`` is the first with a mismatch, or None."""

    record: Record
    score: float
    stage: str | None
    part: str  # of the engine: which pair, and which of its two; else empty

    @property
    def score_difference(self) -> float:
        """The score now less the recorded one."""
        return self.score - self.record.score


def read_records(paths: Sequence[Path], frames: Path | None) -> Records:
    """Read lines of ``edgead watch``, JSON of ``edgead score`` and folders of evidence.

    Args:
        paths: files and folders.
        frames: a folder of saved frames, for lines that are not saved beside theirs.

    Raises:
        InputError: a path without verdicts, damaged JSON or digests, or nothing to replay.
    """
    if frames is not None and not frames.is_dir():
        raise InputError(f"--frames {frames} is not a folder; expected the folder of saved frames")
    records = Records()
    for path in paths:
        for name, verdict, beside in _verdicts(path):
            _take(records, name, verdict, beside, frames)
    where = ", ".join(map(str, paths))
    if not records.found and records.without_frame:
        raise InputError(
            f"no frame of {where} was saved, so there is nothing to score again: name the folder "
            "with --frames DIR, and record with edgead watch --evidence DIR"
        )
    if not records.found and records.without_digests:
        raise InputError(
            f"the verdicts of {where} were recorded without digests, so no stage can be compared: "
            "record with edgead watch --digests or edgead score --json --digests"
        )
    if not records.found:
        raise InputError(f"{where} holds no verdict of a frame that was scored; check the path")
    return records


def replay(detector: Detector, record: Record) -> Replayed:
    """Score the record's frame with ``detector``, which was opened with ``digests=True``.

    Raises:
        InputError: the image is gone, cannot be read or cannot be scored.
    """
    if not record.image.exists():
        raise InputError(
            f"{record.name}: its frame {record.image} is missing: copy it back, or name the "
            "folder of saved frames with --frames DIR"
        )
    frame = read_image(record.image, bit_depth=detector.bit_depth)
    try:
        result = detector.score(frame)
    except InputError as error:
        raise InputError(f"{record.image}: {error}") from error
    was, found = record.digests, result.digests
    differs = (stage for stage in STAGES[:-1] if getattr(was, stage) != getattr(found, stage))
    stage = next(differs, None if result.score == record.score else "score")
    part = _part(was.engine, found.engine) if found and stage == "engine" else ""
    return Replayed(record, result.score, stage, part)


def _part(was: tuple[tuple[str, str], ...], found: tuple[tuple[str, str], ...]) -> str:
    if len(was) != len(found):
        return f"{len(was)} pairs became {len(found)}"
    for number, (a, b) in enumerate(zip(was, found, strict=True)):
        if a != b:
            return f"pair {number}, {'reference' if a[0] != b[0] else 'reconstructed'}"
    return ""


def _verdicts(path: Path) -> Iterator[tuple[str, Any, Path | None]]:
    """Name and JSON of each verdict, and the frame that stands beside it if that is known."""
    if path.is_dir():
        pieces = sorted(path.glob(f"*{VERDICT}"))
        if not pieces:
            raise InputError(
                f"folder {path} holds no {VERDICT[1:]}: expected the folder of edgead watch "
                "--evidence; images without verdicts are for edgead score"
            )
        for piece in pieces:
            yield from _verdicts(piece)
        return
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text: expected the lines of edgead watch, the JSON of edgead score, "
            "or a folder of evidence"
        ) from error
    whole = _json(text)
    if path.name.endswith(VERDICT):
        yield str(path), whole, path.with_name(path.name.removesuffix(VERDICT) + FRAME)
    elif isinstance(whole, dict) and isinstance(whole.get("frames"), list):
        for number, verdict in enumerate(whole["frames"]):
            yield f"{path} frame {number}", verdict, None
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path} line {number}", _json(line), None


def _take(
    records: Records, name: str, verdict: Any, beside: Path | None, frames: Path | None
) -> None:
    """Add a verdict to the records, or count why not."""
    if not isinstance(verdict, dict):
        raise InputError(
            f"{name} is not a JSON object: it is damaged or not a verdict; copy the file again or "
            "remove it (expected the output of edgead watch or edgead score --json)"
        )
    if "error" in verdict:
        return
    if "digests" not in verdict:
        records.without_digests += 1
        return
    try:
        digests = Digests.from_json(verdict["digests"])
    except InputError as error:
        raise InputError(f"{name} is damaged: {error}; copy the file again or remove it") from None
    score = verdict.get("score")
    if not isinstance(score, float):
        raise InputError(f"{name} is damaged: score is {score!r}, expected a number; remove it")
    image = beside
    if image is None or (frames is not None and not _present(image).exists()):
        image = _saved(verdict, frames) or image
    if image is None:
        records.without_frame += 1
        return
    records.found.append(Record(name, _present(image), score, digests))


def _saved(verdict: dict[str, Any], frames: Path | None) -> Path | None:
    """Where the frame of a line should be: as evidence, or as the image it was read from."""
    named = verdict.get("file", verdict.get("path"))
    named = Path(named) if isinstance(named, str) and Path(named).name else None
    if frames is None:
        return named
    with contextlib.suppress(KeyError, TypeError, ValueError):  # of edgead score, or damaged
        piece = frames / f"{stem_of(verdict)}{FRAME}"
        if piece.exists():
            return piece
    return None if named is None else frames / named.name


def _present(image: Path) -> Path:
    """``image``, or where it is gone the same name in another format, as after a conversion."""
    others = (image.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)
    return next((path for path in (image, *others) if path.exists()), image)


def _json(text: str) -> Any:
    """The value; None when it is not a JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
