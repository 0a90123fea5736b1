"""The settings of one watched camera, and what each key of line.toml takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgead.errors import InputError
from edgead.live.log import Say
from edgead.live.region import Region, region_of
from edgead.live.schedule import ALWAYS, Schedule, parse_schedule
from edgead.live.source import FOLDER, Source, parse_source
from edgead.live.sources.setup import Setup

MOST_S = 1e6
"""Eleven days: OpenCV counts milliseconds in 31 bits."""
MOST_HZ = 10_000.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""A camera's: it becomes part of ids, topics and addresses."""
USUAL = "camera"
"""The name of the one camera that the command line names."""


@dataclass(frozen=True)
class CameraSettings:
    """What a table ``[[camera]]``, or the command line, says of a camera.

    Args:
        name: of the camera.
        source: what to watch, as for ``parse_source``.
        bundle: path of the bundle.
        false_reject_rate, color, bit_depth, device, threads, precision, digests, trusted_keys: of
            ``Detector``.
        rate_hz: at most so many frames a second are scored; None: as many as can be.
        roi: what is scored of a frame; None: all of it.
        schedule: when it is watched.
        sinks: names of the tables ``[sink.NAME]`` that get its lines.
        options: of the source.
        every_frame, stall_seconds, reconnect_seconds, evidence, evidence_mb, drift: as the options
            of ``edgead watch``.
    """

    name: str
    source: str
    bundle: str
    false_reject_rate: float | None = None
    rate_hz: float | None = None
    roi: Region | None = None
    schedule: Schedule = ALWAYS
    sinks: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    every_frame: bool = False
    stall_seconds: float = 10.0
    reconnect_seconds: float | None = None
    evidence: str | None = None
    evidence_mb: float = 1000.0
    drift: bool = False
    color: str = "bgr"
    bit_depth: int | None = None
    device: str = "auto"
    threads: int | None = None
    precision: str | None = None
    digests: bool = False
    trusted_keys: str | None = None

    @property
    def detector(self) -> dict[str, Any]:
        """Arguments of ``Detector``."""
        names = ("device", "color", "bit_depth", "false_reject_rate", "threads", "precision")
        return {name: getattr(self, name) for name in (*names, "digests", "trusted_keys")}

    def check(self) -> Source:
        """The source; what does not fit together is an InputError.

        Raises:
            InputError: no such source, or settings that contradict each other.
        """
        source = parse_source(self.source)
        same = False
        if source.kind == FOLDER and self.evidence:
            try:
                same = os.path.samefile(self.evidence, self.source)
            except OSError:  # one that does not exist yet is another folder
                same = False
        if same:
            raise InputError(
                f"evidence {self.evidence} is the watched folder itself, under the same or another "
                "name: what is saved there would be watched; choose another folder"
            )
        return source

    def setup(self, bit_depth: int | None, say: Say) -> Setup:
        """How the source is read; ``bit_depth``: declared, or the bundle's."""
        return Setup(
            options=self.options,
            stall_s=self.stall_seconds,
            every_frame=self.every_frame,
            bit_depth=bit_depth,
            say=say,
        )

    def below(self, folder: Path) -> CameraSettings:
        """The same with paths that count from ``folder``."""
        source = folder / self.source
        changed: dict[str, Any] = {"bundle": str(folder / self.bundle)}
        if self.trusted_keys is not None:
            changed["trusted_keys"] = str(folder / self.trusted_keys)
        if not self.source.isdigit() and os.path.lexists(source):
            changed["source"] = str(source)
        if self.evidence is not None:
            changed["evidence"] = str(folder / self.evidence)
        return replace(self, **changed)


class Mistake(Exception):
    """What was expected of a value, in words."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Mistake("a text")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Mistake("a name of up to 63 letters of ASCII, digits, '_', '.' and '-'")
    return value


def _number(low: float, high: float) -> Callable[[object], float]:
    def checked(value: object) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not low <= float(value) <= high:  # type: ignore[arg-type]
            raise Mistake(f"a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    return checked


def _whole(low: int, high: int) -> Callable[[object], int]:
    def checked(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Mistake(f"a whole number from {low} to {high}")
        return value

    return checked


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Mistake("true or false")
    return value


def _texts(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise Mistake('a list of texts, as ["first", "second"]')
    return tuple(texts)


def _options(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(
        isinstance(each, str | int | float) for each in value.values()
    ):
        raise Mistake("a table of texts, numbers, true and false, as { exposure_us = 5000 }")
    return value


def _roi(value: object) -> Region:
    if not isinstance(value, list):
        raise Mistake("x, y, width and height in pixels, as [100, 0, 640, 480]")
    return region_of(value)


def _color(value: object) -> str:
    if value not in ("bgr", "rgb", "gray"):
        raise Mistake("bgr, rgb or gray")
    return str(value)


KEYS: dict[str, Callable[[object], Any]] = {
    "name": _name,
    "source": _text,
    "bundle": _text,
    "false_reject_rate": _number(0, 1),
    "rate_hz": _number(1 / 86_400, MOST_HZ),
    "roi": _roi,
    "schedule": lambda value: parse_schedule(_texts(value)),
    "sinks": _texts,
    "options": _options,
    "every_frame": _flag,
    "stall_seconds": _number(0.01, MOST_S),
    "reconnect_seconds": _number(0, MOST_S),
    "evidence": _text,
    "evidence_mb": _number(0.001, 1e9),
    "drift": _flag,
    "color": _color,
    "bit_depth": _whole(9, 16),
    "device": _text,
    "threads": _whole(1, 1024),
    "precision": _text,
    "digests": _flag,
    "trusted_keys": _text,
}
"""Key -> what makes the value of it, or raises Mistake or InputError."""
