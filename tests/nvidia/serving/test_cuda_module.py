"""The real edgead.nvidia._cuda, as far as it goes without a GPU: names and arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from simulated_kernels import kernels_module
from simulation import Device

from edgead import anomaly_map, preprocess
from edgead.anomaly_map import MapParams
from edgead.preprocess import PreprocessParams

if find_spec("edgead.nvidia._cuda") is None:
    pytest.skip("edgead.nvidia._cuda was not built: there was no nvcc", allow_module_level=True)

from edgead.nvidia import _cuda

if _cuda.status()[0] == 0:
    pytest.skip("there is a GPU: this looks at what happens without", allow_module_level=True)

CALLS: dict[str, Callable[[], Any]] = {
    "Preprocess": lambda: _cuda.Preprocess(
        **preprocess.kernel_arguments(
            np.zeros((9, 8, 3), np.uint8), PreprocessParams((4, 5)), "bgr", np.float32, "NCHW"
        )
    ),
    "AnomalyMap": lambda: _cuda.AnomalyMap(
        **anomaly_map.kernel_arguments(
            MapParams((8, 9), weights=(1.0,)),
            [(3, 4, 5)],
            np.float32,
            "NCHW",
            np.ones((8, 9), np.uint8),
        ),
        batch=1,
    ),
    "Events": lambda: _cuda.Events(2),
    "Graph.begin": lambda: _cuda.Graph().begin(stream=5),
    "Graph.end": lambda: _cuda.Graph().end(stream=5),
    "place_of": lambda: _cuda.place_of(address=256, integrated=False),
    "device_count": lambda: _cuda.device_count(),
    "Device": lambda: _cuda.Device(index=0),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_edgead_passes_is_taken_and_the_driver_is_what_is_missing(name: str) -> None:
    """A wrong argument would be a TypeError."""
    with pytest.raises(RuntimeError, match=r"CUDA: .* \(error \d+\)"):
        CALLS[name]()


def test_a_capture_that_did_not_begin_is_abandoned_in_silence() -> None:
    _cuda.Graph().abandon(stream=5)


def test_the_simulation_s_methods_have_the_real_ones_arguments() -> None:
    simulated = kernels_module(Device())
    for name in ("Preprocess", "AnomalyMap", "Nearest", "Whiten", "Events", "Graph"):
        real = getattr(_cuda, name)
        methods = [m for m in vars(getattr(simulated, name).__mro__[1]) if not m.startswith("_")]
        for method in methods if name in ("Events", "Graph") else {"run"}:
            expected = list(inspect.signature(getattr(getattr(simulated, name), method)).parameters)
            text = getattr(real, method).__doc__ or ""
            found = re.findall(r"(\w+): ", text.partition(")")[0])
            assert found[1:] == expected[1:], f"{name}.{method}: {text}"
    assert {m for m in vars(_cuda.Graph) if not m.startswith("_")} == {
        *("begin", "end", "abandon", "launch")
    }
