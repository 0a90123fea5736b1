"""The door to plans: this machine's own, built where there is none; or a foreign one.

Order of a load, each step before the next may fail: the bundle's manifest and digests
(``bundle.storage``), the cache's rights and the plan's digest, the plan's header (flavour, version,
size), then TensorRT itself. What comes out of ``own_plan`` and ``given_plan`` has passed all but
the last; of a foreign plan there is no digest.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypedDict

from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, DeviceError, InputError
from edgead.nvidia.devices import capability_of
from edgead.nvidia.plans.builder import Built, OnnxGraph, build_plan
from edgead.nvidia.plans.cache import Entry, PlanCache, altered, key_of, plans_directory
from edgead.nvidia.plans.header import check_header, read_header
from edgead.nvidia.plans.library import NAMES, Library, find_library
from edgead.nvidia.plans.log import BuildLog
from edgead.nvidia.plans.plan import BuildOptions, Plan
from edgead.nvidia.plans.progress import Progress

ANY = "any"
"""The device of an RTX plan for all compute capabilities that RTX covers by itself."""

_NOT_IN_ANY = (75,)  # Turing, seen with RTX 1.7.1: its plans must be asked for
_CAPABILITY = re.compile(r"sm_\d+")
_RECIPE = 1  # grows when a plan of the same key would come out of another way of building


def target_of(library: Library, device: str) -> str:
    """What a plan for ``device`` is keyed by and built for.

    TensorRT builds for one GPU. RTX plans fit all GPUs of the compute capabilities that they were
    built for, so those built ahead of time ("any") serve where the GPU is one of them.

    Errors: DeviceError for TensorRT without a GPU.
    """
    if library.flavour == "rtx":
        words = device.split()
        if words and all(map(_CAPABILITY.fullmatch, words)):
            return " ".join(f"sm_{n}" for n in sorted({int(word[3:]) for word in words}))
        capability = capability_of(device)
        return f"sm_{capability}" if capability in _NOT_IN_ANY else ANY
    if not device:
        raise DeviceError(
            f"{library} builds on the GPU that is to run the plan, and none was found; build on "
            "the device itself, or ahead of time for desktop GPUs: --flavour rtx"
        )
    return device


def own_plan(
    bundle: Bundle,
    library: Library,
    *,
    device: str,
    precision: str,
    options: BuildOptions | None = None,
    build: bool = True,
    rebuild: bool = False,
    verbose_log: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    cache: PlanCache | None = None,
) -> Plan:
    """The plan of ``bundle`` in ``precision`` from this user's cache; built where there is none.

    ``device``: the GPU's word, see ``edgead.nvidia.devices``; for RTX also "" or compute
    capabilities. TensorRT builds for the CUDA device that is current in this thread. ``build``:
    whether to build, which takes up to minutes; ``rebuild``: build even where there is one.
    ``cache``: the default one when None. Two processes that want the same plan build it once.

    Errors: BundleError when the bundle has no such graph; DeviceError: no plan and ``build`` is
    False, a plan that was altered, a cache that cannot be trusted or written, a build that failed;
    CancelledError.
    """
    options = options or BuildOptions()
    cache = cache or PlanCache()
    model = bundle.manifest.models.get(precision)
    if model is None:
        raise BundleError(
            f"bundle {bundle.path} has no {precision} graph, only "
            f"{', '.join(bundle.manifest.models)}; export it again with that precision"
        )
    onnx = bundle.read(model)
    target = target_of(library, device)
    about = {
        "recipe": _RECIPE,
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "flavour": library.flavour,
        "version": library.version_text,
        "device": target,
        "precision": precision,
        "options": options.to_json(),
    }
    key = key_of(about)
    work = _Work(bundle, library, precision, target, options, onnx, cache, key, about)
    tell = progress or (lambda phase, done, steps: None)
    others = _Others(waiting=lambda: tell("wait", 0, 0), cancelled=cancelled or (lambda: False))
    if not rebuild:
        found = cache.get(key, **others)
        if found is not None:
            return work.plan(*found)
    if not build:
        raise work.missing()
    with cache.building(key, **others):
        # Another process may have built it meanwhile.
        found = None if rebuild else cache.look(key)
        return work.plan(*found) if found else work.build(verbose_log, progress, cancelled)


class _Others(TypedDict):
    """How to wait for another process that is at work on the same plan; see ``PlanCache``."""

    waiting: Callable[[], None]
    cancelled: Callable[[], bool]


def given_plan(
    path: str | os.PathLike[str], bundle: Bundle, precision: str, *, trust: bool
) -> tuple[Library, Plan]:
    """The plan file at ``path``, and the library that is to load it.

    One that lies in this user's cache is held against its digest and needs no trust; of any other
    nothing is known, see ``foreign_plan``.

    Errors: DeviceError: not readable, no plan, altered, of another version or graph, foreign and
    not trusted; InputError for a plan of the cache in another precision.
    """
    try:
        with open(path, "rb") as file:
            header = read_header(file.read(64), str(path))
    except OSError as error:
        raise DeviceError(f"cannot read plan {path}: {error.strerror}") from error
    library = find_library(header.flavour)
    kept = _kept_plan(Path(path), library)
    if kept is None:
        return library, foreign_plan(path, library, trust=trust)
    if kept.precision != precision:
        raise InputError(
            f"plan {path} computes in {kept.precision}, and {precision} was asked for: say "
            f'precision="{kept.precision}", or name another plan'
        )
    onnx = bundle.read(bundle.manifest.models[precision])
    if kept.about.get("onnx_sha256") != hashlib.sha256(onnx).hexdigest():
        raise DeviceError(
            f"plan {path} was built from another graph than the {precision} one of "
            f"{bundle.path}: build that one: edgead build {bundle.path}"
        )
    return library, kept


def _kept_plan(path: Path, library: Library) -> Plan | None:
    """The plan at ``path`` if it is one of this user's cache. Errors: as ``PlanCache.get``."""
    directory = plans_directory()
    if path.suffix != ".plan" or path.parent.resolve() != directory.resolve():
        return None
    found = PlanCache(directory).get(path.stem)
    if found is None:
        return None
    entry, data = found
    check_header(data, library, str(entry.path))
    try:
        options = BuildOptions.from_json(entry.about["options"])
        precision, device = str(entry.about["precision"]), str(entry.about["device"])
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise DeviceError(altered(entry.path.with_suffix(".json"))) from error
    return Plan(
        data,
        entry.path,
        library.flavour,
        library.version_text,
        precision,
        device,
        options,
        entry.about,
    )


