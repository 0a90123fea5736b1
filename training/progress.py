"""What a training tells people: lines, and bars on stderr with loss and time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from .methods.base import Progress

_LOG_SECONDS = 20.0  # between updates of a bar that goes to a file
_SMOOTHING = 0.95  # exponential mean of the losses shown
_open: list[tqdm[Any]] = []  # bars of ``progress``; a generator is not closed by its reader's error


def _nothing(*_: Any) -> None: ...


@dataclass(frozen=True)
class Bar:
    """The bar of the steps."""

    start: Callable[[str, int], None] = _nothing  # (stage, steps)
    update: Callable[[int, float, float, dict[str, float]], None] = _nothing
    """(step, share done, seconds left, losses)"""
    early: Callable[[float], None] = _nothing
    """(image AUROC on synthetic defects of held-out good images)"""
    close: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Reporter:
    """What a training tells people; without arguments nothing."""

    log: Callable[[str], None] = _nothing  # a line
    progress: Progress = lambda items, _title: iter(items)
    bar: Bar = Bar()


SILENT = Reporter()


def progress(items: Iterable[Any], title: str) -> Iterator[Any]:
    """Pass ``items`` on, with a bar titled ``title``."""
    bar = tqdm(items, desc=title, file=sys.stderr, leave=False, **_pace())
    _open.append(bar)
    try:
        yield from bar
    finally:
        bar.close()
        _open.remove(bar)


@contextmanager
def cleared() -> Iterator[None]:
    """Take away the bars that an error left on the line that its sentence is for."""
    try:
        yield
    finally:
        for bar in _open:
            bar.close()


def training_bar() -> Bar:
    """The bar of :func:`edgead_training.fit.fit`: stage, share done, losses, time left."""
    bars: list[tqdm[Any]] = []
    shown: dict[str, float] = {}
    figures: list[str] = []

    def start(stage: str, _steps: int) -> None:
        shown.clear()
        layout = "{desc}  {percentage:3.0f}% |{bar:24}| {elapsed}{postfix}"
        bars.append(
            tqdm(total=1000, desc=f"stage {stage}", bar_format=layout, file=sys.stderr, **_pace())
        )

    def update(step: int, done: float, seconds_left: float, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            shown[name] = _SMOOTHING * shown.get(name, value) + (1 - _SMOOTHING) * value
        text = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        left = tqdm.format_interval(round(seconds_left))
        words = [f"{left} left, step {step}", text, *figures[-1:]]
        bars[-1].set_postfix_str("  ".join(words), refresh=False)
        bars[-1].update(min(1000, round(1000 * done)) - bars[-1].n)

    def early(image_auroc: float) -> None:
        figures.append(f"synthetic defects {image_auroc:.3f}")

    def close() -> None:
        bars.pop().close()

    return Bar(start, update, early, close)


def _pace() -> dict[str, Any]:
    if sys.stderr.isatty():
        return {"mininterval": 0.2}
    return {"mininterval": _LOG_SECONDS, "maxinterval": _LOG_SECONDS, "ascii": True}
