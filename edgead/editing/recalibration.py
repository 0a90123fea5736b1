"""Recalibration: scores of good images of this camera, in place of those of the export.

The model, its golden frames and their tolerances stay, as they prove the engine. So does the tie
tolerance: the promise holds, since ties favour the part, but it is a share of the old spread, and
``concerns`` reports when it is large beside the new one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.card import CARD, with_card
from edgead.bundle.entries import Calibration, HealthLimits
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.known_images import LEARNT, Known, calibrated_with
from edgead.bundle.storage import Bundle, check_out, write_bundle
from edgead.calibration import best_false_reject_rate, check_false_reject_rate, typed_rate
from edgead.errors import CalibrationError, InputError
from edgead.files import read_file
from edgead.images import Remarks, decode_image, open_image
from edgead.images.bits import check_bit_depth
from edgead.images.content import Content, content_of, is_grey
from edgead.images.image_set import examine, first_faults
from edgead.images.mark import own_output
from edgead.installation import __version__
from edgead.monitoring.depth import UsedBits, golden_frames
from edgead.monitoring.health import Observations

if TYPE_CHECKING:
    from edgead.detector import Detector

LARGE_EFFECT = 0.71
"""Share of pairs from where on one set of scores is far above the other: Vargha and Delaney, A
critique and improvement of the CL common language effect size statistics, JEBS 25(2), 2000."""

SIGNIFICANCE = 0.01
FENCE = 3.0  # interquartile ranges above the upper quartile: Tukey, Exploratory Data Analysis, 1977
OTHERWISE = "if each shows another part, say so with edgead calibrate --count-all"
NOT_TOLD = (
    "whether some of these images were learnt from cannot be told: the bundle does not keep which "
    "were; those score lower than new parts, and the promise would not hold"
)
TIES_SHARE = 0.05  # of the spread: what export allows the least exact of its graphs


@dataclass(frozen=True)
class Choice:
    """Images to calibrate with, each of another part.

    ``contents``: what they show. ``warnings``: of what was left out, and what looks wrong.
    ``learnt_told``: whether the bundle tells which images it has learnt from.
    """

    paths: tuple[Path, ...]
    contents: tuple[Content, ...]
    warnings: tuple[str, ...]
    learnt_told: bool


@dataclass(frozen=True)
class Recording:
    """Scores and map peaks of good images, in the order of ``names``.

    ``sha256``: of the SHA-256 digests (32 bytes each) of the files in that order; ``digests``: of
    their contents. ``health`` and the file ``health.reference``: what the same images say of the
    camera.
    """

    names: tuple[str, ...]
    scores: tuple[float, ...]
    peaks: tuple[float, ...]
    sha256: str
    health: HealthLimits
    reference: bytes
    digests: tuple[bytes, ...] = ()


def choose(
    bundle: Bundle,
    paths: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
    *,
    near: bool = True,
    bit_depth: int | None = None,
) -> Choice:
    """Look at the images before any is scored; of near-copies, the first by name is left.

    Args:
        bundle: that is calibrated again.
        paths: of images of good parts, sorted.
        progress: called with (images done, images in all).
        near: whether near-copies count once; False where they show different parts.
        bit_depth: of the 16-bit images, where it is not the bundle's.

    Raises:
        InputError: names every image that cannot be used: it cannot be read, is grey where all
            golden frames have colour (or the reverse), has 16 bits where they have 8 (or the
            reverse), is not of the mask's size, is a copy of another, or was learnt from.
        DataError: the images are all one picture, or show nothing.
    """
    golden = list(golden_frames(bundle))
    check_bit_depth(bit_depth)
    _check_depth(bundle, bit_depth, golden)
    expected = set(map(kind_of, golden))
    depth = bit_depth or bundle.manifest.preprocess.bit_depth
    used, remarks = UsedBits(depth), Remarks()
    known = Known(bundle.manifest.provenance)
    faults: list[str] = []
    seen: dict[bytes, str] = {}
    names, contents = [], []
    for done, path in enumerate(paths, 1):
        try:
            frame = usable_frame(path, expected, bundle.manifest.ignore, depth, remarks)
            used.add(frame)
            content = content_of(frame)
            names.append(path.name)
            contents.append(content)
            _check_new(path, content.digest, seen, known)
        except InputError as error:
            faults.append(str(error))
        if progress is not None:
            progress(done, len(paths))
    if len(contents) == len(paths):  # what is wrong with all is said before what is with each
        found = examine(names, contents, bit_depth=depth, near=near, otherwise=OTHERWISE)
    _refuse(faults, len(paths))
    kept = [index for index, first in enumerate(found.alike) if first == index]
    said = [*found.warnings, *remarks.lines(bundle.manifest.provenance)]
    cure = "train again with"
    if concern := used.concern_of_serving(bundle, cure) or used.concern(cure):
        said.append(concern)
    said += _about_evidence(paths)
    shown = tuple(contents[i] for i in kept)
    return Choice(tuple(paths[i] for i in kept), shown, tuple(said), known.tells(LEARNT))


def _refuse(faults: Sequence[str], n: int) -> None:
    """Raise InputError where some of ``n`` images have faults."""
    if faults:
        count = f"{len(faults)} of {n} images cannot be used, so nothing was calibrated:"
        raise InputError(f"{count} {first_faults(faults)}")


def _about_evidence(paths: Sequence[Path]) -> list[str]:
    saved = sum(own_output(path) == "frame" for path in paths)
    if not saved:
        return []
    return [
        f"{saved} of {len(paths)} images are frames that edgead saved: evidence is of parts that "
        "were rejected, and each that shows a defect raises the threshold; look at them, and take "
        "out those of defective parts"
    ]


def record(
    detector: Detector, choice: Choice, progress: Callable[[int, int], None] | None = None
) -> Recording:
    """Score the images of ``choice`` as ``detector`` scores frames.

    Args:
        detector: of the bundle that is calibrated again.
        choice: of ``choose``.
        progress: called with (images done, images in all).

    Raises:
        InputError: names every image that the detector refuses.
        DeviceError: the engine fails.
    """
    faults: list[str] = []
    total = sha256()
    scores, peaks, observations = [], [], Observations(detector.bit_depth)
    for done, path in enumerate(choice.paths, 1):
        data = _read(path)
        total.update(sha256(data).digest())
        frame = decode_image(data, os.fspath(path), bit_depth=detector.bit_depth)
        try:
            result = detector.score(frame)
            scores.append(result.score)
            peaks.append(float(result.map.max()))
            observations.add(frame)
        except InputError as error:
            faults.append(f"image {path}: {error}")
        if progress is not None:
            progress(done, len(choice.paths))
    _refuse(faults, len(choice.paths))
    names = tuple(path.name for path in choice.paths)
    limits, reference = observations.limits()
    digests = tuple(content.digest for content in choice.contents)
    return Recording(
        names, tuple(scores), tuple(peaks), total.hexdigest(), limits, reference, digests
    )


def check_number(bundle: Bundle, n: int, rate: float | None, counted: str = "images") -> float:
    """The new bundle's false-reject rate, if n images, or what else is ``counted``, can promise it.

    ``rate``: None asks for the old one's.

    Raises:
        CalibrationError: with the number of images it takes, or the rate that n can promise.
    """
    if not n:
        raise CalibrationError("there is no image to calibrate with; give a folder of good images")
    try:
        asked = bundle.manifest.calibration.false_reject_rate if rate is None else rate
        return check_false_reject_rate(asked, n, counted)
    except CalibrationError as error:
        best = typed_rate(best_false_reject_rate(n))
        cure = f"add {counted}, or ask for --false-reject-rate {best}"
        raise CalibrationError(f"{error}; {cure}") from error


def recalibrate(
    detector: Detector, recording: Recording, out: str | os.PathLike[str], rate: float
) -> Bundle:
    """Write the bundle that ``detector`` serves to ``out``, calibrated by ``recording``.

    All but calibration, health, name, time, ``provenance.calibration`` and the bit depth, where the
    detector was told one, is the old bundle's. A bundle at ``out`` is replaced in one step.

    Raises:
        CalibrationError: the recording cannot promise ``rate``.
        BundleError: the old bundle changed since it was opened, or ``out`` cannot be written.
    """
    old, n, path = detector.bundle, len(recording.scores), check_out(out)
    rate = check_false_reject_rate(rate, n)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = {
        "created": now,
        "images": n,
        "images_sha256": recording.sha256,
        "false_reject_rate": rate,
        "from_bundle_sha256": old.sha256,
        **{key: detector.info()[key] for key in ("device", "precision", "version")},
    }
    ties = old.manifest.calibration.ties
    manifest = replace(
        old.manifest.declared(detector.bit_depth),
        name=path.stem,
        created=now,
        edgead_version=__version__,
        calibration=Calibration(recording.scores, recording.peaks, rate, ties),
        health=recording.health,
        provenance=calibrated_with(
            {**old.manifest.provenance, "calibration": about}, recording.digests
        ),
    )
    files = {name: old.read(name) for name in old.manifest.files}
    files[recording.health.reference] = recording.reference
    if CARD in files:
        files = with_card(manifest, files)
    return write_bundle(path, manifest, files)


def concerns(old: Sequence[float], recording: Recording, ties: float) -> tuple[str, ...]:
    """Reasons to look again before the new calibration is trusted, each a sentence or two.

    Args:
        old: calibration scores of the bundle so far.
        recording: the new ones.
        ties: tie tolerance of the scores.
    """
    scores, found = np.asarray(recording.scores), []
    share, chance = superiority(recording.scores, old)
    medians = f"median {np.median(scores):.5g} instead of {np.median(old):.5g}"
    if chance < SIGNIFICANCE and share >= LARGE_EFFECT:
        found.append(
            f"the new scores lie far above the old ones: {medians}, higher in {share:.0%} of all "
            "pairs of a new and an old score. Defects among the images do that (highest: "
            f"{_highest(recording)}); so does another camera, light or crop, which the model has "
            "never seen: the false-reject rate holds, but train again to find defects as well"
        )
    elif chance < SIGNIFICANCE and 1 - share >= LARGE_EFFECT:
        found.append(
            f"the new scores lie far below the old ones: {medians}, lower in {1 - share:.0%} of "
            "all pairs of a new and an old score. Images that training has seen do that, and must "
            "not be used here: the promise would not hold; so does a blurred or dark camera"
        )
    if scores.min() > 0:  # Tukey's outer fence of the logarithms: good scores have a long tail
        low, high = np.quantile(np.log(scores), (0.25, 0.75))
        fence = math.exp(high + FENCE * (high - low))
        if count := int((scores > fence).sum()):
            found.append(
                f"{'1 image scores' if count == 1 else f'{count} images score'} far above the "
                f"others (over {fence:.5g}): {_highest(recording, count)}. Look at each: a defect "
                "among the good images raises the threshold; take it out and calibrate again"
            )
    spread = float(max(np.ptp(scores), 0.1 * np.abs(scores).max()))
    if ties > TIES_SHARE * spread:
        found.append(
            f"what the bundle counts as a tie, {ties:.3g}, is {ties / spread:.0%} of the spread of "
            "the new scores: scores that close count as the same, so a defect just above the "
            "threshold passes. The false-reject rate is kept"
        )
    return tuple(found)


def superiority(new: Sequence[float], old: Sequence[float]) -> tuple[float, float]:
    """(share of pairs in which the new value is higher, ties half; two-sided p-value).

    The test is Wilcoxon's of ranks (Mann-Whitney's U) in the normal approximation, ties corrected.
    """
    a, b = np.asarray(new, np.float64), np.sort(np.asarray(old, np.float64))
    below, up_to = np.searchsorted(b, a, "left"), np.searchsorted(b, a, "right")
    m, n, total = len(a), len(b), len(a) + len(b)
    share = float((below + up_to).sum()) / (2 * m * n)
    _, counts = np.unique(np.concatenate([a, b]), return_counts=True)
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1))
    deviation = math.sqrt((total + 1 - ties) / (12 * m * n)) if total + 1 > ties else 0.0
    if deviation == 0.0:  # all values are the same
        return share, 1.0
    return share, math.erfc(abs(share - 0.5) / deviation / math.sqrt(2))


def _highest(recording: Recording, count: int = 3, most: int = 5) -> str:
    order = np.argsort(recording.scores)[::-1][: min(count, most)]
    named = [f"{recording.names[i]} {recording.scores[i]:.5g}" for i in order]
    return ", ".join([*named, "…"] if count > most else named)


def kind_of(frame: NDArray[Any]) -> str:
    """Colour and depth; a colour file whose channels are all the same is grey."""
    return f"{'grey' if is_grey(frame) else 'colour'}, {8 * frame.dtype.itemsize} bits"


def _check_depth(bundle: Bundle, bit_depth: int | None, golden: Sequence[NDArray[Any]]) -> None:
    """Raise InputError where golden frames would mean something else at another depth."""
    own = bundle.manifest.preprocess.bit_depth
    depths = [own or 16, bit_depth or own or 16]
    if depths[0] != depths[1] and any(frame.dtype == np.uint16 for frame in golden):
        raise InputError(
            f"the bundle has learnt from images of {depths[0]} bits in 16, and --bit-depth is "
            f"{depths[1]}: calibrate with images of {depths[0]} bits, or train again with "
            f"--bit-depth {depths[1]}; score and watch take --bit-depth without that"
        )


def usable_frame(
    path: Path,
    expected: set[str],
    mask: IgnoreMask | None,
    bit_depth: int | None,
    remarks: Remarks,
) -> NDArray[Any]:
    """The image at ``path`` as a frame; the file is added to ``remarks``."""
    file = open_image(path, bit_depth=bit_depth)
    remarks.add(file)
    frame = file.frame
    kind = kind_of(frame)
    if kind not in expected:
        raise InputError(
            f"image {path} is {kind}; the bundle's golden frames are "
            f"{' or '.join(sorted(expected))}: give images as the camera of the training made them"
        )
    if mask is not None:
        try:
            mask.check_frame(frame)
        except InputError as error:
            raise InputError(f"image {path}: {error}") from error
    return frame


def _check_new(path: Path, digest: bytes, seen: dict[bytes, str], known: Known) -> None:
    """Refuse a copy of one that was ``seen``, or of one that the bundle has learnt from."""
    first = seen.setdefault(digest, path.name)
    if first != path.name:
        raise InputError(f"image {path} is a copy of {first} and would count twice; remove one")
    if known.kind_of(digest) == LEARNT:
        raise InputError(
            f"image {path} was learnt from, so it scores lower than a new part; remove it"
        )


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror or error}") from error
