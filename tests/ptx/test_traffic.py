"""Sectors counted in the compiled kernels, beside those counted in the simulation of the source."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from compiled_kernels import Device
from harness import anomaly_map_case, nearest_case, preprocess_case, whiten_case
from traffic import build, count

from edgead.anomaly_map import MapParams
from edgead.preprocess import PreprocessParams

SECTOR = 32


def cases():
    """By kernel: shapes that both run within seconds, with channels as in the demo."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    pairs = [(normal(1, *shape), normal(1, *shape)) for shape in [(24, 32, 32), (40, 16, 16)]]
    frame = rng.integers(0, 256, (256, 256, 3), np.uint8)
    return {
        "anomaly_map": anomaly_map_case(pairs, MapParams((128, 128), weights=(1.0, 1.0))),
        "preprocess": preprocess_case(frame, PreprocessParams((128, 128))),
        "nearest": nearest_case(normal(1, 152, 8, 16), normal(128, 152)),
        "whiten": whiten_case(normal(1, 112, 8, 8), normal(112, 8, 8), normal(16, 112, 112), 2),
    }


@pytest.fixture(scope="module")
def simulation(once):
    for tool in ("g++", "objcopy"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return once("traffic", build) / "traffic"


@pytest.mark.exhaustive
@pytest.mark.parametrize("kernel", ["anomaly_map", "preprocess", "nearest", "whiten"])
def test_compiled_code_asks_for_the_sectors_that_the_source_does(
    kernel, compiled, simulation, tmp_path
):
    """nvcc neither splits a vector load nor reads anything twice, in no launch, of no array."""
    case = cases()[kernel]
    device = Device.of(compiled, count_traffic=True, races=False)
    device.run(case, tmp_path)
    found = Counter(
        {
            (launch, array): sectors * SECTOR
            for launch, (_, traffic) in enumerate(device.traffic)
            for array, sectors in traffic.sectors.items()
        }
    )
    expected: Counter[tuple[int, str]] = Counter()
    for row in count(simulation, case, tmp_path):
        expected[row["launch"], row["array"]] += row["requested"]
    assert found == expected
