"""nearest with a blend: against float64 on every instruction set, and what holds at ties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgead import _cpu, reference
from edgead.errors import InputError
from edgead.nearest import MAX_NEAREST, Blend, Nearest, NearestMemory

# (rows, channels, neighbours): fewer, as many and one more rows than are blended; channels below,
# at and over a vector.
SHAPES = [
    (1, 1, 3), (3, 5, 3), (4, 16, 3), (5, 33, 4), (70, 152, 4), (300, 40, 1), (90, 20, 7)
]  # fmt: skip


def made(rows: int, channels: int, stored: str, seed: int = 0):
    """A memory, its scale, and its values in float32."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, channels)).astype(np.float32)
    if stored != "int8":
        kept = values.astype(stored)
        return kept, None, kept.astype(np.float32)
    scale = rng.uniform(0.02, 0.03, channels).astype(np.float32)
    kept = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    return kept, scale, kept.astype(np.float32) * scale


@pytest.mark.parametrize("path", _cpu.nearest_paths())
@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
def test_it_follows_float64(path: str, stored: str) -> None:
    cases = product(SHAPES, ("pruned", "every"), ("NCHW", "NHWC"), (np.float32, np.float16))
    for seed, ((rows, channels, neighbours), search, layout, dtype) in enumerate(cases):
        rng = np.random.default_rng(seed)
        kept, scale, values = made(rows, channels, stored, seed)
        queries = rng.standard_normal((2, channels, 5, 7)).astype(dtype)
        queries[0, :, 0, 0] = values[0]  # a copy is at a distance too: of a blend
        roi = rng.random((5, 7)) < 0.7
        roi[0, 0] = True
        blend = Blend(neighbours, channels * float(rng.choice([0.05, 0.3, 2.0])))
        nearest = Nearest(
            NearestMemory(kept, scale, search=search), (5, 7), weights=blend, dtype=dtype,
            layout=layout, roi=roi, simd=path,
        )  # fmt: skip
        given = queries if layout == "NCHW" else queries.transpose(0, 2, 3, 1)
        found = nearest.run(np.ascontiguousarray(given))
        truth = reference.nearest(queries, values, blend, roi)
        # Roundings of squared distances, over a temperature of a twentieth of them, move shares.
        np.testing.assert_allclose(found, truth, rtol=2e-4, atol=1e-5 * channels)
        assert nearest.rows.shape == (5, 7, min(neighbours + 1, rows))


def test_a_blend_by_hand() -> None:
    """Of two rows at squared distances 1 and 4 and one at 9, which ends the shares."""
    kept = np.array([[1.0], [-2.0], [3.0]], np.float32)
    found = Nearest(NearestMemory(kept), (1, 1), weights=Blend(2, 2.0)).run(
        np.zeros((1, 1, 1, 1), np.float32)
    )
    e = np.exp([-0.5, -2.0, -4.5])
    share = (e[:2] - e[2]) / e.sum() + 1e-4
    assert found[0, 0, 0] == pytest.approx((share @ [1.0, -2.0] / share.sum()) ** 2, rel=1e-5)


def test_a_blend_of_a_high_temperature_is_the_mean_and_of_a_low_one_the_nearest() -> None:
    kept, _, values = made(3, 20, "float32")
    queries = np.random.default_rng(1).standard_normal((1, 20, 2, 2)).astype(np.float32)
    memory = NearestMemory(kept)
    mean = Nearest(memory, (2, 2), weights=Blend(3, 1e20)).run(queries)
    difference = queries - values.mean(0)[:, None, None]
    np.testing.assert_allclose(mean, np.square(difference).sum(1), rtol=1e-5)
    low = Nearest(memory, (2, 2), weights=Blend(2, 1e-20)).run(queries)
    # All but the least share, a ten-thousandth.
    np.testing.assert_allclose(low, Nearest(memory, (2, 2)).run(queries), rtol=1e-3)


def test_a_tie_for_the_last_place_is_no_jump() -> None:
    kept = 0.2 * np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]], np.float32)
    nearest = Nearest(NearestMemory(kept), (1, 2), weights=Blend(4, 0.1))
    left, right = nearest.run(np.array([-1e-4, 1e-4], np.float32).reshape(1, 1, 1, 2))[0, 0]
    assert abs(np.sqrt(left) - np.sqrt(right)) < 1e-3


def test_what_is_not_finite_stays_at_its_position() -> None:
    kept, _, _ = made(70, 20, "float32")
    queries = np.random.default_rng(2).standard_normal((1, 20, 5, 8)).astype(np.float32)
    queries[0, 3, 1, 2], queries[0, 19, 1, 3], queries[0, 0, 4, 7] = np.nan, np.inf, 3e38
    found = Nearest(NearestMemory(kept), (5, 8), weights=Blend(4, 2.0)).run(queries)[0]
    assert np.isnan(found[1, 2]) and np.isposinf(found[1, 3]) and np.isposinf(found[4, 7])
    assert np.isfinite(found).sum() == 37


@pytest.mark.parametrize("path", _cpu.nearest_paths())
@pytest.mark.parametrize("weights", [(1.0,), (0.5, 0.5), Blend(4, 2.0)], ids=str)
def test_the_root_is_that_of_the_distance(path: str, weights: object) -> None:
    kept, _, _ = made(70, 20, "float32")
    queries = np.random.default_rng(3).standard_normal((1, 20, 5, 8)).astype(np.float32)
    queries[0, 3, 1, 2], queries[0, 19, 1, 3], queries[0, :, 0, 0] = np.nan, np.inf, kept[0]
    square, root = (
        Nearest(NearestMemory(kept), (5, 8), weights=weights, root=root, simd=path).run(queries)
        for root in (False, True)
    )
    np.testing.assert_array_equal(root, np.sqrt(square))


@pytest.mark.parametrize("neighbours", [0, MAX_NEAREST, 2.0, True, None])
def test_other_numbers_of_neighbours_are_refused(neighbours: object) -> None:
    with pytest.raises(InputError, match=r"a blend of .* neighbours, expected a whole number"):
        Blend(neighbours, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, True, "1"])
def test_other_temperatures_are_refused(temperature: object) -> None:
    with pytest.raises(InputError, match=r"temperature of a blend is .*, expected a number"):
        Blend(4, temperature)  # type: ignore[arg-type]


@pytest.mark.parametrize("root", [1, None, "yes"])
def test_another_root_is_refused(root: object) -> None:
    memory = NearestMemory(made(3, 5, "float32")[0])
    with pytest.raises(InputError, match=r"root is .*, expected True or False"):
        Nearest(memory, (1, 1), root=root)  # type: ignore[arg-type]
