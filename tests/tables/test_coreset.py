"""benchmarks/peers/coreset.py: its choices are those of the algorithm as it is written down."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "peers" / "coreset.py"


@pytest.fixture
def coreset():
    spec = importlib.util.spec_from_file_location("coreset", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("candidates", [1, 7, 100, 5000])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_each_choice_is_the_point_farthest_from_those_before(coreset, candidates, spread):
    """Against a full update after each choice, in float64; two clouds, one ``spread`` away."""
    coreset.CANDIDATES, coreset.ROWS = candidates, 300
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(1000, 6, generator=generator)
    points[::2] += spread
    found = coreset.k_centers(points, 120)
    exact = points.double()
    nearest, chosen = (exact - exact[0]).square().sum(1), [0]
    while len(chosen) < 120:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (exact - exact[chosen[-1]]).square().sum(1))
    assert found.tolist() == chosen


def test_the_ratio_counts_rows(coreset):
    points = torch.arange(65, dtype=torch.float32)[:, None]
    kept = coreset.Sampler(points, 5 / 65).sample_coreset()
    assert kept.shape == (5, 1)
    assert sorted(kept[:, 0].tolist()) == [0, 16, 32, 48, 64]  # the ends, then halves
