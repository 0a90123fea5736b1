"""Qualification: an engine serves only after it has reproduced the bundle's golden frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead._cpu import GoldenCheck
from edgead.bundle.entries import Golden
from edgead.bundle.storage import Bundle
from edgead.engine.interface import Engine, FramePipeline, Qualified
from edgead.engine.lazy_array import as_array
from edgead.errors import BundleError, DeviceError, InputError, QualificationError
from edgead.images import decode_image
from edgead.serving.choice import Choice
from edgead.serving.open_engine import Asked, open_engine
from edgead.serving.open_pipeline import open_pipeline


def causes(precision: str) -> tuple[str, ...]:
    """Why an engine of ``precision`` may not reproduce golden frames, each with its cure."""
    return tuple(_cpu.causes_of_difference(precision))


def growth(values: NDArray[np.floating], usual: float) -> NDArray[np.float64]:
    """How many times a tolerance counts at expected ``values`` of a score or a map: once up to
    ``usual``, the largest of the calibration images, beyond it in proportion, as rounding grows."""
    return _cpu.growth(values, usual)


def check_golden(bundle: Bundle, engine: Engine) -> tuple[GoldenCheck, ...]:
    """Score every golden frame of ``bundle`` on ``engine`` and compare, without judging.

    Raises:
        BundleError: golden files that are not an image or a map, or no tolerance for the precision.
        DeviceError: the engine fails or gives values that are not finite.
    """
    return _checked(bundle, engine)[0]


def _checked(bundle: Bundle, engine: Engine) -> tuple[tuple[GoldenCheck, ...], str]:
    """The golden frames, and what the kernels ran on."""
    tolerance = bundle.manifest.core.tolerance_of(engine.precision)
    for golden in bundle.manifest.golden:  # before memory is taken for a map of another size
        shape = bundle.read_array(golden.map).shape
        if len(shape) != 2 or any(np.less(shape, bundle.manifest.map.size)):
            bundle.read_map(golden.map, _read_golden(bundle, golden)[1])
    pipeline = open_pipeline(bundle, engine)
    try:
        every = range(len(bundle.manifest.golden))
        found = [_check(bundle, pipeline, tolerance, index) for index in every]
    finally:
        pipeline.close()
    return tuple(check for check, _ in found), found[-1][1]


def qualify(bundle: Bundle, engine: Engine) -> tuple[GoldenCheck, ...]:
    """``check_golden``, and refuse the engine when a golden frame is over the tolerance.

    Args:
        bundle: has the golden frames and the tolerance.
        engine: of ``open_engine`` for the same bundle.

    Returns:
        What was found on each golden frame.

    Raises:
        QualificationError: the frame, the difference and the tolerance.
        BundleError, DeviceError: as ``check_golden``.
    """
    return _qualified(bundle, engine)[0]


def open_qualified(bundle: Bundle, choice: Choice, asked: Asked) -> Qualified:
    """``open_engine`` and ``qualify``."""
    engine = open_engine(bundle, choice, **asked)
    return Qualified(engine, _qualified(bundle, engine)[1])


def open_first(
    bundle: Bundle, choice: Choice, asked: Asked, auto: bool
) -> tuple[Qualified, Choice]:
    """Open what ``choose`` chose; where "auto" chose a GPU that then cannot serve, the CPU.

    ``asked`` becomes what is asked of the engine that serves. A GPU that serves, but does not
    reproduce the golden frames, is an error: it would hide a wrong result.

    Returns:
        The engine, and the choice that it is.

    Raises:
        EdgeadError: as ``open_qualified``.
    """
    try:
        return open_qualified(bundle, choice, asked), choice
    except QualificationError:
        raise
    except DeviceError as error:
        if not auto or choice.index is None or asked.get("plan") is not None:
            raise
        asked["isolate"] = False
        instead = Choice(None, f"auto: no GPU: {error}")
        return open_qualified(bundle, instead, asked), instead


def _qualified(bundle: Bundle, engine: Engine) -> tuple[tuple[GoldenCheck, ...], str]:
    checks, kernels = _checked(bundle, engine)
    name = f"{engine.device} ({engine.version}, {engine.precision})"
    path = os.fsencode(bundle.path)
    if problem := _cpu.problem_of_golden(checks, name, engine.precision, path):
        raise QualificationError(problem)
    return checks, kernels


def changed_verdicts(bundle: Bundle, precision: str, checks: Sequence[GoldenCheck]) -> int:
    """How many golden frames an engine of ``precision`` judges otherwise than the bundle, whose
    golden scores are float32's, at the bundle's false-reject rate."""
    manifest = bundle.manifest
    rate = manifest.calibration.false_reject_rate
    ours, theirs = (manifest.limit(p, rate) for p in (precision, "float32"))
    return sum((check.score > ours) != (check.expected_score > theirs) for check in checks)


def _read_golden(bundle: Bundle, golden: Golden) -> tuple[NDArray[Any], tuple[int, int]]:
    """A golden frame and the (height, width) of its map."""
    try:
        frame = decode_image(bundle.read(golden.image), golden.image)
    except InputError as error:  # which names it
        raise BundleError(f"bundle {bundle.path}: {error}") from error
    try:
        return frame, bundle.manifest.map_size(frame.shape[:2])
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {golden.image}: {error}") from error


def _check(
    bundle: Bundle, pipeline: FramePipeline, tolerance: tuple[float, float], index: int
) -> tuple[GoldenCheck, str]:
    golden = bundle.manifest.golden[index]
    frame, size = _read_golden(bundle, golden)
    expected = bundle.read_map(golden.map, size)
    try:
        found = pipeline.run(frame)
    except InputError as error:
        raise BundleError(f"bundle {bundle.path}: {golden.image}: {error}") from error
    except DeviceError as error:
        raise DeviceError(f"golden frame {golden.image}: {error}") from error
    heat, core = as_array(found.map), bundle.manifest.core
    check = _cpu.compare_golden(core, index, tolerance, found.score, heat, expected)
    return check, found.kernels
