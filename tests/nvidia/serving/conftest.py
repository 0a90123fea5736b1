"""A bundle with a float16 graph, and the simulated device, installed as PyCUDA and TensorRT."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graphs import halved
from simulated_machine import install
from simulated_tensorrt import plan_bytes
from simulation import Device

from edgead import Detector
from edgead.bundle.storage import Bundle, open_bundle


@pytest.fixture(scope="session")
def half(tiny: Any, make_frame: Callable[..., np.ndarray]) -> Any:
    """See ``halved``."""
    return halved(tiny, make_frame)


@pytest.fixture(scope="session")
def half_bundle(half: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """``half`` on disk."""
    path = tmp_path_factory.mktemp("half") / "half.edgead"
    half.write(path)
    return open_bundle(path)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Stand in for the plan cache: own_plan gives the graph as a simulated plan."""
    from edgead.nvidia import engine as tensorrt
    from edgead.nvidia.plans.plan import BuildOptions, Plan

    told: dict[str, Any] = {"asked": [], "before": lambda cancelled: None}

    def own_plan(bundle: Bundle, library: Any, **asked: Any) -> Plan:
        told["asked"].append(asked)
        told["before"](asked["cancelled"])
        precision = asked["precision"]
        model = bundle.read(bundle.manifest.models[precision])
        version = ".".join(map(str, library.version))
        data = told.get("data") or plan_bytes(model, library.flavour, version)
        return Plan(
            data=data,
            path=tmp_path / "cache" / "plans" / "simulated.plan",
            flavour=library.flavour,
            version=version,
            precision=precision,
            device=asked["device"],
            options=BuildOptions(),
        )

    monkeypatch.setattr(tensorrt, "own_plan", own_plan)
    return told


@pytest.fixture
def device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, plans: dict[str, Any]
) -> Iterator[Device]:
    """The simulated device; at the end no rule may be broken, and nothing may be left on it.

    Parametrise it indirectly with arguments of ``Device``.
    """
    found = Device(**getattr(request, "param", {}))

    def collect(phase: str, info: dict[str, int]) -> None:
        found.collecting = phase == "start"

    gc.callbacks.append(collect)
    install(monkeypatch, found)
    yield found
    gc.collect()
    gc.callbacks.remove(collect)
    assert found.faults == []
    assert found.stack == []
    if found.sticky is None:
        assert (found.living("device"), found.living("pinned"), found.living("mapped")) == (0, 0, 0)


@pytest.fixture
def lawless_device(monkeypatch: pytest.MonkeyPatch, plans: dict[str, Any]) -> Device:
    """A simulated device for code with a bug: what is left on it is nobody's business."""
    found = Device()
    install(monkeypatch, found)
    return found


@pytest.fixture
def cpu(half_bundle: Bundle) -> Iterator[Detector]:
    """The same bundle on the CPU."""
    with Detector(half_bundle, device="cpu") as detector:
        yield detector


@pytest.fixture
def gpu(device: Device, half_bundle: Bundle) -> Iterator[Detector]:
    """The bundle on the simulated device."""
    with Detector(half_bundle, device="cuda") as detector:
        yield detector
