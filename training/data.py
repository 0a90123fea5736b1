"""Images of good parts, and test images with their masks, found on disk and checked at the door.

Two layouts are understood:

    MVTec     ROOT/train/good/*                      good images to learn from
              ROOT/test/good/*  ROOT/test/<defect>/* images to evaluate on
              ROOT/ground_truth/<defect>/<stem>_mask.png
    folder    any folder of good images, nested or not (a lone ROOT/good/ is fine too), no test set

Nothing is decoded here before :func:`check_images` or :func:`read_mask` is called. No torch.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgead.errors import DataError, InputError
from edgead.images import IMAGE_SUFFIXES, read_image

GOOD = "good"
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # lossless: JPEG noise would read as defects
TEST_SET_LOOKS_LIKE = (
    "a test set has the MVTec layout: test/good/ with good images, test/<defect>/ with defective "
    "ones and, where there are masks, ground_truth/<defect>/<stem>_mask.png"
)


@dataclass(frozen=True)
class Sample:
    """One image on disk.

    path   the image file
    label  "good" or the name of the defect
    mask   the mask file (0 = good pixel, anything else = defect, size of the image), or None
    name   path relative to the data set's root, "/" between parts, the same on every machine
    """

    path: Path
    label: str = GOOD
    mask: Path | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _portable(self.path.name))

    @property
    def is_good(self) -> bool:
        return self.label == GOOD


@dataclass(frozen=True)
class Dataset:
    """What :func:`open_dataset` found; samples are in the order of their names."""

    root: Path
    layout: Literal["mvtec", "folder"]
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()

    @property
    def defects(self) -> tuple[str, ...]:
        """Names of the kinds of defects in the test set, sorted."""
        return tuple(sorted({s.label for s in self.test if not s.is_good}))

    def summary(self) -> str:
        """One line for people: what was found."""
        learn = f"{len(self.train)} good images to learn from"
        if not self.test:
            return f"{learn}, no test set"
        good = sum(s.is_good for s in self.test)
        masks = sum(s.mask is not None for s in self.test)
        test = (
            f"test set: {good} good, {len(self.test) - good} defective images "
            f"(kinds: {len(self.defects)}, masks: {masks})"
        )
        return f"{learn}; {test}" if self.train else test


def open_dataset(path: str | os.PathLike[str], *, purpose: str = "train") -> Dataset:
    """Find the images below `path` and say which layout they have.

    purpose "train" wants at least two good training images (one to learn from, one to calibrate
    with); "evaluate" wants a test set and does without training images.
    Errors: DataError for a folder that is missing, empty, ambiguous or lacks what is wanted, and
    for masks without image, images without mask among others that have one.
    """
    if purpose not in ("train", "evaluate"):
        raise ValueError(f"purpose is {purpose!r}; wanted 'train' or 'evaluate'")
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; give a folder of images of good parts")
    if not root.is_dir():
        raise DataError(f"{root} is a file; give the folder that holds the images")
    if _directory(root, "train/good") or (purpose == "evaluate" and _directory(root, "test")):
        dataset = _open_mvtec(root)
    else:
        dataset = _open_folder(root)
    if purpose == "evaluate":
        if not dataset.test:
            raise DataError(f"{root} has no test set; {TEST_SET_LOOKS_LIKE}")
    elif len(dataset.train) < 2:
        where = root / "train" / GOOD if dataset.layout == "mvtec" else root
        found = "one image" if dataset.train else "no image"
        raise DataError(
            f"{where} holds {found} ({_suffixes()}); wanted at least two images of good parts, one "
            f"to learn from and one to calibrate with, and better 50 or more"
        )
    return dataset


def split(
    samples: Sequence[Sample], seed: int, calibration_fraction: float = 0.2
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Divide good samples into (train, calibration), at least one each, both ordered by name.

    A sample's place follows from sha256(seed, name) alone, so that neither the order of the
    listing, nor the machine, nor the folder's location changes it.
    Errors: DataError with fewer than two samples.
    """
    if not 0.0 < calibration_fraction < 1.0:
        raise ValueError(f"calibration_fraction is {calibration_fraction}; wanted 0 < it < 1")
    if len(samples) < 2:
        raise DataError(
            f"{len(samples)} good image(s) cannot be divided into training and calibration; "
            f"wanted at least two"
        )
    ranked = sorted(samples, key=lambda s: (_rank(seed, s.name), s.name))
    n_calibration = min(max(round(len(ranked) * calibration_fraction), 1), len(ranked) - 1)
    calibration, train = ranked[:n_calibration], ranked[n_calibration:]
    return tuple(sorted(train, key=_by_name)), tuple(sorted(calibration, key=_by_name))


