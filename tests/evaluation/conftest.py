"""Tiny data sets on disk, and a detector whose answers can be told by looking at the frame."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from edgead.bundle.entries import Calibration
from edgead.result import Result, Scale

MAP_SIZE = (8, 10)
METRIC_KEYS = (
    "image_auroc",
    "image_ap",
    "f1_max",
    "pixel_auroc",
    "aupro",
    "aupro_0_05",
    "frame_size_pixel_auroc",
    "frame_size_aupro",
    "frame_size_aupro_0_05",
    "frame_auroc",
    "false_reject_promised",
    "false_reject_reached",
    "train_seconds",
    "n_test",
    "parts",
)
JSON_KEYS = ("kinds", "intervals", "overlap", "warnings")  # of the command, behind the others
FRAME_SIZE = (16, 20)  # twice the map's size: a map pixel is a block of 2 x 2 frame pixels


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image)
    assert done
    path.write_bytes(data.tobytes())
    return path


def part(brightness: int, spot: int | None = None, size: tuple[int, int] = FRAME_SIZE) -> Any:
    """A grey frame of one brightness; a spot of another in rows 4 to 7, columns 6 to 11."""
    image = np.full(size, brightness, np.uint8)
    if spot is not None:
        image[4:8, 6:12] = spot
    return image


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """4 train/good; test: 3 good, 2 scratch with masks, 1 dent without."""
    root = tmp_path / "parts"
    for index in range(4):
        save(root / f"train/good/{index}.png", part(20 + index))
    for index, brightness in enumerate((20, 30, 60)):
        save(root / f"test/good/{index}.png", part(brightness))
    for index, spot in enumerate((40, 200)):
        save(root / f"test/scratch/{index}.png", part(20, spot))
        save(root / f"ground_truth/scratch/{index}_mask.png", part(0, 255))
    save(root / "test/dent/0.png", part(20, 250))
    return root


class BrightnessDetector:
    """The map is the grey frame at half size, the score its maximum; anomalous above 50."""

    false_reject_rate = 0.2
    threshold = 50.0
    bit_depth = None

    def __init__(self) -> None:
        self.bundle = SimpleNamespace(
            manifest=SimpleNamespace(
                name="bright",
                method="brightness",
                provenance={"train_seconds": 12.5, "method": "brightness", "seed": 3},
                calibration=Calibration((20.0, 21.0, 30.0, 50.0), (20.0, 21.0, 30.0, 50.0), 0.2),
            )
        )

    def info(self) -> dict[str, str]:
        return {"device": "CPU: none", "precision": "float32", "bundle_sha256": "00"}

    def score(self, frame: np.ndarray) -> Result:
        assert frame.shape == FRAME_SIZE
        values = frame[::2, ::2].astype(np.float32)
        score = float(values.max())
        anomalous = score > self.threshold
        return Result(
            score=score,
            p_value=0.2 if anomalous else 0.6,
            is_anomalous=anomalous,
            threshold=self.threshold,
            map=values,
            timings_ms={"total": 2.0},
            frame=frame,
            color="bgr",
            scale=Scale(typical=20.0, threshold=self.threshold),
        )


@pytest.fixture(scope="session")
def metric_keys() -> tuple[str, ...]:
    """What scripts that read the JSON of `edgead evaluate` rely on, in this order."""
    return METRIC_KEYS


@pytest.fixture(scope="session")
def json_keys() -> tuple[str, ...]:
    """What the JSON has behind the figures."""
    return JSON_KEYS


@pytest.fixture
def detector() -> BrightnessDetector:
    return BrightnessDetector()


@pytest.fixture(scope="session")
def save_image() -> Callable[[Path, np.ndarray], Path]:
    return save


@pytest.fixture(scope="session")
def make_part() -> Callable[..., np.ndarray]:
    return part


@pytest.fixture
def put(save_image, make_part, tmp_path):
    """``put("a.png", "b.png", spot=9)``: grey parts below tmp_path/data, which is returned."""

    def write(*names: str, spot: int | None = None, brightness: int = 20, size=FRAME_SIZE) -> Path:
        for name in names:
            save_image(tmp_path / "data" / name, make_part(brightness, spot, size))
        return tmp_path / "data"

    return write


@pytest.fixture
def two(tmp_path, save_image, make_part):
    """bottle: good 20, 30, a defect of 200 with mask; cable: good 60, a defect of 40 without."""
    root = tmp_path / "two"
    for name, good, spot in (("bottle", (20, 30), 200), ("cable", (60,), 40)):
        for i, brightness in enumerate(good):
            save_image(root / f"{name}/test/good/{i}.png", make_part(brightness))
        save_image(root / f"{name}/test/dent/0.png", make_part(20, spot))
    save_image(root / "bottle/ground_truth/dent/0_mask.png", make_part(0, 255))
    return root
