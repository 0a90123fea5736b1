"""Known defects, scored by a bundle: they say what is caught and never move the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.known_images import Known
from edgead.bundle.storage import Draft
from edgead.calibration import wilson_interval
from edgead.errors import InputError, printable
from edgead.images import look_below, read_image
from edgead.images.content import digest_of
from edgead.images.image_set import first_named
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import with_files
from edgead.learning.progress import Progress
from edgead.learning.scoring import Scorer, limit_of

DEFECTS = "defects"
_MASK = "_mask"


@dataclass(frozen=True)
class Defect:
    """An image of a defective part, and its mask (0: good pixel) where there is one."""

    image: GoodImage
    mask: Path | None = None


@dataclass(frozen=True)
class Caught:
    """What a bundle says of known defects.

    Args:
        names, scores: of the images.
        limit: a score above it is anomalous.
        located: of those with a mask whether the map is highest in it; None of others.
    """

    names: tuple[str, ...]
    scores: tuple[float, ...]
    limit: float
    located: tuple[bool | None, ...]

    @property
    def caught(self) -> int:
        """How many are judged anomalous."""
        return sum(score > self.limit for score in self.scores)

    @property
    def missed(self) -> tuple[str, ...]:
        """The names of the others, the lowest score first."""
        order = np.argsort(self.scores, kind="stable")
        return tuple(self.names[i] for i in order if self.scores[i] <= self.limit)

    def to_json(self) -> dict[str, Any]:
        """For the provenance and ``--json``: images, caught, share with interval, threshold."""
        n, with_mask = len(self.scores), [found for found in self.located if found is not None]
        told: dict[str, Any] = {"images": n, "caught": self.caught, "share": self.caught / n}
        told |= {"interval": list(wilson_interval(self.caught, n)), "threshold": self.limit}
        if with_mask:
            told |= {"with_mask": len(with_mask), "located": sum(with_mask)}
        return told


def defects_in(folder: Path, bit_depth: int | None = None) -> list[Defect]:
    """The images in a folder and the folders in it; ``NAME_mask.png`` is the mask of ``NAME.*``.

    Args:
        folder: of images of defective parts.
        bit_depth: of 16-bit images, where it is declared.

    Raises:
        InputError: there is no such folder, or no image in it; a mask is not of its image's size,
            or one of the two cannot be read.
    """
    paths = look_below(folder).images
    plain = {path.with_suffix("") for path in paths}
    masks = {
        path.with_name(path.stem.removesuffix(_MASK)): path
        for path in paths
        if path.stem.endswith(_MASK) and path.with_name(path.stem.removesuffix(_MASK)) in plain
    }
    found = [
        Defect(
            GoodImage(
                path.relative_to(folder).as_posix(),
                lambda path=path: read_image(path, bit_depth=bit_depth),  # type: ignore[misc]
            ),
            masks.get(path.with_suffix("")),
        )
        for path in paths
        if path not in masks.values()
    ]
    if not found:
        raise InputError(f"--defects {folder} holds no image; give images of defective parts")
    for defect in found:
        if defect.mask is not None:
            _mask_of(defect.mask, defect.image.read().shape)
    return found


def check_not_good(defects: Sequence[Defect], provenance: Mapping[str, Any]) -> None:
    """Refuse defects that are among the good images.

    Args:
        defects: of ``defects_in``; each is read.
        provenance: of the bundle, which tells what it has learnt and is calibrated with.

    Raises:
        InputError: names them, and images that cannot be read.
    """
    known = Known(provenance)
    both = [d.image.name for d in defects if known.kind_of(digest_of(d.image.read()))]
    if both:
        raise InputError(
            f"{len(both)} of {len(defects)} images of --defects are among the good images too "
            f"({first_named(both)}): one of the two is wrong; remove them from one"
        )


def judge(
    draft: Draft,
    defects: Sequence[Defect],
    progress: Progress,
    threads: int | None = None,
    device: str = "cpu",
) -> tuple[Draft, Caught]:
    """Score known defects by a bundle, which then tells of it in its provenance.

    Args:
        draft: with its calibration; neither this nor anything else that scores is changed.
        defects: at least one.
        progress: shows how far it is.
        threads: of the engine.
        device: that gives the features, as for ``Detector``.

    Raises:
        InputError: an image or a mask that cannot be used.
    """
    run, show = Scorer(draft, threads, device), progress("scores of the defects")
    scores, located = [], []
    for done, defect in enumerate(defects, 1):
        frame = defect.image.read()
        values, score = run(frame)
        scores.append(score)
        located.append(None if defect.mask is None else _in_mask(values, defect.mask, frame.shape))
        show(done, len(defects))
    names = tuple(defect.image.name for defect in defects)
    found = Caught(names, tuple(scores), limit_of(draft), tuple(located))
    provenance = {**draft.manifest.provenance, DEFECTS: found.to_json()}
    manifest = replace(draft.manifest, provenance=provenance)
    return with_files(replace(draft, manifest=manifest), {}), found


def _in_mask(values: np.ndarray, path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the map's highest pixel, at the size of the frame, lies in the mask."""
    mask = _mask_of(path, shape)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    top, left = (
        (index * full // small, max((index + 1) * full // small, index * full // small + 1))
        for index, full, small in zip((row, column), shape, values.shape, strict=False)
    )
    return bool(mask[slice(*top), slice(*left)].any())


def _mask_of(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """The mask of an image of ``shape``. Raises: InputError for one of another size."""
    mask = read_image(path)
    if mask.shape[:2] != shape[:2]:
        raise InputError(
            f"mask {printable(path)} is {mask.shape[0]} x {mask.shape[1]} (height x width) and its "
            f"image {shape[0]} x {shape[1]}; expected the same size: draw it on the image as it is"
        )
    return mask
