"""A Ray cluster whose nodes have this edgead, and workers on it: actors that Ray starts again.

Ray Data gives an actor the next item when it has room for one (back-pressure).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgead import errors
from edgead.errors import DeviceError, EdgeadError, InputError, MissingExtraError
from edgead.installation import __version__, cure

CPUS = 2  # of an actor without a GPU, where nobody says how many actors there are
ANSWER_S = 60.0  # for a node to say which edgead it has
STORE = 256 << 20  # bytes of the object store of a cluster that is started here
_KINDS = {
    kind.__name__: kind
    for kind in (
        errors.InputError,
        errors.BundleError,
        errors.CalibrationError,
        errors.MissingExtraError,
        errors.QualificationError,
    )
}
"""Of what an actor says; a DeviceError for all others."""


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
        # An actor is on one node: with more CPUs than any has, Ray would wait for ever.
        each = [int(x["Resources"].get("CPU", 0)) for x in self.ray.nodes() if x["Alive"]]
        self.cpus = 1 if self.gpus else max(1, min(cpus // self.actors, max(each)))
        if not self.gpus and self.actors > cpus:
            raise InputError(
                f"{self.actors} actors on a cluster of {cpus} CPUs: expected at most one for a CPU"
            )

    def rows(
        self,
        worker: type[Worker],
        given: Sequence[Any],
        items: Sequence[dict[str, Any]],
        *,
        ordered: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """What the workers make of the items, a row of each.

        Args:
            worker: its actors are opened with ``given``.
            given: Ray sends it.
            items: of plain values.
            ordered: in the order of the items, not as they are done.

        Raises:
            EdgeadError: what a worker raised.
            DeviceError: the cluster fails.
        """
        data = self.ray.data
        data.DataContext.get_current().execution_options.preserve_order = ordered
        made = data.from_items(list(items), override_num_blocks=len(items)).map_batches(
            worker,
            fn_constructor_args=tuple(given),
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            compute=data.ActorPoolStrategy(size=min(self.actors, len(items))),
        )
        try:
            for row in made.iter_rows():
                if row["said"]:
                    raise _KINDS.get(row["kind"], DeviceError)(row["said"])
                yield row
        except EdgeadError:
            raise
        except Exception as error:
            words = " ".join(str(error).split())
            raise DeviceError(
                f"the Ray cluster failed: {type(error).__name__}: {words[-300:]}"
            ) from error


class Worker:
    """An actor. What edgead raises comes back as a row: Ray would wrap it, and try it again."""

    def __init__(self, *given: Any) -> None:
        self._error: EdgeadError | None = None
        try:
            self.open(*given)
        except EdgeadError as error:
            self._error = error

    def open(self, *given: Any) -> None:
        """Open what is needed for all items."""
        raise NotImplementedError

    def work(self, item: dict[str, Any]) -> dict[str, Any]:
        """Make a row of an item."""
        raise NotImplementedError

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """A batch is one item."""
        found: dict[str, Any] = {}
        if self._error is None:
            try:
                found = self.work({name: values[0] for name, values in batch.items()})
            except EdgeadError as error:
                self._error = error
        said = "" if self._error is None else str(self._error)
        found |= {"kind": type(self._error).__name__, "said": said}
        return {name: [value] for name, value in found.items()}


def connect(ray: Any, address: bool | str) -> None:
    """Join a cluster, or start one on this machine; one that is joined already is kept.

    Raises:
        DeviceError: there is none at the address, or of another Ray or Python.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is raised, too
    # Of a cluster that is started here. Ray's own 15 lets any other program push actors aside.
    os.environ.setdefault("RAY_worker_niceness", "0")
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
