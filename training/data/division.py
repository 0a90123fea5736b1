"""Good images divided by what they show: copies once, near-copies on one side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgead.errors import DataError, InputError, printable
from edgead.images import read_image
from edgead.images.content import Content, content_of, levels
from edgead.images.copies import near_copies
from edgead.images.image_set import examine, first_named

from .dataset import Dataset, Sample
from .layouts.frames import LAYOUT as FRAMES
from .splitting import Parts, once_each, parts_of, split

OTHERWISE = "if each shows another part, say so with --group '(.+)'"


@dataclass(frozen=True)
class Division:
    """Images to learn from and to calibrate with, and what there is to say of them.

    Args:
        parts: no content is in both, none twice.
        digests: of the contents of both parts, 64 hexadecimal digits each, in their order.
        left_out: names of good images that are in neither part, since they are copies.
        warnings: for people.
        shows: name of each good image to what it shows: one text for images of one part.
    """

    parts: Parts
    digests: tuple[tuple[str, ...], tuple[str, ...]]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]
    shows: Mapping[str, str] = field(default_factory=dict)


def divide(
    dataset: Dataset,
    contents: Sequence[Content],
    seed: int,
    calibration_fraction: float,
    *,
    bit_depth: int | None = None,
    group: str | None = None,
    shots: int | None = None,
) -> Division:
    """Divide the good images of a data set by name and by what they show.

    Copies are left out but for the first by name, also those in the other categories. Near-copies
    are all on one side, and one of them is left on that of the calibration; where ``group`` says
    what a part is, only those of one part; in the layout ``frames``, where one camera sees one
    scene, none.

    Args:
        dataset: its good images are divided.
        contents: of these, in their order, as ``check_images`` gives them.
        bit_depth: of 16-bit images, where it is declared.
        seed, calibration_fraction, group, shots: as for ``split``.

    Raises:
        DataError: as ``split`` and as ``examine``.
    """
    names = [sample.name for sample in dataset.train]
    near = group is None and dataset.layout != FRAMES.name
    found = examine(
        names,
        contents,
        bit_depth=bit_depth,
        calibration=calibration_fraction,
        near=near,
        otherwise=OTHERWISE,
    )
    warnings = list(found.warnings)
    different = [sample for i, sample in enumerate(dataset.train) if found.same[i] == i]
    first_of = list(found.alike)
    if group is not None and dataset.layout != FRAMES.name:
        first_of = _alike_in_parts(dataset, contents, group, bit_depth)
    alike = {name: names[first] for name, first in zip(names, first_of, strict=True)}
    warnings += _apart_in_categories(dataset, different, alike)
    whole = split(different, seed, calibration_fraction, group=group, shots=shots, alike=alike)
    parts = once_each(whole, alike)
    if not parts[1]:
        raise DataError(
            f"all {len(whole[1])} images to calibrate with show what is learnt from already (such "
            f"as {printable(whole[1][0].name)}), so no threshold can be promised; expected "
            "different parts in the categories: take pictures of more parts"
        )
    copies = [name for i, name in enumerate(names) if found.same[i] != i]
    left_out = *copies, *(sample.name for sample in whole[1] if sample not in parts[1])
    digests = _digests(parts, dict(zip(names, contents, strict=True)))
    shows = alike
    if group is not None:
        shown = zip(different, parts_of(different, group), strict=True)
        shows = {sample.name: "/".join(part) for sample, part in shown}
    return Division(parts, digests, left_out, tuple(warnings), shows)


def _alike_in_parts(
    dataset: Dataset, contents: Sequence[Content], group: str, bit_depth: int | None
) -> list[int]:
    """For each image the first that it is a copy or near-copy of and that shows the same part."""
    near = near_copies(contents, levels(contents, bit_depth))
    first: dict[tuple[int, tuple[str, str]], int] = {}
    pairs = zip(near, parts_of(dataset.train, group), strict=True)
    return [first.setdefault(pair, index) for index, pair in enumerate(pairs)]


def _apart_in_categories(
    dataset: Dataset, different: Sequence[Sample], alike: dict[str, str]
) -> list[str]:
    """Let near-copies count where a category has nothing else, in ``alike``; warnings.

    Raises: DataError where a category has fewer than two images of its own.
    """
    warnings = []
    for category in dataset.categories:
        members = [sample.name for sample in different if sample.category == category]
        if len(members) < 2:
            raise DataError(
                f"the good images of {printable(category)} are copies of each other or of images "
                f"of other categories, but for {len(members)}; expected at least two of its own: "
                "take pictures of more parts, or move the folder of this category away"
            )
        if len({alike[name] for name in members}) == 1:
            alike.update({name: name for name in members})
            warnings.append(
                f"the images of {printable(category)} are near-copies of one: the threshold is "
                "promised for further shots of that part, not for others"
            )
    return warnings


def held_apart(
    dataset: Dataset, parts: Parts, contents: Mapping[str, Content], group: str | None = None
) -> Division:
    """The division of a run that was made before copies were looked for.

    Nothing can be taken out of what was learnt; what calibrates is left out where it is a copy or a
    near-copy of that, or of another one.

    Args:
        dataset: of the run.
        parts: as they were divided.
        contents: by name.
        group: as they were divided by.

    Raises:
        DataError: nothing is left to calibrate with.
    """
    samples = sorted(parts[0] + parts[1], key=lambda sample: sample.name)
    names = [sample.name for sample in samples]
    near = group is None and dataset.layout != FRAMES.name
    found = examine(names, [contents[name] for name in names], near=near)
    alike = {name: names[first] for name, first in zip(names, found.alike, strict=True)}
    new = once_each(parts, alike)
    gone = tuple(s.name for s in parts[1] if s not in new[1])
    if not new[1]:
        raise DataError(
            f"all {len(gone)} calibration images of this run are copies of images that it learnt "
            f"from (such as {printable(gone[0])}), so no threshold can be promised: train again"
        )
    said = ()
    if gone:
        said = (
            f"{len(gone)} of {len(parts[1])} calibration images of this run are copies or "
            f"near-copies of others, or of images that it learnt from ({first_named(gone)}), and "
            "were left out; train again for a better division",
        )
    return Division(new, _digests(new, contents), gone, said)


def overlap_with_test(
    dataset: Dataset,
    kept: Sequence[Content],
    progress: Callable[[Iterable[Sample]], Iterable[Sample]],
    bit_depth: int | None = None,
) -> tuple[str, ...]:
    """A warning where test images are learnt from or calibrated with; unreadable ones are skipped.

    Of defects, which may be on a part that was learnt before, only copies count. Frames of a video
    are not decoded for it: they are many, and ``edgead evaluate`` tells.

    Args:
        dataset: with a test set, or without.
        kept: contents of what is learnt from and calibrated with.
        progress: of the samples, a bar for people.
    """
    if dataset.layout == FRAMES.name or not dataset.test:
        return ()
    samples: list[Sample] = []
    contents: list[Content] = []
    for sample in progress(dataset.test):
        try:
            contents.append(content_of(read_image(sample.path, bit_depth=bit_depth)))
            samples.append(sample)
        except InputError:
            continue
    both = [*kept, *contents]
    known, near = {content.digest for content in kept}, near_copies(both, levels(both))
    same = [s for s, content in zip(samples, contents, strict=True) if content.digest in known]
    alike = [
        sample
        for sample, first in zip(samples, near[len(kept) :], strict=True)
        if first < len(kept) and sample.is_good and sample not in same
    ]
    said = []
    if same:
        defects = sum(not sample.is_good for sample in same)
        bad = f" {defects} of them labelled as defects," if defects else ""
        said.append(f"{_of(same, dataset.test)}{bad} are copies of")
    if alike:
        said.append(f"{_of(alike, dataset.test)} nearly repeat")
    return tuple(
        f"{what} images to learn from or to calibrate with: evaluation on them tells nothing of "
        "new parts, and the threshold holds for new ones only; take them out of one of the two"
        for what in said
    )


def _of(some: Sequence[Sample], every: Sequence[Sample]) -> str:
    names = first_named([sample.name for sample in some])
    return f"{len(some)} of {len(every)} test images, such as {names},"


def _digests(
    parts: Parts, contents: Mapping[str, Content]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    learnt, calibrated = (tuple(contents[s.name].digest.hex() for s in part) for part in parts)
    return learnt, calibrated
