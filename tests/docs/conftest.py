"""The folder in which the documentation is run: bundles, images and videos that the pages name."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from doc_execution import Runner

from edgead.cli.main import main

BUNDLES = ("disc", "cell", "bottle", "part", "other", "several", "demo/cell")
SIZE = (80, 72, 3)  # of the frames: height, width, channels


@pytest.fixture(scope="session")
def prepared(tiny, make_frame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as a page finds it; copied for each page."""
    root = tmp_path_factory.mktemp("prepared")
    for name in BUNDLES:
        (root / name).parent.mkdir(exist_ok=True)
        tiny.write(root / f"{name}.edgead")
    for number in range(25):
        save(root / f"good/{number:03}.png", make_frame(100 + number, SIZE))
    for number in range(3):
        save(root / f"frames/{number:03}.png", make_frame(200 + number, SIZE))
    for number in range(10):
        save(root / f"photos/{number:03}.png", make_frame(300 + number, SIZE))
    for number in range(2):
        save(root / f"rejected/{number}.png", make_frame(330 + number, SIZE))
    for number in range(20):
        save(root / f"sample/{number:03}.png", make_frame(340 + number, SIZE))
    for number in range(3):
        save(root / f"bad/{number}.png", scratched(make_frame(370 + number, SIZE)))
    save(root / "frame.png", scratched(make_frame(400, SIZE)))
    (root / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("parts", "several/bottle", "several/cookies"):
        data_set(root / name, "stain", make_frame, masks=True)
    data_set(root / "demo/data", "defective", make_frame, masks=False)
    save(root / "demo/data/test/defective/cell0529.png", scratched(make_frame(401, SIZE)))
    save(root / "demo/data/test/good/cell1475.png", make_frame(402, SIZE))
    film = [make_frame(500 + n, SIZE) for n in range(8)]
    film[5] = scratched(film[5])
    write_video(root / "line.avi", "FFV1", film)
    for seed, name in ((600, "monday"), (650, "tuesday"), (700, "friday")):
        write_video(root / f"{name}.mp4", "mp4v", [make_frame(seed + n, SIZE) for n in range(24)])
    (root / "friday.csv").write_text("\n".join(["0"] * 16 + ["1"] * 8) + "\n")
    calibrated = [root / "disc.edgead", root / "good", "--out", root / "line3.edgead"]
    assert main(["calibrate", *map(str, calibrated)]) == 0
    return root


@pytest.fixture
def runner(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> Iterator[Runner]:
    """Runs blocks in a copy of the prepared folder."""
    work = tmp_path / "work"
    shutil.copytree(prepared, work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    yield Runner(lambda: tuple(capfd.readouterr()))


def data_set(root: Path, kind: str, make_frame: Callable[..., np.ndarray], *, masks: bool) -> None:
    """The MVTec layout: 10 to learn from, 6 good, 3 defective."""
    for number in range(10):
        save(root / f"train/good/{number:03}.png", make_frame(800 + number, SIZE))
    for number in range(6):
        save(root / f"test/good/{number:03}.png", make_frame(850 + number, SIZE))
    for number in range(3):
        save(root / f"test/{kind}/{number:03}.png", scratched(make_frame(880 + number, SIZE)))
        if masks:
            mask = np.zeros(SIZE[:2], np.uint8)
            mask[20:32, 15:50] = 255
            save(root / f"ground_truth/{kind}/{number:03}_mask.png", mask)


def scratched(frame: np.ndarray) -> np.ndarray:
    """Black and white stripes, coarse enough for the resize: the random graph feels them."""
    frame = frame.copy()
    for row in range(20, 32):
        frame[row, 15:50] = 255 * (row // 2 % 2)
    return frame


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_video(path: Path, codec: str, frames: list[np.ndarray]) -> None:
    height, width = frames[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25.0, (width, height))
    assert video.isOpened()
    for frame in frames:
        video.write(frame)
    video.release()
