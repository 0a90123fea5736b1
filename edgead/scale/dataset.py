"""Score a data set of any size, on this machine or on a Ray cluster; rows in Parquet files.

What was scored is not scored again: a run that was stopped goes on, and new images are added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgead.bundle.storage import Bundle, open_bundle
from edgead.detector import Detector
from edgead.errors import InputError, printable
from edgead.files import hold, os_sentence
from edgead.installation import __version__
from edgead.scale.places import Place, open_place
from edgead.scale.rows import Tally, pyarrow, read_done, score_part

ABOUT = "_edgead.json"  # readers of Parquet pass over names that begin so
PART = 256  # images of one file, at most
SHARES = 4  # parts of each worker, at least: the last ones end together


@dataclass(frozen=True)
class DatasetScores:
    """What is in the folder of the rows.

    Args:
        out: the folder.
        images: rows in it.
        scored: of them, written by this run.
        failed: rows with an error.
        anomalous: rows.
        worst: name of the image with the highest score of this run; None: none was scored.
        left_out: what was not taken for an image, by reason.
    """

    out: str
    images: int
    scored: int
    failed: int
    anomalous: int
    worst: str | None
    left_out: dict[str, int]


@dataclass(frozen=True)
class Work:
    """What a worker needs, here or on another machine: everything but the images' names."""

    settings: dict[str, Any]
    source: str
    out: str


def score_dataset(
    engine: str | os.PathLike[str] | Bundle,
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    ray: bool | str = False,
    actors: int | None = None,
    retry_errors: bool = False,
    part: int = PART,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    **settings: Any,
) -> DatasetScores:
    """Score every image below a folder, and write a row for each into Parquet files.

    An image that cannot be read is a row with the error. The rows do not depend on the order in
    which images are scored, on who scores them, or on how often a run was stopped.

    Args:
        engine: the bundle.
        images: a folder, or a URL of one, as s3://bucket/parts.
        out: folder or URL for the rows; each file in it is there whole or not at all.
        ray: True for the Ray cluster of RAY_ADDRESS, or one that is started on this machine; or
            the address of one. False: this process scores.
        actors: Detectors of the cluster, each a process of its own; None: one for each GPU with
            ``device="cuda"``, else one for every two CPUs.
        retry_errors: score the images anew whose rows have an error.
        part: images of one file, at most.
        progress: called with (images scored, images to score).
        settings: of ``Detector``. On a cluster "auto" is the CPU.

    Returns:
        What is in ``out`` now.

    Raises:
        InputError: no image, no such folder, or rows in ``out`` of another bundle or setting.
        MissingExtraError: pyarrow, fsspec or Ray is not installed.
        DeviceError: the device fails, or the cluster is not there or has another edgead.
        BundleError, CalibrationError, QualificationError: as ``Detector``.
    """
    if part < 1 or (actors is not None and actors < 1):
        raise InputError(f"part={part}, actors={actors}: expected whole numbers of at least 1")
    pyarrow()
    bundle = engine if isinstance(engine, Bundle) else open_bundle(engine)
    source, target = open_place(images), open_place(out)
    names, left_out = source.images()
    if not names:
        raise InputError(f"{printable(source.given)} holds no image: PNG, JPEG, … were expected")
    _check_names(names)
    if ray:
        settings = {**settings, "device": settings.get("device", "cpu").replace("auto", "cpu")}
    with _Held(target):
        _agree(target, _about(bundle, source, settings))
        done, before = read_done(target, forget_errors=retry_errors)
        missing = [name for name in names if name not in done]
        work = Work(_anywhere(settings), anywhere(source.given), anywhere(target.given))
        now = _all(_tallies(bundle, work, missing, ray, actors, part), len(missing), progress)
        # Again: an actor whose driver was killed may have ended its part meanwhile.
        every = read_done(target, forget_errors=False)[1] if missing else before
    return _in_all(target, every, now, left_out)


