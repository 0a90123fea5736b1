"""Give a bundle an ignore mask: parts of the frame that are excluded from the score.

Draw polygons, or a PNG of the frame's size that is not 0 where pixels are ignored, or both. Scores
change when pixels no longer count, so the new bundle is calibrated again: --calibrate takes good
images of this camera that training did not see. The frame size is theirs.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.ignore_mask import IgnoreMask, parse_polygon
from edgead.bundle.roi import ignored_in, roi_of
from edgead.bundle.storage import Draft, check_out, open_bundle
from edgead.cli.calibrate import say_choice
from edgead.cli.console import Console, count, percent
from edgead.cli.options import add, add_bit_depth, add_false_reject_rate, whole, word
from edgead.detector import Detector
from edgead.editing.masking import FILE, masked
from edgead.editing.recalibration import check_number, choose, concerns, recalibrate, record
from edgead.errors import InputError
from edgead.images import encode_png, expand, images_of, read_image, sentence, write_png
from edgead.result import as_bgr8, grey_out, ignored_pixels
from edgead.signing.trust import note_unsigned

EXAMPLE = """\
  edgead mask cell.edgead --polygon "0,0 90,0 90,60" --preview frame.png look.png
  edgead mask cell.edgead --polygon "0,0 90,0 90,60" --calibrate good/ --out masked.edgead
  edgead mask cell.edgead --png ignore.png --calibrate good/ --out masked.edgead"""

_OUTLINE = (0, 0, 255)  # BGR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead mask``."""
    add(parser, "engine NAME.edgead", "the bundle, without a mask")
    add(
        parser,
        '--polygon "X,Y X,Y X,Y"',
        "ignore the inside; corners in pixels of the frame from its top left; repeat for more "
        "polygons",
        action="append",
        default=[],
    )
    add(parser, "--png MASK.png", "ignore the pixels that are not 0; of the frame's size")
    text, names = "write FRAME with the mask drawn over it", ("FRAME", "PICTURE.png")
    parser.add_argument("--preview", nargs=2, type=word, metavar=names, help=text)
    add(parser, "--calibrate DIR", "good images of this camera, to calibrate with")
    add(parser, "--out NEW.edgead", "the bundle to write")
    add_false_reject_rate(parser)
    add_bit_depth(parser)
    add(parser, "--threads N", "threads of the engine", whole)


def run(args: argparse.Namespace) -> int:
    """Draw the picture, write the bundle, or both."""
    _check_arguments(args)
    if args.out is not None:
        check_out(args.out)
    bundle = open_bundle(args.engine)
    if bundle.manifest.ignore is not None:
        raise InputError(
            f"{args.engine} has an ignore mask already, and what it hid is no longer in its golden "
            "maps: start from the bundle without a mask, and draw all of it"
        )
    console = Console()
    bit_depth = bundle.manifest.declared(args.bit_depth).preprocess.bit_depth
    mask, png, frame_name = _draw(args, bit_depth)
    draft = masked(bundle, mask, png)
    _tell(console, args.engine, draft, frame_name)
    if args.preview:
        _write_preview(draft, bit_depth, *args.preview)
        console.say(f"wrote  {args.preview[1]}")
    if args.out is None:
        console.next(
            f"look at {args.preview[1]}, then the same with --calibrate DIR --out NEW.edgead"
        )
        return 0
    for line in note_unsigned(bundle, args.out):
        console.say(line)
    _write(console, draft, args)
    console.next(f"edgead score {shlex.quote(args.out)} IMAGE --heatmap heatmaps")
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    if not args.polygon and args.png is None:
        raise InputError('nothing to ignore: give --polygon "x,y x,y x,y" or --png MASK.png')
    if args.out is None and not args.preview:
        raise InputError(
            "nothing to write: give --preview FRAME PICTURE.png to look at the mask, "
            "--calibrate DIR --out NEW.edgead to make the bundle"
        )
    if args.out is not None and args.calibrate is None:
        raise InputError(
            "--out without --calibrate DIR: scores change when pixels no longer count, so the new "
            "bundle needs good images of this camera that training did not see"
        )
    if args.out is None and args.calibrate is not None:
        raise InputError("--calibrate without --out NEW.edgead: give the bundle to write")


