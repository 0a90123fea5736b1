"""How a source is read: what every kind of Reader is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgead.errors import InputError, shortened
from edgead.live.log import Say
from edgead.live.source import Source


@dataclass(frozen=True)
class Setup:
    """How a source is read; a kind that cannot do what is asked raises InputError.

    Args:
        options: of ``--set KEY=VALUE``, or the table ``options``: texts, numbers, true and false.
        stall_s: without a frame for so long, the signal counts as lost.
        every_frame: nothing is dropped: the source waits.
        bit_depth: that the user declares, of uint16 frames.
        say: for what belongs in the log.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    stall_s: float = 10.0
    every_frame: bool = False
    bit_depth: int | None = None
    say: Say = lambda word, text, kind="": None


class Options:
    """Takes the options of a source one by one; what nobody took is refused by ``finish``."""

    def __init__(self, source: Source, options: Mapping[str, Any]) -> None:
        self._kind = source.kind
        self._left = dict(options)
        self._known: list[str] = []

    def number(
        self, name: str, fits: Callable[[float], bool] = lambda value: True, what: str = "a number"
    ) -> float | None:
        """A number that ``fits``, in words ``what``; None when it is not given."""
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise self._refusal(name, value, what)
        return float(value)

    def choice(self, name: str, *words: str) -> str | None:
        """One of ``words``, any text without them; None when it is not given."""
        value = self._take(name)
        if value is not None and (not isinstance(value, str) or (words and value not in words)):
            raise self._refusal(name, value, " or ".join(words) or "a text")
        return value

    def features(self) -> dict[str, Any]:
        """The options that begin with a capital: features of the camera, by its own names."""
        found = {name: value for name, value in self._left.items() if name[:1].isupper()}
        for name in found:
            del self._left[name]
        self._known.append("features of the camera by their names, as ReverseX")
        return found

    def finish(self) -> None:
        """Refuse an option that nobody took."""
        if self._left:
            known = ", ".join(self._known)
            raise InputError(
                f"a source of the kind {self._kind} has no option "
                f"{shortened(repr(next(iter(self._left))), 60)}: "
                + (f"it has {known}" if known else "it has none")
            )

    def _take(self, name: str) -> Any:
        self._known.append(name)
        return self._left.pop(name, None)

    def _refusal(self, name: str, value: object, what: str) -> InputError:
        return InputError(f"option {name} is {shortened(repr(value), 60)}: expected {what}")