def anywhere(given: str) -> str:
    """The same place for an actor, whose current folder is another one."""
    return given if "://" in given else os.path.abspath(given)


def _anywhere(settings: dict[str, Any]) -> dict[str, Any]:
    keys = settings.get("trusted_keys")
    return settings if keys is None else {**settings, "trusted_keys": os.path.abspath(keys)}


def _in_all(out: Place, every: Tally, now: Tally, left_out: dict[str, int]) -> DatasetScores:
    worst = None if now.worst is None else now.worst[1]
    return DatasetScores(
        out.given, every.images, now.images, every.failed, every.anomalous, worst, left_out
    )


def _tallies(
    bundle: Bundle,
    work: Work,
    names: Sequence[str],
    ray: bool | str,
    actors: int | None,
    part: int,
) -> Iterator[Tally]:
    """The tally of each part, as it is written."""
    if not names:
        return
    if ray:
        from edgead.scale.ray_cluster import Cluster
        from edgead.scale.ray_scoring import tallies

        cluster = Cluster(ray, actors, work.settings)
        yield from tallies(cluster, bundle, work, _parts(names, part, cluster.actors))
        return
    source, out = open_place(work.source), open_place(work.out)
    with Detector(bundle, **work.settings) as detector:
        for some in _parts(names, part, 1):
            yield score_part(detector, source, out, some)


def _parts(names: Sequence[str], part: int, workers: int) -> list[list[str]]:
    each = max(1, min(part, -(-len(names) // (SHARES * workers))))
    return [list(names[at : at + each]) for at in range(0, len(names), each)]


def _all(tallies: Iterator[Tally], total: int, progress: Callable[[int, int], None]) -> Tally:
    found = Tally()
    for tally in tallies:
        found += tally
        progress(found.images, total)
    return found


def _about(bundle: Bundle, source: Place, settings: dict[str, Any]) -> dict[str, Any]:
    """What every row of a folder has in common; threads and the like change no score."""
    names = ("device", "precision", "color", "bit_depth", "false_reject_rate")
    usual = (None, "auto", "cpu", "bgr")  # the same, whether it is said or not
    told = {name: settings[name] for name in names if settings.get(name) not in usual}
    return {
        "schema": 1,
        "edgead": __version__,
        "bundle_sha256": bundle.sha256,
        "images": anywhere(source.given),
        "settings": told,
    }


def _agree(out: Place, about: dict[str, Any]) -> None:
    """Note what the rows have in common; refuse a folder whose rows have something else."""
    try:
        out.make()
        if ABOUT not in out.listed(ABOUT):
            out.write(ABOUT, (json.dumps(about, indent=2) + "\n").encode())
            return
        before = json.loads(out.read(ABOUT))
    except OSError as error:
        raise InputError(f"{printable(out.given)}: {os_sentence(error)}") from error
    except ValueError as error:
        raise InputError(f"{printable(out.given)}/{ABOUT} is not JSON: {error}") from error
    differs = [
        key for key in about if not isinstance(before, dict) or before.get(key) != about[key]
    ]
    if differs:
        raise InputError(
            f"{printable(out.given)} holds rows of another run ({', '.join(differs)} differ: see "
            f"{ABOUT} in it): choose another folder for the rows, or remove that one"
        )


def _check_names(names: Sequence[str]) -> None:
    """Parquet holds names in UTF-8."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the name {printable(name)} is not UTF-8, which the rows need: rename it"
            ) from error


class _Held:
    """The lock of a folder on this machine: two runs would score the same images twice."""

    def __init__(self, out: Place) -> None:
        self._out, self._descriptor = out, -1

    def __enter__(self) -> None:
        if self._out.files is not None:
            return
        try:
            self._out.make()
            descriptor = hold(self._out.path)  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(f"{printable(self._out.given)}: {os_sentence(error)}") from error
        if descriptor is None:
            raise InputError(
                f"another run writes into {printable(self._out.given)}: wait until it is done"
            )
        self._descriptor = descriptor

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
