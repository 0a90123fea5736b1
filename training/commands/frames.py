"""Decode videos of a fixed camera into a data set of frames, lossless.

Without --labels the frames are normal ones to learn from (DATA/training/frames/VIDEO/). With
--labels the videos are a test set (DATA/testing/frames/VIDEO/ and the labels beside it).
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from edgead.cli.console import Console, count, progress_line
from edgead.cli.options import add, file_path, whole
from edgead.errors import InputError
from edgead.images import read_image

EXAMPLE = (
    "  edgead frames monday.mp4 tuesday.mp4 --every 50 --out DATA\n"
    "  edgead frames friday.mp4 --labels friday.csv --out DATA"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add(parser, "videos VIDEO", "files to decode", file_path, nargs="+")
    add(parser, "--out DATA", "the data set", file_path, required=True)
    add(parser, "--every N", "keep every N-th frame (default: all)", whole, default=1)
    text = (
        "for each video, in their order, a file with one 0 or 1 (anomalous) per frame of the "
        "video, a line each or .npy"
    )
    add(parser, "--labels FILE", text, file_path, nargs="+")


def run(args: argparse.Namespace) -> int:
    """Decode; returns 0."""
    # What FFmpeg and OpenCV say of a damaged file becomes one sentence.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    from ..data.video import Clip, extract

    labels = args.labels or [None] * len(args.videos)
    if len(labels) != len(args.videos):
        raise InputError(
            f"{count(len(labels), 'file')} of labels for {count(len(args.videos), 'video')}; "
            "expected one for each video, in the same order"
        )
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out {args.out} is a file; give a folder (it may be a new one)")
    console = Console()
    clips = [Clip(*pair) for pair in zip(args.videos, labels, strict=True)]
    done = extract(
        clips, args.out, every=args.every, progress=lambda name: progress_line(f"decoding {name}")
    )
    uncounted = "the file does not state its number of frames: missing frames cannot be detected"
    for clip, found in zip(clips, done, strict=True):
        console.say(f"read   {clip.video}: {count(found.decoded, 'frame')}")
        if not found.counted:
            console.say(f"note   {uncounted}")
        marked = "" if found.anomalous is None else f", {found.anomalous} anomalous"
        console.say(f"wrote  {found.folder}: {count(found.kept, 'frame')}{marked}")
    data = shlex.quote(str(args.out))
    if args.labels is None:
        shape = _settings(done[0].folder)
        console.next(f"edgead train arnet {data} --out RUN --minutes 10{shape}")
    else:
        console.next(f"edgead evaluate NAME.edgead {data} --report report")
    return 0


def _settings(folder: Path) -> str:
    """What ARNet takes of video (docs/video.md), and of frames that are not square: a size like
    theirs, no quarter turns."""
    height, width = read_image(min(folder.iterdir())).shape[:2]
    found = " --set shrink=1 --set fine=false"
    if height == width:
        return found
    share = min(1.0, 256 / max(height, width))
    rows, columns = (max(64, 16 * round(side * share / 16)) for side in (height, width))
    turns = "" if rows == columns else " --set turns=2"
    return f" --set 'size=[{rows},{columns}]'{turns}{found}"
