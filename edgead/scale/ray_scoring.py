"""The same scoring on a Ray cluster: a Detector in each actor, which Ray starts again if it dies.

Ray Data gives an actor a part when it has room for one (back-pressure); the actor reads the images
itself and writes the rows, so that only names and tallies travel.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from edgead.bundle.storage import MANIFEST, SUFFIX, Bundle, open_bundle
from edgead.detector import Detector
from edgead.errors import BundleError, DeviceError, EdgeadError, InputError, MissingExtraError
from edgead.files import replace_directory, user_cache
from edgead.installation import __version__, cure
from edgead.scale.places import open_place
from edgead.scale.rows import Tally, score_part

CPUS = 2  # of an actor without a GPU, where nobody says how many actors there are
ANSWER_S = 60.0  # for a node to say which edgead it has
STORE = 256 << 20  # bytes of the object store of a cluster that is started here: names and tallies


def import_ray() -> Any:
    """Ray with Ray Data. Raises: MissingExtraError where it is not installed."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"Ray needs {error.name}: {cure('ray')}") from error
    return ray


class Cluster:
    """A Ray cluster whose nodes have this edgead.

    Args:
        address: True for that of RAY_ADDRESS, else one that is started here; or an address.
        actors: how many; None: as many as the cluster has room for.
        settings: of the Detectors.

    Raises:
        MissingExtraError: Ray is not installed.
        DeviceError: no cluster there, of another Ray or edgead, or without a free GPU.
    """

    def __init__(
        self, address: bool | str, actors: int | None, settings: Mapping[str, Any]
    ) -> None:
        self.ray = import_ray()
        connect(self.ray, address)
        check_versions(self.ray)
        device = str(settings.get("device", "cpu"))
        if ":" in device:
            raise InputError(f"device {device}: Ray deals the GPUs out, say cuda")
        has = self.ray.cluster_resources()
        self.gpus = 1 if device == "cuda" else 0
        if self.gpus and has.get("GPU", 0) < 1:
            raise DeviceError("device cuda: no node of the Ray cluster has a GPU to give")
        cpus = int(has.get("CPU", 1))
        self.actors = actors or int(has["GPU"] if self.gpus else max(1, cpus // CPUS))
        self.cpus = 1 if self.gpus else max(1, cpus // self.actors)
        if not self.gpus and self.actors > cpus:
            raise InputError(
                f"{self.actors} actors on a cluster of {cpus} CPUs: expected at most one for a CPU"
            )

    def tallies(self, bundle: Bundle, work: Any, parts: Sequence[list[str]]) -> Iterator[Tally]:
        """The tally of each part, as it is written.

        Args:
            bundle: it is sent to the nodes.
            work: a ``Work``.
            parts: names of images.

        Raises:
            EdgeadError: as ``score_dataset``, whichever node it came from.
        """
        ray, settings = self.ray, dict(work.settings)
        if not self.gpus:
            settings["threads"] = settings.get("threads") or self.cpus
        keeper = f"edgead-{token_hex(8)}"
        held = ray.remote(num_cpus=0)(Keeper).options(name=keeper).remote(files_of(bundle))
        sent = (bundle.path.stem, bundle.sha256, keeper)
        given = (sent, settings, work.source, work.out)
        rows = ray.data.from_items(
            [{"names": part} for part in parts], override_num_blocks=len(parts)
        )
        scored = rows.map_batches(
            Scorer,
            fn_constructor_args=given,
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            compute=ray.data.ActorPoolStrategy(size=min(self.actors, len(parts))),
        )
        try:
            for row in scored.iter_rows():
                worst = (row["score"], row["path"]) if row["path"] else None
                yield Tally(row["images"], row["failed"], row["anomalous"], worst)
        except Exception as error:
            raise own_error(error) from error
        finally:
            ray.kill(held)


class Keeper:
    """An actor that has the files of the bundle, for nodes that come or come back later."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def files(self) -> dict[str, bytes]:
        """Every file by its name."""
        return self._files


class Scorer:
    """An actor: opens the bundle once, then scores parts."""

    def __init__(
        self, sent: tuple[str, str, str], settings: dict[str, Any], source: str, out: str
    ) -> None:
        self._detector = Detector(unpacked(*sent), **settings)
        self._source, self._out = open_place(source), open_place(out)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the part of a batch, and give its tally as a batch of one row."""
        (names,) = batch["names"]
        found = score_part(self._detector, self._source, self._out, [str(name) for name in names])
        score, path = found.worst or (0.0, "")
        return {
            "images": [found.images],
            "failed": [found.failed],
            "anomalous": [found.anomalous],
            "score": [score],
            "path": [path],
        }


def connect(ray: Any, address: bool | str) -> None:
    """Join a cluster, or start one on this machine; one that is joined already is kept.

    Raises:
        DeviceError: there is none at the address, or of another Ray or Python.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is raised, too
    if not ray.is_initialized():
        given: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if isinstance(address, str):
            given["address"] = address
        elif "RAY_ADDRESS" not in os.environ:
            given |= {"include_dashboard": False, "object_store_memory": STORE}
        try:
            ray.init(**given)
        except (ConnectionError, RuntimeError, ValueError) as error:
            words = " ".join(str(error).split())
            raise DeviceError(
                f"the Ray cluster {address if isinstance(address, str) else ''} cannot be joined: "
                f"{words[:300]}; check the address, and that Ray and Python are of one version"
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the commands have progress of their own


def check_versions(ray: Any) -> None:
    """Refuse a cluster on any of whose nodes edgead is missing or of another version.

    Raises:
        DeviceError: names the nodes.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def installed() -> str:  # inside: Ray sends it as it is, whatever edgead a node has
        from importlib import import_module

        try:
            return str(import_module("edgead.installation").__version__)
        except ImportError:
            return "none"

    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = ray.remote(num_cpus=0)(installed)
    answers = [
        asked.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    ]
    try:
        found = ray.get(answers, timeout=ANSWER_S)
    except Exception as error:
        raise DeviceError(
            f"a node of the Ray cluster does not say which edgead it has: {type(error).__name__}"
        ) from error
    others = {
        f"{node['NodeManagerAddress']} has {'no edgead' if one == 'none' else one}"
        for node, one in zip(nodes, found, strict=True)
        if one != __version__
    }
    if others:
        raise DeviceError(
            f"this is edgead {__version__}, but on the Ray cluster {', '.join(sorted(others))}: "
            "scores of two versions do not belong into one data set; install one version on all"
        )


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle, digests checked."""
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return {**files, MANIFEST: bundle.read_manifest()}


def unpacked(name: str, sha256: str, keeper: str) -> Bundle:
    """A bundle that ``keeper`` has, in the cache of this node, where it may be already."""
    path = user_cache("sent", "bundles sent by Ray") / sha256[:32] / f"{name}{SUFFIX}"
    try:
        found = open_bundle(path)
        if found.sha256 == sha256:
            return found
    except BundleError:
        pass  # not there yet, or damaged
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ray = import_ray()
    replace_directory(path, ray.get(ray.get_actor(keeper).files.remote()))
    return open_bundle(path)


def own_error(error: BaseException) -> Exception:
    """The EdgeadError that an actor raised, or one that says what Ray says."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None)
        for one in (cause, seen):
            if isinstance(one, EdgeadError) and not hasattr(one, "cause"):
                return one
        seen = cause if isinstance(cause, BaseException) else seen.__cause__
    words = " ".join(str(error).split())
    return DeviceError(f"the Ray cluster failed: {type(error).__name__}: {words[-300:]}")
