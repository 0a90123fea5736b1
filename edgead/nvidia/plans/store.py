"""Where plans come from: this machine's own, built where there is none; or a foreign one.

Order of a load: the bundle's manifest and digests (``bundle.storage``), the cache's rights and the
plan's digest (a foreign plan has none), the plan's header (flavour, version, size), then TensorRT
itself. What comes out of ``own_plan`` and ``given_plan`` has passed all but the last.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from edgead.bundle.storage import Bundle
from edgead.errors import BundleError, DeviceError, InputError
from edgead.nvidia.devices import capability_of
from edgead.nvidia.plans.builder import OnnxGraph, build_plan
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

    Raises:
        DeviceError: TensorRT without a GPU.
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

    TensorRT builds for the CUDA device that is current in this thread. Two processes that ask for
    the same plan build it once.

    Args:
        device: the GPU as ``edgead.nvidia.devices`` names it; for RTX also "" or compute
            capabilities, as in "sm_86 sm_89".
        build: whether to build, which takes up to minutes.
        rebuild: build even where there is one.
        cache: the default one when None.

    Raises:
        BundleError: the bundle has no such graph.
        DeviceError: no plan and ``build`` is False, a plan that was altered, a cache that cannot be
            trusted or written, a build that failed.
        CancelledError: ``cancelled`` returned True.
    """
    cache = cache or PlanCache()
    work = _Work(bundle, library, device, precision, options or BuildOptions(), cache)
    stop = cancelled or (lambda: False)

    def waiting() -> None:
        if progress is not None:
            progress("wait", 0, 0)

    if not rebuild:
        found = cache.get(work.key, waiting=waiting, cancelled=stop)
        if found is not None:
            return _plan_of(library, *found)
    if not build:
        raise DeviceError(
            f"there is no {NAMES[library.flavour]} plan of {bundle.path} for {work.target} in "
            f"{precision}; build one: edgead build {bundle.path} --flavour {library.flavour}"
        )
    with cache.building(work.key, waiting=waiting, cancelled=stop):
        # Another process may have built it meanwhile.
        found = None if rebuild else cache.look(work.key)
        if found is not None:
            return _plan_of(library, *found)
        return work.build(verbose_log, progress, cancelled)


def given_plan(
    path: str | os.PathLike[str], bundle: Bundle, precision: str, *, trust: bool
) -> tuple[Library, Plan]:
    """The plan file at ``path``, and the library that is to load it.

    Args:
        trust: not needed for one in this user's cache, which has a digest; see ``foreign_plan``.

    Raises:
        DeviceError: not readable, not a plan, altered, of another version or graph, foreign and not
            trusted.
        InputError: a plan of the cache in another precision.
    """
    try:
        with open(path, "rb") as file:
            header = read_header(file.read(64), str(path))
    except OSError as error:
        raise DeviceError(f"cannot read plan {path}: {error.strerror}") from error
    library = find_library(header.flavour)
    directory, path = plans_directory(), Path(path)
    own = path.suffix == ".plan" and path.parent.resolve() == directory.resolve()
    found = PlanCache(directory).get(path.stem) if own else None
    if found is None:
        return library, foreign_plan(path, library, trust=trust)
    kept = _plan_of(library, *found)
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


def _plan_of(library: Library, entry: Entry, data: bytes, *, cached: bool = True) -> Plan:
    """A plan of the cache; DeviceError for a header or a description that does not fit."""
    check_header(data, library, str(entry.path))
    about = entry.about
    try:
        options = BuildOptions.from_json(about["options"])
        asked = (str(about["precision"]), str(about["device"]), options, about)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise DeviceError(altered(entry.path.with_suffix(".json"))) from error
    return Plan(data, entry.path, library.flavour, library.version_text, *asked, cached)


def foreign_plan(path: str | os.PathLike[str], library: Library, *, trust: bool) -> Plan:
    """A plan file that did not come from this user's cache.

    Args:
        trust: it is native code that runs as this user, and nothing in it says who wrote it.

    Raises:
        DeviceError: not trusted, not readable, not a plan, of another flavour, truncated.
    """
    if not trust:
        raise DeviceError(
            f"plan {os.fspath(path)} is not from this machine's own cache; a plan is native code, "
            "and running one that another user wrote is running their program: build it here "
            "(edgead build NAME.edgead), or, where you know who built it, say trust_plan=True"
        )
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DeviceError(
            f"plan {os.fspath(path)} cannot be read: {error.strerror or error}; check the path"
        ) from error
    check_header(data, library, f"plan {os.fspath(path)}")
    return Plan(data, Path(path), library.flavour, library.version_text)


class _Work:
    """What ``own_plan`` looks for or makes, by ``key`` in the cache."""

    def __init__(
        self,
        bundle: Bundle,
        library: Library,
        device: str,
        precision: str,
        options: BuildOptions,
        cache: PlanCache,
    ) -> None:
        self.bundle, self.library, self.precision = bundle, library, precision
        self.options, self.cache = options, cache
        model = bundle.manifest.models.get(precision)
        if model is None:
            raise BundleError(
                f"bundle {bundle.path} has no {precision} graph, only "
                f"{', '.join(bundle.manifest.models)}; export or learn it again with that precision"
            )
        self.onnx = bundle.read(model)
        self.target = target_of(library, device)
        version = {"flavour": library.flavour, "version": library.version_text}
        measured = {**version, "device": self.target}  # what a timing cache depends on
        self.about = {
            **measured,
            "recipe": _RECIPE,
            "onnx_sha256": hashlib.sha256(self.onnx).hexdigest(),
            "precision": precision,
            "options": options.to_json(),
        }
        self.key, self.timing_key = key_of(self.about), key_of({"timing": 1, **measured})

    def build(
        self, verbose_log: bool, progress: Progress | None, cancelled: Callable[[], bool] | None
    ) -> Plan:
        """Build the plan and keep it with its log; raises as ``build_plan``."""
        log, rtx = BuildLog(verbose=verbose_log), self.library.flavour == "rtx"
        ahead = self.target.split() if rtx and self.target != ANY else []
        tensors = self.bundle.manifest.tensors().items()
        image, *outputs = ((name, shape[1:]) for name, shape in tensors)
        try:
            built = build_plan(
                OnnxGraph(self.onnx, image, dict(outputs)),
                self.library,
                self.precision,
                capabilities=tuple(int(word[3:]) for word in ahead),
                options=self.options,
                timing_cache=b"" if rtx else self.cache.timing(self.timing_key),
                log=log,
                progress=progress,
                cancelled=cancelled,
            )
            check_header(built.plan, self.library, "the plan that was just built")
        except DeviceError as error:
            path = self.cache.keep(self.key, ".log", log.text().encode(errors="replace"))
            raise DeviceError(f"{error} (log of the build: {path or 'not kept'})") from error
        said = {
            "bundle": self.bundle.manifest.name,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(built.seconds, 3),
            "census": built.census.tensors,
            "products": built.census.products,
            "layers": built.layers,
            "off_dla": list(built.off_dla),
            "layers_in_all": built.layers_in_all,
        }
        entry = self.cache.store(self.key, built.plan, {**self.about, **said})
        self.cache.keep(self.key, ".log", log.text().encode(errors="replace"))
        if built.timing_cache:
            self.cache.keep(self.timing_key, ".timing", built.timing_cache)
        return _plan_of(self.library, entry, built.plan, cached=False)
