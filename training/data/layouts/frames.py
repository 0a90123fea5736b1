"""ShanghaiTech, and any camera that does not move: folders of frames, one for each video.

training/frames/<video>/*                   normal frames to learn from
testing/frames/<video>/*                    frames to evaluate on
testing/test_frame_mask/<video>.npy         one number for each frame, 0 normal, 1 anomalous

The frames of a video are in the order of the numbers in their names, with or without leading zeros.
ShanghaiTech's pixel masks (test_pixel_mask/) are not read: its figures are per frame.
"""

from __future__ import annotations

import io
import re
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.files import read_file

from ..dataset import GOOD, Asked, Found, Layout, Purpose, Sample, make_sample
from ..listing import folders_in, images_below, images_in, named
from ..words import meaning

ANOMALOUS = "anomalous"
TRAIN, TEST, LABELS = "training/frames", "testing/frames", "testing/test_frame_mask"


def fits(folder: Path, purpose: Purpose) -> bool:
    return any((folder / name).is_dir() for name in (TRAIN, TEST, "training/videos"))


def read(root: Path, folder: Path, asked: Asked) -> Found:
    test: list[Sample] = []
    orphans = set((folder / LABELS).glob("*.npy"))
    for video in folders_in(folder / TEST):
        labels = named(folder / LABELS, f"{video.name}.npy")
        test += _test_samples(root, video, labels)
        orphans.discard(labels)
    for part in (TRAIN, TEST):
        if loose := images_in(folder / part):
            raise DataError(
                f"{loose[0]} lies directly in {folder / part}; put the frames of each video into "
                f"a folder of its own, as {folder / part / 'camera1' / loose[0].name}"
            )
    if orphans:
        orphan = min(orphans)
        raise DataError(
            f"{orphan} labels a video without frames; expected {folder / TEST / orphan.stem}/, or "
            "the file removed"
        )
    images = images_below(folder / TRAIN)
    if asked.purpose == "train" and not asked.by_name:
        for path in images:
            if meaning(path.parent.name).good is False:
                raise DataError(
                    f"{path.parent} means defective, and all below {folder / TRAIN} is learnt as "
                    "normal; move it away, or give --layout frames if it shows nothing unusual"
                )
    return Found([make_sample(root, path) for path in images], test)


def video_of(name: str) -> str:
    """The video of the frame of this name; where the data set has categories, with the category."""
    return PurePosixPath(name).parent.as_posix().replace(f"{TEST}/", "")


def place_in_video(name: str) -> tuple[tuple[int, ...], str]:
    """What the frames of one video are sorted by: the numbers in the name, then the name."""
    file = PurePosixPath(name).name
    return tuple(int(digits) for digits in re.findall(r"[0-9]+", file)), file


def _test_samples(root: Path, video: Path, labels: Path) -> list[Sample]:
    frames = sorted(images_below(video), key=lambda path: place_in_video(path.name))
    if not frames:
        raise DataError(f"{video} holds no frames; remove the folder, or decode its video again")
    anomalous = read_frame_labels(labels)
    if anomalous.size != len(frames):
        raise DataError(
            f"{labels} has {anomalous.size} labels and {video} has {len(frames)} frames; expected "
            "one label for each frame: restore what is missing, or decode the video again"
        )
    labelled = zip(frames, anomalous, strict=True)
    return [make_sample(root, path, ANOMALOUS if odd else GOOD) for path, odd in labelled]


def read_frame_labels(path: Path) -> NDArray[np.bool_]:
    """The labels of a video's frames, [n] bool, True = anomalous. Raises: DataError."""
    expected = "expected a .npy file of one 0 (normal) or 1 (anomalous) for each frame of the video"
    try:
        values = np.load(io.BytesIO(read_file(path)), allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; {expected}") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}); {expected}") from error
    plain = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "buif"
    if not plain or not np.isin(values, (0, 1)).all():
        raise DataError(f"{path} holds something else; {expected}")
    return np.asarray(values != 0)


LAYOUT = Layout("frames", f"{TRAIN}/<video>/*, {TEST}/<video>/*, {LABELS}/<video>.npy", fits, read)