def _draw(args: argparse.Namespace, bit_depth: int | None) -> tuple[IgnoreMask, bytes | None, str]:
    """The mask, the file of its image, and the frame whose size it has."""
    polygons = tuple(parse_polygon(text) for text in args.polygon)
    given = args.preview[0] if args.out is None else args.calibrate
    frame_name = str(expand([given]).images[0])
    height, width = read_image(frame_name, bit_depth=bit_depth).shape[:2]
    mask = IgnoreMask((height, width), polygons, None if args.png is None else FILE)
    if args.png is None:
        return mask, None, frame_name
    # Written anew: what was JPEG or has an alpha channel becomes what the manifest promises.
    ignored = replace(mask, polygons=()).ignored(read_image(args.png))
    return mask, encode_png(255 * ignored.astype(np.uint8), "picture"), frame_name


def _tell(console: Console, name: str, draft: Draft, frame_name: str) -> None:
    mask, ignored, roi = draft.manifest.ignore, ignored_in(draft), roi_of(draft)
    assert mask is not None and ignored is not None and roi is not None
    height, width = mask.frame_size
    console.say(f"read   {name}; the mask is drawn on {height} x {width}, the size of {frame_name}")
    console.say(
        f"found  {percent(ignored.mean())} of the frame drawn, "
        f"{percent(1 - roi.mean())} of the map ignored"
    )
    radius = int(4 * draft.manifest.map.blur_sigma + 0.5)
    reach = max(-(-radius * n // m) for n, m in zip(mask.frame_size, roi.shape, strict=True))
    console.say(
        f"note   the blur carries what is under the mask up to {reach} pixels of the frame beyond "
        "its border: where something strange can lie there, draw it larger"
    )


def _write_preview(draft: Draft, bit_depth: int | None, frame_name: str, out: str) -> None:
    """The frame with the ignored area greyed, and what was drawn outlined."""
    import cv2

    frame = read_image(frame_name, bit_depth=bit_depth)
    mask, drawn, roi = draft.manifest.ignore, ignored_in(draft), roi_of(draft)
    assert mask is not None and drawn is not None and roi is not None
    mask.check_frame(frame)
    picture: NDArray[Any] = np.array(as_bgr8(frame, "bgr", bit_depth or 16))
    grey_out(picture, ignored_pixels(roi, mask.frame_size))
    outlines, _ = cv2.findContours(drawn.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _OUTLINE, max(1, min(mask.frame_size) // 256))
    write_png(out, picture, "picture")


def _write(console: Console, draft: Draft, args: argparse.Namespace) -> None:
    """Qualify the masked graph, calibrate it, write it."""
    found = images_of(args.calibrate)
    paths = found.images
    if found.left_out:
        console.say(f"note   {sentence(found.left_out)}")
    check_number(draft, len(paths), args.false_reject_rate)
    choice = choose(draft, paths, bit_depth=args.bit_depth)
    rate = check_number(draft, len(choice.paths), args.false_reject_rate)
    say_choice(console, choice)
    detector = Detector(draft, bit_depth=args.bit_depth, threads=args.threads)
    recording = record(detector, choice)
    bundle = recalibrate(detector, recording, args.out, rate)
    ties = draft.manifest.calibration_of(detector.info()["precision"]).ties.score
    # The old scores are those of all pixels, and not to be compared with.
    for warning in concerns(recording.scores, recording, ties):
        console.warn(warning)
    console.say(
        f"wrote  {bundle.path}, calibrated on {count(len(choice.paths), 'image')}, "
        f"false-reject rate {percent(rate)}, qualified on "
        f"{count(len(bundle.manifest.golden), 'golden frame')}"
    )