def foreign_plan(path: str | os.PathLike[str], library: Library, *, trust: bool) -> Plan:
    """A plan file that did not come from this user's cache.

    It is native code that runs as this user, and nothing in it says who wrote it: so it is read
    only with ``trust``.

    Errors: DeviceError: not trusted, not readable, no plan, of another flavour or version,
    truncated.
    """
    if not trust:
        raise DeviceError(
            f"plan {os.fspath(path)} is not from this machine's own cache; a plan is native code, "
            "and running one that somebody else wrote is running their program: build it here "
            "(edgead build NAME.edgead), or, where you know who built it, say trust_plan=True"
        )
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DeviceError(
            f"plan {os.fspath(path)} cannot be read: {error.strerror or error}; check the path"
        ) from error
    check_header(data, library, f"plan {os.fspath(path)}")
    return Plan(data, Path(path), library.flavour, library.version_text, "", "", None)


@dataclass(frozen=True)
class _Work:
    """What ``own_plan`` looks for or makes."""

    bundle: Bundle
    library: Library
    precision: str
    target: str
    options: BuildOptions
    onnx: bytes
    cache: PlanCache
    key: str
    about: Mapping[str, Any]

    def missing(self) -> DeviceError:
        """The error for a plan that is not there and may not be built."""
        flavour, path = self.library.flavour, self.bundle.path
        return DeviceError(
            f"there is no {NAMES[flavour]} plan of {path} for {self.target} in {self.precision}; "
            f"build one: edgead build {path} --flavour {flavour}"
        )

    def plan(self, entry: Entry, data: bytes) -> Plan:
        """What was found in the cache. Errors: DeviceError for a header that does not fit."""
        check_header(data, self.library, str(entry.path))
        return self._plan(data, entry, cached=True)

    def build(
        self,
        verbose_log: bool,
        progress: Progress | None,
        cancelled: Callable[[], bool] | None,
    ) -> Plan:
        """Build the plan and keep it with its log. Errors: as ``build_plan``."""
        log = BuildLog(verbose=verbose_log)
        timing_key = key_of({"timing": 1, **{k: self.about[k] for k in _TIMED}})
        ahead = self.library.flavour == "rtx" and self.target != ANY
        capabilities = [int(word[3:]) for word in self.target.split()] if ahead else []
        try:
            built = build_plan(
                self._graph(),
                self.library,
                self.precision,
                capabilities=tuple(capabilities),
                options=self.options,
                timing_cache=self._timing(timing_key),
                log=log,
                progress=progress,
                cancelled=cancelled,
            )
            check_header(built.plan, self.library, "the plan that was just built")
        except DeviceError as error:
            path = self.cache.write_log(self.key, log.text())
            raise DeviceError(f"{error} (log of the build: {path or 'not kept'})") from error
        entry = self.cache.store(self.key, built.plan, {**self.about, **self._said(built)})
        self.cache.write_log(self.key, log.text())
        if built.timing_cache:
            self.cache.store_timing(timing_key, built.timing_cache)
        return self._plan(built.plan, entry, cached=False)

    def _timing(self, key: str) -> bytes:
        return b"" if self.library.flavour == "rtx" else self.cache.timing(key)

    def _graph(self) -> OnnxGraph:
        manifest = self.bundle.manifest
        outputs: dict[str, tuple[int, int, int]] = {}
        for pair, shape in zip(manifest.pairs, manifest.shapes(), strict=True):
            outputs[pair.reference] = outputs[pair.restored] = shape
        image = (manifest.input_name, (3, *manifest.preprocess_params().size))
        return OnnxGraph(self.onnx, image, outputs)

    def _said(self, built: Built) -> dict[str, Any]:
        return {
            "bundle": self.bundle.manifest.name,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(built.seconds, 3),
            "census": built.census.tensors,
            "products": built.census.products,
            "layers": built.layers,
            "off_dla": list(built.off_dla),
        }

    def _plan(self, data: bytes, entry: Entry, *, cached: bool) -> Plan:
        return Plan(
            data,
            entry.path,
            self.library.flavour,
            self.library.version_text,
            self.precision,
            self.target,
            self.options,
            entry.about,
            cached,
        )


_TIMED = ("flavour", "version", "device")  # what a timing cache depends on
