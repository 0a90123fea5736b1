"""Public functions and classes say what they take, give and raise, in one template.

A sentence; ``Args:`` with every parameter (or attribute of a dataclass) by its name; ``Returns:``
where something is returned that the sentence does not name; ``Raises:``; ``Source:``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

PUBLIC = {
    "edgead": None,  # all that __all__ names
    "edgead.bundle": None,
    "edgead.images": (
        *("read_image", "open_image", "decode_image", "list_images", "encode_png", "write_png"),
    ),
    "edgead.reference": ("preprocess", "anomaly_map", "distance", "pool"),
    "edgead.preprocess": ("PreprocessParams", "Preprocessor", "preprocess"),
    "edgead.anomaly_map": ("MapParams", "AnomalyMap"),
    "edgead.serving.choice": ("choose",),
    "edgead.serving.open_engine": ("open_engine",),
    "edgead.serving.qualification": ("qualify",),
    "edgead_training.run": ("train", "load_run"),
    "edgead_training.data": ("open_dataset",),
    "edgead_training.evaluation.evaluate": ("evaluate",),
    "edgead_export.exporter": ("export_run", "export_method"),
}
TRAINING = ("edgead_training", "edgead_export")


def documented(module_name: str) -> Iterator[tuple[str, Any]]:
    """Every public function, class and public method of a class, with its dotted name."""
    if module_name.startswith(TRAINING):
        pytest.importorskip("torch")
    module = importlib.import_module(module_name)
    for name in PUBLIC[module_name] or module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            yield f"{module_name}.{name}", value
        if inspect.isclass(value):
            for key, member in vars(value).items():
                if inspect.isfunction(member) and not key.startswith("_"):
                    yield f"{module_name}.{name}.{key}", member


def faults(value: Any) -> list[str]:
    """What the docstring of ``value`` lacks."""
    text = inspect.getdoc(value) or ""
    found = [] if text else ["no docstring"]
    found += [
        f"{word} is not a section" for word in ("Errors:", ":param", ":raises") if word in text
    ]
    if inspect.isclass(value) and issubclass(value, Exception):
        return found
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if not f.name.startswith("_")]
    else:
        names = [
            name for name in inspect.signature(value).parameters if name not in ("self", "cls")
        ]
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
    rows = section[1] if section else ""
    found += [
        f"{name} is not under Args:"
        for name in names
        if not re.search(rf"^ +(?:\w+, )*\*{{0,2}}{name}(?:, \w+)*:", rows, re.MULTILINE)
    ]
    return found


@pytest.mark.parametrize("module_name", PUBLIC)
def test_public_docstrings_follow_the_template(module_name: str) -> None:
    lacking = {name: faults(value) for name, value in documented(module_name)}
    assert lacking
    assert {name: found for name, found in lacking.items() if found} == {}


def test_what_is_lacking_is_found() -> None:
    def bad(frame: int, color: str) -> None:
        """Do it.

        Args:
            frame: [H, W] uint8

        Errors: InputError.
        """

    assert faults(bad) == ["Errors: is not a section", "color is not under Args:"]
