"""Laws that nearest obeys whatever the sizes, types and layouts: no reference is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import _cpu
from edgead.nearest import SEARCHES, Nearest, NearestMemory

PATHS = _cpu.nearest_paths()
law = settings(max_examples=40)


class Search:
    """One drawn memory and frame, and ways to search."""

    def __init__(self, draw: Any) -> None:
        self.rows = draw(st.integers(1, 120))
        self.channels = draw(st.integers(1, 80))
        self.size = draw(st.tuples(st.integers(1, 7), st.integers(1, 9)))
        self.simd = draw(st.sampled_from(PATHS))
        self.search = draw(st.sampled_from(SEARCHES))
        self.layout = draw(st.sampled_from(["NCHW", "NHWC"]))
        self.dtype = draw(st.sampled_from([np.float32, np.float16]))
        self.k = draw(st.integers(1, min(8, self.rows)))
        rng = self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        # Values that float16 holds exactly, and of which float32 holds every sum of squares here.
        self.memory = (rng.integers(-64, 65, (self.rows, self.channels)) / 8).astype(np.float32)
        frame = rng.integers(-64, 65, (1, self.channels, *self.size)) / 8
        self.frame = frame.astype(np.float32)

    def __call__(self, frame: Any = None, memory: Any = None, **changes: Any) -> Any:
        """Distances [H, W]; mean of the k nearest."""
        frame = self.frame if frame is None else frame
        memory = self.memory if memory is None else memory
        given_ = {"layout": self.layout, "simd": self.simd, "weights": (1 / self.k,) * self.k}
        given_ |= {"dtype": self.dtype} | changes
        order = (0, 2, 3, 1) if given_["layout"] == "NHWC" else (0, 1, 2, 3)
        held = np.ascontiguousarray(frame.transpose(order), given_["dtype"])
        ready = NearestMemory(np.ascontiguousarray(memory), search=self.search)
        return Nearest(ready, frame.shape[2:], **given_).run(held)[0]


searches = st.composite(lambda draw: Search(draw))()


@given(searches)
@law
def test_a_row_of_the_memory_is_at_distance_zero(s: Search) -> None:
    rows = s.memory[s.rng.integers(s.rows, size=s.size)]
    found = s(rows.transpose(2, 0, 1)[None], weights=(1.0,))
    assert not found.any()


@given(searches)
@law
def test_rows_have_no_order(s: Search) -> None:
    np.testing.assert_array_equal(s(memory=s.memory[s.rng.permutation(s.rows)]), s())


@given(searches)
@law
def test_more_rows_never_increase_a_distance(s: Search) -> None:
    more = s.rng.integers(-64, 65, (1 + s.rows // 2, s.channels)) / 8
    both = np.concatenate([s.memory, more.astype(np.float32)])
    assert (s(memory=both) <= s()).all()


@given(searches)
@law
def test_a_row_twice_changes_nothing_for_the_nearest(s: Search) -> None:
    twice = np.concatenate([s.memory, s.memory[: 1 + s.rows // 3]])
    np.testing.assert_array_equal(s(memory=twice, weights=(1.0,)), s(weights=(1.0,)))


@given(searches)
@law
def test_the_mean_lies_between_the_nearest_and_the_kth(s: Search) -> None:
    nearest, mean = s(weights=(1.0,)), s()
    last = s(weights=(0.0,) * (s.k - 1) + (1.0,))
    rounding = np.float32(1 + 2**-20)
    assert (nearest <= mean * rounding).all() and (mean <= last * rounding).all()


@given(searches)
@law
def test_a_region_of_interest_only_skips(s: Search) -> None:
    roi = s.rng.random(s.size) < 0.5
    roi[0, 0] = True
    np.testing.assert_array_equal(s(roi=roi), np.where(roi, s(), 0))
    np.testing.assert_array_equal(s(roi=roi.astype(np.uint8) * 200), s(roi=roi))


@given(searches, st.sampled_from([2.0**-8, 0.5, 4.0]))
@law
def test_distances_are_homogeneous_of_degree_two(s: Search, scale: float) -> None:
    factor = np.float32(scale)
    found = s(s.frame * factor, s.memory * factor, dtype=np.float32)
    np.testing.assert_array_equal(found, s(dtype=np.float32) * factor * factor)


@given(searches)
@law
def test_a_shift_of_all_features_changes_nothing(s: Search) -> None:
    np.testing.assert_array_equal(s(s.frame + 16, s.memory + 16), s())


@given(searches)
@settings(max_examples=15)
def test_type_layout_path_and_search_do_not_matter(s: Search) -> None:
    # The values are exact in all types and their sums in float32: the same bits everywhere.
    weights = (1.0,) * s.k
    expected = s(weights=weights)
    for s.search in SEARCHES:
        for simd in PATHS:
            np.testing.assert_array_equal(s(weights=weights, simd=simd), expected)
    for dtype in (np.float32, np.float16):
        for layout in ("NCHW", "NHWC"):
            found = s(weights=weights, dtype=dtype, layout=layout)
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(s(memory=s.memory.astype(np.float16), weights=weights), expected)


@given(searches)
@law
def test_positions_do_not_meet(s: Search) -> None:
    flat = s.frame.reshape(1, s.channels, -1)
    order = s.rng.permutation(flat.shape[2])
    mixed = np.ascontiguousarray(flat[:, :, order]).reshape(s.frame.shape)
    np.testing.assert_array_equal(s(mixed).ravel(), s().ravel()[order])
