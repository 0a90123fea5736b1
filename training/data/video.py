"""Videos of a fixed camera, decoded once into the folders that the layout "frames" reads.

    DATA/training/frames/<video>/<number>.png
    DATA/testing/frames/<video>/<number>.png   and   DATA/testing/test_frame_mask/<video>.npy

The number is the frame's place in the video, so it stays true where only every n-th is kept. All
videos are decoded under hidden names and then renamed: they appear together or not at all.
No torch.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError, InputError
from edgead.files import read_file, utf8_name, write_file
from edgead.images import encode_png
from edgead.live.source import quiet_opencv

from .layouts.frames import LABELS, TEST, TRAIN, read_frame_labels

Progress = Callable[[str], Callable[[int, int], None]]
"""Called with a video's name, gives what is called with (frames decoded, frames in all)."""


@dataclass(frozen=True)
class Clip:
    """One video and, for a test set, the file with its labels."""

    video: Path
    labels: Path | None = None


@dataclass(frozen=True)
class Extracted:
    """What became of one video.

    Args:
        folder: where its frames are.
        decoded, kept: frames in all, and of those the written ones.
        anomalous: how many of the written ones are labelled so, None for training.
        counted: whether the file states its number of frames, without which missing ones cannot be
            detected.
    """

    folder: Path
    decoded: int
    kept: int
    anomalous: int | None
    counted: bool


def extract(
    clips: Sequence[Clip], out: Path, *, every: int = 1, progress: Progress | None = None
) -> list[Extracted]:
    """Write every n-th frame of the videos below `out`: test videos where there are labels.

    Raises: InputError for a video that cannot be decoded or ends before it should, for labels that
    are no 0 and 1 or of another number, for names that clash. `out` is then as it was before.
    """
    if every < 1:
        raise InputError(f"--every {every} keeps no frame; give 1 to keep all, 5 for every fifth")
    places = _places(clips, out)
    labels = [None if clip.labels is None else read_labels(clip.labels) for clip in clips]
    with _workshop(out) as workshop:
        found = [
            _decode(clip, marks, workshop / str(number), folder, every, progress)
            for number, (clip, marks, folder) in enumerate(zip(clips, labels, places, strict=True))
        ]
        for number, (marks, folder) in enumerate(zip(labels, places, strict=True)):
            folder.parent.mkdir(parents=True, exist_ok=True)
            if marks is not None:
                target = out / LABELS / f"{folder.name}.npy"
                target.parent.mkdir(parents=True, exist_ok=True)
                stream = io.BytesIO()
                np.save(stream, marks[::every], allow_pickle=False)
                write_file(target, stream.getvalue())
            os.rename(workshop / str(number), folder)
    return found


def read_labels(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Labels of frames, [n] uint8 of 0 (normal) and 1 (anomalous).

    A ``.npy`` file, or a text file with one 0 or 1 a line. Raises: InputError, DataError.
    """
    file = Path(path)
    if file.suffix.lower() == ".npy":
        return read_frame_labels(file).astype(np.uint8)
    expected = "expected one 0 (normal) or 1 (anomalous) a line for each frame, or a .npy file"
    try:
        lines = read_file(file).decode("utf-8-sig").split()
    except OSError as error:
        raise InputError(f"cannot read labels {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file; {expected}") from error
    for number, line in enumerate(lines, 1):
        if line not in ("0", "1"):
            raise InputError(f"label {number} of {file} is {line[:20]!r}; {expected}")
    return np.array(lines, dtype=np.uint8)


def _places(clips: Sequence[Clip], out: Path) -> list[Path]:
    """The folder for the frames of each video; there is none yet."""
    seen: dict[Path, Path] = {}
    for clip in clips:
        if not clip.video.is_file():
            raise InputError(f"{clip.video} is not a file; give the path of a video")
        folder = out / (TRAIN if clip.labels is None else TEST) / clip.video.stem
        utf8_name(clip.video)
        if folder in seen:
            raise InputError(
                f"{seen[folder]} and {clip.video} would both become {folder}; rename one"
            )
        if folder.exists():
            raise InputError(
                f"{folder} exists already; remove it to decode {clip.video} again, or give "
                "another --out"
            )
        seen[folder] = clip.video
    return list(seen)


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A hidden folder in `out`, gone at the end; so is `out`, where it is new and nothing came."""
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".decoding-", dir=out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for each in new:
            with suppress(OSError):  # holds what was decoded
                each.rmdir()


def _decode(
    clip: Clip, labels: NDArray[np.uint8] | None, folder: Path, final: Path, every: int,
    progress: Progress | None,
) -> Extracted:  # fmt: skip
    quiet_opencv()
    capture = cv2.VideoCapture(os.fspath(clip.video), cv2.CAP_FFMPEG)
    try:
        said = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.isOpened() else 0
        show = progress(clip.video.name) if progress is not None and said else None
        folder.mkdir()
        decoded = kept = 0
        while capture.grab():
            if decoded % every == 0:
                whole, frame = capture.retrieve()
                if not whole:
                    break
                (folder / f"{decoded:06d}.png").write_bytes(encode_png(frame))
                kept += 1
            decoded += 1
            if show is not None:
                show(decoded, said)
    finally:
        capture.release()
    _check_decoded(clip, labels, decoded, said)
    anomalous = None if labels is None else int(labels[::every].sum())
    return Extracted(final, decoded, kept, anomalous, said > 0)


def _check_decoded(clip: Clip, labels: NDArray[np.uint8] | None, decoded: int, said: int) -> None:
    if not decoded:
        raise InputError(
            f"{clip.video} cannot be decoded: it is not a video, is cut off or damaged, or its "
            "codec is unknown here; copy it again, or convert it with: ffmpeg -i VIDEO -c:v "
            "libx264 -crf 0 NEW.mp4"
        )
    if decoded < said:
        raise InputError(
            f"{clip.video} stops after {decoded} of {said} frames: it is cut off or damaged; copy "
            "it again, or keep what is there with: ffmpeg -i VIDEO -c copy NEW.mp4"
        )
    if labels is not None and labels.size != decoded:
        raise DataError(
            f"{clip.labels} has {labels.size} labels and {clip.video} has {decoded} frames; "
            "expected one label for each frame: give the labels of this very file"
        )