def digest(samples: Iterable[Sample]) -> str:
    """sha256 (hex) over names, labels and contents of images and masks, whatever their order."""
    total = hashlib.sha256()
    for sample in sorted(samples, key=_by_name):
        mask = _file_digest(sample.mask) if sample.mask is not None else "-"
        for part in (sample.name, sample.label, _file_digest(sample.path), mask):
            total.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return total.hexdigest()


def check_images(
    samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None
) -> None:
    """Decode every image, and its mask, once.

    progress  called with (images done, images in all)
    Errors: one DataError that counts the unusable images and names the first five with the reason.
    """
    faults: list[str] = []
    for done, sample in enumerate(samples, 1):
        try:
            frame = read_image(sample.path)
            if sample.mask is not None:
                read_mask(sample, frame.shape[:2])
        except (InputError, DataError) as error:
            faults.append(str(error))
        if progress is not None:
            progress(done, len(samples))
    if faults:
        shown = "\n  ".join(faults[:5])
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise DataError(
            f"{len(faults)} of {len(samples)} images cannot be used; replace or remove them:\n"
            f"  {shown}{more}"
        )


def read_mask(sample: Sample, frame_size: tuple[int, int]) -> np.ndarray:
    """The defect's pixels, bool [H, W]; all False for a good sample.

    frame_size  (height, width) of the sample's image
    Errors: DataError for a mask that is unreadable or of another size, and for a defect without
    mask: where its pixels are is unknown.
    """
    height, width = int(frame_size[0]), int(frame_size[1])
    if sample.mask is None:
        if sample.is_good:
            return np.zeros((height, width), dtype=bool)
        raise DataError(f"{sample.path} shows a defect ({sample.label}) and has no mask")
    try:
        mask = read_image(sample.mask)
    except InputError as error:
        raise DataError(f"the mask of {sample.path} cannot be read: {error}") from error
    if mask.shape[:2] != (height, width):
        raise DataError(
            f"{sample.mask} is {mask.shape[0]}x{mask.shape[1]} (height x width) and its image "
            f"{sample.path} is {height}x{width}; wanted a mask of the image's size"
        )
    return np.asarray(mask.any(axis=2) if mask.ndim == 3 else mask != 0)


def _open_mvtec(root: Path) -> Dataset:
    train = [_sample(root, path, GOOD) for path in _images(root / "train" / GOOD)]
    test: list[Sample] = []
    test_root, truth_root = root / "test", root / "ground_truth"
    if test_root.is_dir():
        folders = _folders(test_root)
        loose = [p for p in _files(test_root) if _is_image(p) and p.parent == test_root]
        if loose:
            raise DataError(f"{loose[0]} lies directly in {test_root}; {TEST_SET_LOOKS_LIKE}")
        for folder in folders:
            masks = _masks(truth_root / folder.name) if folder.name != GOOD else {}
            test.extend(_test_samples(root, folder, masks))
        _refuse_orphan_folders(truth_root, {f.name for f in folders})
    return Dataset(root, "mvtec", tuple(sorted(train, key=_by_name)), tuple(test))


