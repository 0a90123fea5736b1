"""whiten for CUDA, run on the CPU, against float64; planted bugs."""

from __future__ import annotations

import sys
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest
from harness import Build, Out, must_fail, named, run_cases, whiten_case

from edgead import reference

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

from whiten_data import close, made, tolerance

# (height, width), channels, outputs, side: around a block's 16 positions, 64 outputs, 16 channels.
SHAPES = [
    ((1, 1), 1, 1, 1),
    ((5, 7), 15, 17, 2),
    ((6, 9), 33, 70, 5),
    ((9, 10), 40, 40, 10),
    ((4, 8), 20, 65, 4),
]


def inputs():
    """Keyword arguments of whiten_case, and of the exact distances."""
    rng = np.random.default_rng(21)
    kinds = product((np.float32, np.float16), ("NCHW", "NHWC"), (False, True), (False, True))
    shapes = cycle(SHAPES)
    for number, (dtype, layout, triangular, normal) in enumerate(kinds):
        size, channels, outputs, side = next(shapes)
        batch = 1 + number % 2
        features, mean, factors = made(
            rng, size, channels, outputs, side, batch=batch, triangular=triangular
        )
        yield {
            "features": features.astype(dtype),
            "mean": mean - 3 * np.float32(normal),
            "factors": factors,
            "side": side,
            "triangular": triangular,
            "channel_normal": normal,
            "layout": layout,
            "centre": np.float32(rng.normal(0, 2, channels)) if number % 4 in (1, 2) else None,
            "roi": rng.random(size) < 0.5 if number % 3 == 0 else None,
            "out": Out.number(number, rng, batch, *size),
            "shift": 4 * (number % 4 == 3),
        }


def exact_of(given):
    named = {key: given[key] for key in ("side", "channel_normal", "roi")}
    features = given["features"].astype(np.float32)
    if given["centre"] is not None:
        features = features - given["centre"][:, None, None]
    arrays = [features, given["mean"], given["factors"]]
    allowed = tolerance(*arrays, given["side"], channel_normal=given["channel_normal"])
    exact = given["out"].exact(reference.whiten(*arrays, **named))
    return [(one, allowed + 3e-7 * np.abs(one)) for one in exact]


@pytest.fixture(scope="module")
def cases():
    """Cases, and for each the exact distances and what rounding may do to them."""
    given = list(inputs())
    return [whiten_case(**one) for one in given], [exact_of(one) for one in given], given


def is_right(found, exact):
    return all(
        close(one, *other)
        for arrays, others in zip(found, exact, strict=True)
        for one, other in zip(arrays, others, strict=True)
    )


def test_whiten_follows_float64_in_every_order(program, cases, tmp_path):
    made_, exact, given = cases
    seeds = (0, 1)
    if program.build.sanitizer == "thread":
        made_, exact, given, seeds = made_[::5], exact[::5], given[::5], (1,)
    first = run_cases(program.path, made_, tmp_path, seed=seeds[0])
    assert is_right(first, exact)
    for one, found in zip(given, first, strict=True):
        assert one["roi"] is None or not one["out"].shown or not found[0][:, ~one["roi"]].any()
    for seed in seeds[1:]:
        again = run_cases(program.path, made_, tmp_path, seed=seed)
        for one, other in zip(first, again, strict=True):
            assert [a.tobytes() for a in one] == [a.tobytes() for a in other]


@pytest.mark.parametrize("normal", [False, True])
def test_what_is_not_finite_stays_at_its_position_or_under_the_roi(normal, built, tmp_path):
    features, mean, factors = made(np.random.default_rng(22), (5, 8), 20, 20, 4, triangular=True)
    features[0, 3, 1, 2], features[0, 19, 1, 3], features[0, 0, 4, 7] = np.nan, np.inf, 3e38
    roi = np.ones((5, 8), bool)
    roi[1, 2:4] = roi[4, 7] = False
    how = {"side": 4, "triangular": True, "channel_normal": normal}
    made_ = [whiten_case(features, mean, factors, roi=r, **how) for r in (None, roi)]
    (whole,), (masked,) = run_cases(built(Build("g++", "plain")).path, made_, tmp_path)
    np.testing.assert_array_equal(np.isfinite(whole[0]), roi)
    np.testing.assert_array_equal(masked, np.where(roi, whole, 0))


BUGS = {
    "missing barrier before a write": (
        "thread",
        "ThreadSanitizer: data race",
        "      __syncthreads();  // no thread reads what the stages had\n",
        "",
    ),
    "missing barrier between mean and variance": (
        "thread",
        "ThreadSanitizer: data race",
        "  __syncthreads();  // no thread reads what was there\n",
        "",
    ),
    "read out of bounds": (
        "address,undefined",
        "AddressSanitizer: heap-buffer-overflow",
        "one < p.outputs && c < p.channels",
        "one <= p.outputs && c < p.channels",
    ),
    "a position beyond its region": (
        "address,undefined",
        "AddressSanitizer",
        "if (first + i >= count) return -1;",
        "",
    ),
    "a channel too few": ("plain", "", "c0 < p.channels; c0", "c0 < p.channels - 1; c0"),
    "the whole row of a triangle left out": (
        "plain",
        "",
        "c >= whiten_first(p, one)",
        "c > whiten_first(p, one)",
    ),
    "the region beside": ("plain", "", "region % across * p.side", "region / across * p.side"),
    "the mean of another place": (
        "plain",
        "",
        "static_cast<int64_t>(c) * positions + place);",
        "static_cast<int64_t>(c) * positions);",
    ),
    "the centre of another channel": ("plain", "", "__ldg(centre + c)", "__ldg(centre)"),
    "variance without its mean": (
        "plain",
        "",
        "value_at(my_place, c) - m;",
        "value_at(my_place, c);",
    ),
}


@pytest.mark.parametrize("bug", named(BUGS))
def test_finds(bug, built, cases, tmp_path):
    sanitizer, complaint, right, wrong = BUGS[bug]
    program = built(Build("g++", sanitizer)).with_bug("whiten_cuda.cu", right, wrong, tmp_path)
    made_, exact, _ = cases
    must_fail(program, made_, tmp_path, complaint, lambda found: is_right(found, exact))
