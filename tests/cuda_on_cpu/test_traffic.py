"""Counted global loads and stores: features and frame once, all of it near the lower bound."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import traffic
from harness import KERNELS, anomaly_map_case

from edgead.anomaly_map import MapParams


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    for tool in ("g++", "objcopy"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return tmp_path_factory.mktemp("traffic")


@pytest.fixture(scope="module")
def program(folder):
    return traffic.build(folder)


def requested(counts, array):
    return sum(c["requested"] for c in counts if c["array"] == array)


def sectors(counts, launch, array):
    """What passed between memory and the cache."""
    return sum(c["memory"] for c in counts if (c["launch"], c["array"]) == (launch, array)) // 32


def test_traffic_is_within_five_percent_of_the_lower_bound(program, folder):
    """But that of nearest, which reads queries twice, and writes and reads codes and bounds."""
    rows = traffic.traffic(program, folder)
    assert len(rows) == 6
    for row in rows:
        most = 1.9 if row["kernel"] == "nearest" else 1.05
        assert row["lower_bound_bytes"] <= row["bytes"] <= most * row["lower_bound_bytes"], row
        assert row["requested_bytes"] >= row["lower_bound_bytes"]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_feature_is_requested_once_and_the_map_written_once(dtype, layout, program, folder):
    # Whole loads: 32 positions, 32 channels.
    pairs = [tuple(np.ones((2, 64, 8, 16), dtype) for _ in "ab")]
    case = anomaly_map_case(pairs, MapParams((64, 72), weights=(1.0,)), layout=layout)
    counts = traffic.count(program, case, folder)
    assert requested(counts, "features") == sum(a.nbytes for a in pairs[0])
    assert requested(counts, "map") == 2 * 64 * 72 * 4


def test_small_counts_by_hand(program, folder):
    """One position, one channel, one pixel: a sector each, shared where two things lie in one."""
    pair = (np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32))
    case = anomaly_map_case([pair], MapParams((1, 1), weights=(1.0,), blur_sigma=0.0))
    counts = traffic.count(program, case, folder)
    assert sectors(counts, 0, "features") == 2
    # Start, count and weights of rows and of columns lie 64 bytes apart; 16 columns are one group,
    # of which the threads past the edge repeat the only one.
    assert sectors(counts, 1, "plan") == 6
    assert sectors(counts, 0, "workspace") == 1  # written once, read from the cache
    assert sectors(counts, 1, "map") == sectors(counts, 2, "score") == 1


@pytest.mark.exhaustive
def test_a_second_reading_is_counted(program, folder, tmp_path):
    right = "  for (int step = 0; step < way.steps; step += kBatch) {"
    wrong = right.replace("  for", "  for (int twice = 0; twice < 2; ++twice)\n  for", 1)
    source = KERNELS[0].read_text()
    assert source.count(right) == 1, "the kernel has changed: plant this bug anew"
    (tmp_path / "anomaly_map_cuda.cu").write_text(source.replace(right, wrong))
    pairs = [tuple(np.ones((1, 40, 8, 16), np.float32) for _ in "ab")]
    case = anomaly_map_case(pairs, MapParams((16, 16), weights=(1.0,)))
    kernels = (tmp_path / "anomaly_map_cuda.cu", *KERNELS[1:])
    counts = traffic.count(traffic.build(tmp_path, kernels), case, folder)
    assert requested(counts, "features") == 2 * sum(a.nbytes for a in pairs[0])
