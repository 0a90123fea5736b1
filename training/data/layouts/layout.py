"""What a layout is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..dataset import Sample

Purpose = Literal["train", "evaluate"]
Found = tuple[list[Sample], list[Sample]]  # of train and of test, in any order


@dataclass(frozen=True)
class Layout:
    """One way in which people keep a data set on disk.

    name     what --layout, run.json and the bundle call it
    tree     what is where, in a line, for messages
    fits     fits(folder, purpose): whether a folder looks like it; looks at few names
    read     read(root, folder): all samples of a folder, with names relative to `root`, which is
             the folder or its parent. Samples of train that are not good are left out later.
             Errors: DataError
    classes  whether the labels are classes, of which --category names the good one
    """

    name: str
    tree: str
    fits: Callable[[Path, Purpose], bool]
    read: Callable[[Path, Path], Found]
    classes: bool = False
