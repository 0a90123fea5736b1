"""A set of good parts, a backbone with two levels, and a bundle that was learnt from them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from good_parts import part, write_small_backbone  # type: ignore[import-not-found]

pytest.importorskip("torch", reason="a backbone is made with the extra edgead[train]")


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "small.onnx"
    write_small_backbone(path)
    return path


@pytest.fixture(scope="session")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for seed in range(24):
        cv2.imwrite(str(folder / f"{seed:02}.png"), part(seed))
    return folder


@pytest.fixture(scope="session")
def images(good_folder: Path) -> list[Any]:
    from edgead.images import read_image
    from edgead.learning.learn import GoodImage

    def reader(path: Path) -> Callable[[], np.ndarray]:
        return lambda: read_image(path)

    return [GoodImage(path.name, reader(path)) for path in sorted(good_folder.iterdir())]


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory, images: list[Any], backbone_file: Path) -> Any:
    from edgead.learning.backbone import read_backbone
    from edgead.learning.learn import LearnOptions, learn

    out = tmp_path_factory.mktemp("learnt") / "disc.edgead"
    options = LearnOptions(size=(64, 64), memory=200)
    return learn(images[:18], images[18:], read_backbone(backbone_file), out, options)
