"""What the settings of every method have in common: they are checked when they are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np

from edgead.anomaly_map import POOLINGS
from edgead.errors import TrainingError

_LEAST = {"batch_size": 2, "steps": 1, "learning_rate": 1e-9, "blur_sigma": 0}


class MethodSettings:
    """Base of a method's frozen dataclass of settings, every one with a default.

    It has size (height, width), blur_sigma, pooling, top_k, batch_size, learning_rate and steps.

    multiple: of the sides of size; choices: what a setting may be; least: the least value of a
    number, or of each of several; shares: settings from 0 to 1.
    Raises: TrainingError that names the setting, what was given and what is expected.
    """

    multiple: ClassVar[int]
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    least: ClassVar[Mapping[str, float]] = {}
    shares: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, method: str, values: dict[str, Any]) -> Any:
        """From plain JSON; lists become tuples. Raises: TrainingError."""
        known = sorted(each.name for each in fields(cls))
        for key in values:
            if key not in known:
                raise TrainingError(f"{method} has no setting {key!r}; it knows {known}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for each in fields(self):
            if not _alike(given[each.name], each.default):
                raise TrainingError(
                    f"{each.name}={given[each.name]!r} cannot be used; expected a value like "
                    f"{each.name}={json.dumps(each.default)}"
                )
        for name, choices in {**self.choices, "pooling": POOLINGS}.items():
            if given[name] not in choices:
                known = ", ".join(map(str, choices))
                raise TrainingError(f"{name}={given[name]!r} is not known; choose one of: {known}")
        if any(side < 64 or side % self.multiple for side in given["size"]):
            raise TrainingError(
                f"size={given['size']} cannot be used: height and width must be multiples of "
                f"{self.multiple}, at least 64"
            )
        if not 0 < given["top_k"] <= 1:
            raise TrainingError(
                f"top_k={given['top_k']} is not a share of the map; give 0 < top_k <= 1"
            )
        for name, bound in {**_LEAST, **self.least}.items():
            finite = np.all(np.isfinite(given[name]))
            if not (finite and np.all(np.greater_equal(given[name], bound))):
                kind = "" if finite else "a finite number, "
                raise TrainingError(f"{name}={given[name]} must be {kind}at least {bound}")
        for name in self.shares:
            if not 0 <= given[name] <= 1:
                raise TrainingError(f"{name}={given[name]} is not a share; give 0 to 1")


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        same_length = isinstance(value, tuple) and len(value) == len(example)
        return same_length and all(map(_alike, value, example))
    if isinstance(example, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(example)
