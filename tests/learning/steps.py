"""What tests of learning do: run a command, write images, take the digests of a bundle."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from edgead.cli.main import main


def run(*words: object) -> int:
    """The exit code of ``edgead`` with these words."""
    return main([str(word) for word in words])


def save(folder: Path, images: dict[str, np.ndarray]) -> Path:
    """``folder`` with the images in it, under their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        cv2.imwrite(str(folder / name), image)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Names and digests of all files of a bundle, not by edgead."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