def _test_samples(root: Path, folder: Path, masks: dict[str, Path]) -> list[Sample]:
    """The samples of test/<label>; either every image has a mask or none has."""
    truth = root / "ground_truth" / folder.name
    had_masks = bool(masks)
    samples = []
    for path in _images(folder):
        mask = masks.pop(_key(path.relative_to(folder)), None)
        if had_masks and mask is None:
            raise DataError(
                f"{path} has no mask, while other images of {folder} have one; wanted "
                f"{truth / (path.stem + '_mask.png')}, or move the image to a defect folder "
                f"without ground_truth"
            )
        samples.append(_sample(root, path, folder.name, mask))
    if masks:
        orphan = masks[min(masks)]
        raise DataError(
            f"{orphan} is a mask without image; wanted an image "
            f"{folder / orphan.stem.removesuffix('_mask')}.* or the mask removed"
        )
    return sorted(samples, key=_by_name)


def _masks(folder: Path) -> dict[str, Path]:
    """Masks of ground_truth/<defect> by the key of their image."""
    found: dict[str, Path] = {}
    for path in _images(folder) if folder.is_dir() else ():
        if path.suffix.lower() not in MASK_SUFFIXES:
            raise DataError(
                f"{path} is a mask in a lossy format; wanted one of {', '.join(MASK_SUFFIXES)}"
            )
        key = _key(path.relative_to(folder)).removesuffix("_mask")
        if key in found:
            raise DataError(f"{found[key]} and {path} are masks of the same image; remove one")
        found[key] = path
    return found


def _refuse_orphan_folders(truth_root: Path, labels: set[str]) -> None:
    for folder in _folders(truth_root) if truth_root.is_dir() else ():
        masks = _images(folder) if folder.name not in labels | {GOOD} else []
        if masks:
            raise DataError(
                f"{masks[0]} is a mask without image: there is no folder "
                f"{truth_root.parent / 'test' / folder.name}; add the images or remove the masks"
            )


def _open_folder(root: Path) -> Dataset:
    inside = {folder.name: folder for folder in _folders(root)}
    mvtec_like = sorted(inside.keys() & {"train", "test", "ground_truth"})
    if mvtec_like:
        raise DataError(
            f"{root} has {', '.join(name + '/' for name in mvtec_like)} but no train/good/; put "
            f"the good training images into {root / 'train' / GOOD}, or give a folder that holds "
            f"nothing but images of good parts"
        )
    if GOOD in inside:
        beside = [p for p in _images(root) if inside[GOOD] not in p.parents]
        if beside:
            raise DataError(
                f"{root} holds {GOOD}/ and other images beside it ({beside[0]}), which may show "
                f"defects; give {inside[GOOD]} to learn from the good ones; {TEST_SET_LOOKS_LIKE}"
            )
    train = [_sample(root, path, GOOD) for path in _images(root)]
    return Dataset(root, "folder", tuple(sorted(train, key=_by_name)))


def _sample(root: Path, path: Path, label: str, mask: Path | None = None) -> Sample:
    return Sample(path, label, mask, _portable(path.relative_to(root).as_posix()))


def _portable(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS hands out decomposed names


def _by_name(sample: Sample) -> str:
    return sample.name


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()


def _key(relative: Path) -> str:
    return _portable(relative.with_suffix("").as_posix())


def _file_digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            total = hashlib.sha256()
            while block := file.read(1 << 20):
                total.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return total.hexdigest()


def _directory(root: Path, name: str) -> bool:
    return (root / name).is_dir()


def _suffixes() -> str:
    return ", ".join(sorted(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _images(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if _is_image(path)] if folder.is_dir() else []


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """Every file below `folder`, links followed, hidden files and folders left out, sorted."""
    found: list[Path] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back to a folder already walked
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(Path(parent, name) for name in files if not name.startswith("."))
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}; check its permissions")
