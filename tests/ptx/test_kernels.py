"""The compiled kernels against float64: every one of them, free of races and within its arrays.

The cases, their references and tolerances are those of tests/cuda_on_cpu; what executes them here
shares nothing with it. Half of the cases in `make test`, the others in `make test-all`.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
from compiled_kernels import programs
from harness import HERE as SIMULATION
from harness import (
    anomaly_map_case,
    nearest_case,
    nv12_case,
    preprocess_case,
    raise_case,
    whiten_case,
)

from edgead import reference

# Eight in a row: the cases go through types, layouts and the like by turns.
EIGHT = 8
PARTS = [pytest.param(0, id="half"), pytest.param(1, id="rest", marks=pytest.mark.exhaustive)]


def cases_of(name: str) -> ModuleType:
    """A test file of the simulation, under a name of its own: for its cases."""
    spec = importlib.util.spec_from_file_location(f"ptx_{name}", SIMULATION / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


implementations, nearest, nv12, raising, whiten = map(
    cases_of, ("test_implementations", "test_nearest", "test_nv12", "test_raise", "test_whiten")
)


@pytest.fixture
def all_of(compiled, device):
    """Says whether every kernel of a file was launched since the test began."""
    device.launched.clear()
    return lambda file: device.launched == set(programs((compiled / f"{file}.ptx").read_text()))


def some(inputs, part):
    """Half of the cases."""
    return [one for number, one in enumerate(inputs) if number // EIGHT % 2 == part]


@pytest.mark.parametrize("part", PARTS)
def test_anomaly_map_follows_float64(part, device, all_of, tmp_path):
    for given in some(implementations.anomaly_map_inputs(), part):
        maps, scores = reference.anomaly_map(given["pairs"], given["params"], roi=given["roi"])
        found = device.run(anomaly_map_case(**given), tmp_path)
        scale = max(1.0, float(np.abs(maps).max())) * len(given["pairs"])
        allowed = scale * implementations.ROUNDINGS
        np.testing.assert_allclose(found[0], maps, rtol=0, atol=allowed, err_msg=given)
        np.testing.assert_allclose(found[1], scores, rtol=0, atol=allowed, err_msg=given)
        if given["roi"] is not None:
            assert not found[0][:, ~given["roi"]].any()
    assert part == 1 or all_of("anomaly_map_cuda")


@pytest.mark.parametrize("part", PARTS)
def test_preprocess_is_exact(part, device, all_of, tmp_path):
    names = ("frame", "params", "color", "dtype", "layout")
    for given in some(implementations.preprocess_inputs(), part):
        (found,) = device.run(preprocess_case(**given), tmp_path)
        exact = reference.preprocess(**{name: given[name] for name in names})
        assert found.tobytes() == exact.astype(found.dtype).tobytes()
    assert part == 1 or all_of("preprocess_cuda")


@pytest.mark.parametrize("part", PARTS)
def test_nearest_follows_float64(part, device, all_of, tmp_path):
    for given, values in some(nearest.inputs(), part):
        exact = given["out"].exact(nearest.distances_of(given, values))
        found = device.run(nearest_case(**given), tmp_path)
        assert nearest.is_right([found], [exact], [given])
    for given in list(nearest.adversarial())[part::2]:
        (found,) = device.run(nearest_case(**given), tmp_path)
        assert nearest.follows(found, given)
    for given, exact in some(nearest.blends(), part):
        found = device.run(nearest_case(**given), tmp_path)
        assert nearest.is_blend([found], [exact])
    assert part == 1 or all_of("nearest_cuda")


def test_nv12_is_exact(device, all_of, tmp_path):
    for given in nv12.inputs():
        assert nv12.is_right([device.run(nv12_case(**given), tmp_path)], [given])
    assert all_of("nv12_cuda")


def test_raise_follows_float64(device, all_of, tmp_path):
    for given in raising.inputs():
        found = device.run(raise_case(**given), tmp_path)
        assert raising.is_right([found], [given])
    assert all_of("raise_cuda")


def test_whiten_follows_float64(device, all_of, tmp_path):
    for given in whiten.inputs():
        found = device.run(whiten_case(**given), tmp_path)
        assert whiten.is_right([found], [whiten.exact_of(given)])
    assert all_of("whiten_cuda")
