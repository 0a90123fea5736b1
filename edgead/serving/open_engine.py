"""``open_engine``: a bundle's graph on a device."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypedDict

from edgead.bundle.storage import Bundle
from edgead.cpu.engine import OpenVINOEngine
from edgead.engine.interface import PRECISIONS, Engine
from edgead.errors import InputError
from edgead.serving.choice import Choice, choose


class Asked(TypedDict, total=False):
    """What may be asked of an engine beyond its device; see ``open_engine``."""

    threads: int | None
    precision: str | None
    plan: str | os.PathLike[str] | None
    trust_plan: bool
    isolate: bool
    answer_within_s: float
    cancelled: Callable[[], bool] | None


def open_engine(
    bundle: Bundle,
    device: Choice | str = "auto",
    threads: int | None = None,
    *,
    precision: str | None = None,
    plan: str | os.PathLike[str] | None = None,
    trust_plan: bool = False,
    isolate: bool = False,
    answer_within_s: float = 60.0,
    cancelled: Callable[[], bool] | None = None,
) -> Engine:
    """Compile the bundle's graph for a device; nothing falls back.

    Args:
        bundle: has the graph.
        device: a Choice, or a word that ``choose`` settles.
        threads, precision, plan, trust_plan: as for ``Detector``.
        isolate, answer_within_s: in a process of its own; see ``IsolatedEngine``.
        cancelled: asked while a plan is built, which stops at True.

    Raises:
        InputError: another word, ``threads`` < 1, or a plan for the CPU.
        DeviceError: the device or its library is missing or refuses the graph.
        BundleError: the graph is not the one the manifest describes.
        CancelledError: ``cancelled`` returned True.
    """
    if precision not in (None, *PRECISIONS):
        raise InputError(
            f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}, or None"
        )
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads={threads!r}: expected a whole number of at least 1, or None")
    choice = device if isinstance(device, Choice) else choose(device, bundle, precision)
    if isolate:
        # Loaded here: an engine of this process starts faster without it.
        from edgead.serving.isolated_engine import IsolatedEngine

        asked = {"threads": threads, "precision": precision, "trust_plan": trust_plan}
        asked["plan"] = None if plan is None else os.path.abspath(os.fspath(plan))
        return IsolatedEngine(bundle, choice.index, asked, answer_within_s, cancelled)
    if choice.index is not None:
        # Loaded here: without a GPU everything starts faster without these modules.
        from edgead.nvidia.engine import TensorRTEngine

        return TensorRTEngine(
            bundle,
            choice.index,
            precision=precision,
            plan=plan,
            trust_plan=trust_plan,
            cancelled=cancelled,
        )
    if plan is not None:
        raise InputError(
            f"plan {os.fspath(plan)}: a plan is for a GPU, and here the CPU is chosen "
            f'({choice.reason}); use device="cuda", or leave plan out'
        )
    return OpenVINOEngine(bundle, threads, precision or "float32")
