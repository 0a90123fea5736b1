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

    Args:
        name: what --layout, run.json and the bundle call it.
        tree: what is where, in a line, for messages.
        fits: (folder, purpose) to whether it looks like one; looks at few names.
        read: (root, folder) to all samples of a folder, named by the way from `root`, which is the
            folder or its parent. Those of train that are not good are left out later.
        classes: whether the labels are classes, of which --category names the good one.
    """

    name: str
    tree: str
    fits: Callable[[Path, Purpose], bool]
    read: Callable[[Path, Path], Found]
    classes: bool = False
