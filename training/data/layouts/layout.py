"""What a layout is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..dataset import Sample

Purpose = Literal["train", "evaluate"]
Found = tuple[list[Sample], list[Sample]]  # training samples, test samples; in any order


@dataclass(frozen=True)
class Layout:
    """One way in which people keep a data set on disk.

    name  what run.json and the bundle call it
    fits  fits(folder, purpose): whether a folder looks like it. Looks at names only, and at few;
          no two layouts may fit the same folder
    read  read(root, folder): the samples of a folder that fits, with names relative to `root`,
          which is the folder or a parent of it. Errors: DataError
    """

    name: str
    fits: Callable[[Path, Purpose], bool]
    read: Callable[[Path, Path], Found]
