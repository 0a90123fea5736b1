"""The same scoring on a Ray cluster: a Detector in each actor.

An actor reads the images itself and writes the rows, so that only names and tallies travel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from edgead.bundle.storage import SUFFIX, Bundle, open_bundle
from edgead.detector import Detector
from edgead.errors import BundleError
from edgead.files import replace_directory, user_cache
from edgead.scale.files import files_of
from edgead.scale.places import open_place
from edgead.scale.ray_cluster import Cluster, Worker, import_ray
from edgead.scale.rows import Tally, score_part


def tallies(
    cluster: Cluster, bundle: Bundle, work: Any, parts: Sequence[list[str]]
) -> Iterator[Tally]:
    """The tally of each part, as it is written.

    Args:
        cluster: does the work.
        bundle: it is sent to the nodes.
        work: a ``Work``.
        parts: names of images.

    Raises:
        EdgeadError: as ``score_dataset``, whichever node it came from.
    """
    ray, settings = cluster.ray, dict(work.settings)
    if not cluster.gpus:
        settings["threads"] = settings.get("threads") or cluster.cpus
    keeper = f"edgead-{token_hex(8)}"
    held = ray.remote(num_cpus=0)(Keeper).options(name=keeper).remote(files_of(bundle))
    named = (bundle.path.stem, bundle.sha256, bundle.read_signatures(), keeper)
    given = (named, settings, work.source, work.out)
    try:
        for row in cluster.rows(Scorer, given, [{"names": part} for part in parts]):
            worst = (row["score"], row["path"]) if row["path"] else None
            yield Tally(row["images"], row["failed"], row["anomalous"], worst)
    finally:
        ray.kill(held)


class Keeper:
    """An actor that has the files of the bundle, for nodes that come or come back later."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def files(self) -> dict[str, bytes]:
        """Every file by its name."""
        return self._files


class Scorer(Worker):
    """A Detector that scores parts."""

    def open(
        self,
        named: tuple[str, str, bytes | None, str],
        settings: dict[str, Any],
        source: str,
        out: str,
    ) -> None:
        """Open the bundle that was sent, and the places."""
        self._detector = Detector(unpacked(*named), **settings)
        self._source, self._out = open_place(source), open_place(out)

    def work(self, item: dict[str, Any]) -> dict[str, Any]:
        """Score a part; its tally."""
        names = [str(name) for name in item["names"]]
        found = score_part(self._detector, self._source, self._out, names)
        score, path = found.worst or (0.0, "")
        return {
            "images": found.images,
            "failed": found.failed,
            "anomalous": found.anomalous,
            "score": score,
            "path": path,
        }


def unpacked(name: str, sha256: str, signatures: bytes | None, keeper: str) -> Bundle:
    """A bundle that ``keeper`` has, in the cache of this node, where it may be already."""
    path = user_cache("sent", "bundles sent by Ray") / sha256[:32] / f"{name}{SUFFIX}"
    try:
        found = open_bundle(path)
        if found.sha256 == sha256 and found.read_signatures() == signatures:
            return found
    except BundleError:
        pass  # not there yet, or damaged
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ray = import_ray()
    replace_directory(path, ray.get(ray.get_actor(keeper).files.remote()))
    return open_bundle(path)
