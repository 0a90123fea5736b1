"""The last check before a kernel: what it is told, whoever tells it, as numbers of its struct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgead import _cpu
from edgead.errors import InputError

INT_MAX = 2**31 - 1
ROWS = np.ones((5, 4), np.float32)


def index() -> Any:
    basis = np.eye(4, dtype=np.float32)
    none = np.empty(0, np.float32)
    return _cpu.NearestMemory(
        memory=ROWS, type=0, search=0, scale=none, mean=np.zeros(4, np.float32), basis=basis
    )


GOOD: dict[Callable[..., Any], dict[str, Any]] = {
    _cpu.Preprocess: {
        **{"shape": (4, 5, 3), "strides": (15, 3, 1), "sample_bytes": 1, "bit_depth": 8},
        **{"size": (8, 8), "order": (2, 1, 0), "scale": (1.0,) * 3, "bias": (0.0,) * 3},
        **{"type": 0, "layout": 0, "simd": ""},
    },
    _cpu.AnomalyMap: {
        **{"shapes": [(3, 4, 5), (2, 2, 2)], "weights": (1.0, 0.0), "size": (8, 8), "distance": 0},
        **{"fusion": 0, "pooling": 2, "top_count": 64, "align_corners": False, "sigma": 1.0},
        **{"type": 0, "layout": 0, "roi": None, "simd": ""},
    },
    _cpu.Nearest: {
        **{"positions": 6, "width": 3, "weights": (1.0,), "blended": 0, "temperature": 0.0},
        **{"root": False, "type": 0, "layout": 0, "roi": None, "simd": ""},
    },
    _cpu.Whiten: {
        **{"size": (4, 4), "channels": 2, "outputs": 2, "side": 4, "triangular": False},
        **{"channel_normal": False, "epsilon": 1e-5, "type": 0, "layout": 0, "simd": ""},
        **{"mean": np.zeros((2, 4, 4), np.float32), "factor": np.zeros((1, 2, 2), np.float32)},
        **{"roi": None},
    },
}
ARRAY = [("type", 2), ("type", -1), ("layout", 2), ("layout", -1)]
WRONG: dict[Callable[..., Any], list[tuple[Any, ...]]] = {
    _cpu.Preprocess: [
        *ARRAY,
        ("shape", (0, 5, 3), "0 x 5"),
        ("shape", (4, -1, 3), "4 x -1"),
        ("shape", (4, 32768, 3), "expected 1 to 32767 pixels a side"),
        ("shape", (4, 5, 2), "2 channels, expected 1 or 3"),
        ("sample_bytes", 4, "4 bytes, expected 1 or 2"),
        ("bit_depth", 12, "expected 8 of samples of one byte"),
        ("size", (0, 8), r"size is \(0, 8\), expected \(height, width\), each 1 to 32767"),
        ("size", (8, INT_MAX)),
        ("order", (2, 1, 3), "order is 3 .* 0 to 2"),
        ("order", (-1, 1, 2)),
        ("scale", (1.0, float("nan"), 1.0), "scale or bias is not finite"),
        ("bias", (float("inf"), 1.0, 1.0), "scale or bias is not finite"),
    ],
    _cpu.AnomalyMap: [
        *ARRAY,
        *((name, 7) for name in ("distance", "fusion", "pooling")),
        ("distance", -1, "distance is -1, expected one of an enumeration, 0 to 2"),
        ("shapes", [(3, 4, 5)], "1 pairs and 2 weights, expected as many"),
        ("shapes", [(3, 4, 5), (0, 2, 2)], r"shape of pair 1 is \(0, 2, 2\)"),
        ("shapes", [(INT_MAX, INT_MAX, INT_MAX), (1, 1, 1)], "at most 2147483647 values"),
        ("weights", (1.0, -1.0), r"weights is \(1\.0, -1\.0\), expected"),
        ("weights", (0.0, 0.0), "not all 0"),
        ("weights", (1.0, float("nan")), "expected finite numbers"),
        ("size", (8, 0)),
        ("sigma", -1.0, "blur_sigma is -1"),
        ("sigma", float("nan"), "blur_sigma is nan"),
        ("top_count", 0, "top_count is 0"),
        ("top_count", 65, "top_count is 65"),
    ],
    _cpu.Nearest: [
        *ARRAY,
        ("positions", 0, "0 positions"),
        ("positions", -3),
        ("positions", INT_MAX, "at most 2147483647 values"),
        ("width", 4, "width is 4, expected that of a grid of 6 positions"),
        ("width", -3),
        ("weights", (1.0,) * 6, "weights are 6 and the memory has 5 features"),
        ("weights", (), "0 of the nearest"),
        ("weights", (-1.0,), "weights is"),
        ("blended", 3, "3 of 1 that are looked for are blended"),
        ("blended", 1, "temperature of a blend is 0.0, expected a number above 0"),
    ],
    _cpu.Whiten: [
        *ARRAY,
        ("size", (0, 4), r"\(2, 0, 4\)"),
        ("channels", 0),
        ("outputs", 0, "factors have 0 outputs of 2 channels"),
        ("side", 0, "side is 0"),
        ("epsilon", 0.0, "epsilon is 0.0"),
        ("epsilon", float("nan"), "epsilon is nan"),
    ],
}


def made(kernel: Callable[..., Any], given: dict[str, Any]) -> Any:
    return kernel(*([index()] if kernel is _cpu.Nearest else []), **given)


@pytest.mark.parametrize("kernel", GOOD)
def test_what_is_right_is_taken(kernel: Callable[..., Any]) -> None:
    made(kernel, GOOD[kernel])


@pytest.mark.parametrize(
    ("kernel", "name", "value", "says"),
    [(k, name, value, says) for k, rows in WRONG.items() for name, value, *says in rows],
)
def test_what_is_wrong_never_reaches_a_kernel(
    kernel: Callable[..., Any], name: str, value: Any, says: list[str]
) -> None:
    with pytest.raises(InputError, match=says[0] if says else rf"{name}|expected"):
        made(kernel, {**GOOD[kernel], name: value})


def test_nine_pairs_are_one_too_many() -> None:
    nine = {"shapes": [(1, 1, 1)] * 9, "weights": (1.0,) * 9}
    with pytest.raises(InputError, match="9 pairs, expected 1 to 8"):
        made(_cpu.AnomalyMap, {**GOOD[_cpu.AnomalyMap], **nine})


@pytest.mark.parametrize(
    ("rule", "limits"),
    [
        (lambda v: _cpu.expected_weights((v,), 8), (1e-20, 1e20)),
        (lambda v: _cpu.expected_std((v, 1.0, 1.0)), (1e-20, 1e20)),
        (lambda v: _cpu.expected_mean((v, 0.0, 0.0)), (-1e15, 1e15)),
        (_cpu.expected_blur_sigma, (0.0, 1000.0)),
        (_cpu.expected_temperature, (1e-30, 1e30)),
        (_cpu.expected_epsilon, (1e-12, 1e6)),
        (lambda v: _cpu.expected_scale((v,), 3), (1e-30, 1e30)),
    ],
)
def test_limits_are_within_and_the_next_number_is_not(rule: Any, limits: Any) -> None:
    low, high = limits
    assert rule(low) == rule(high) == ""
    for beyond in (np.nextafter(low, -np.inf), np.nextafter(high, np.inf), np.nan, np.inf):
        assert rule(float(beyond)) != ""


def test_the_limits_of_factors_hold_in_float32() -> None:
    """A kernel has them in float32, which rounds 1e-20 down and 1e20 up."""
    nearest = GOOD[_cpu.Nearest]
    for weight in (1e-20, 1e20):
        made(_cpu.Nearest, {**nearest, "weights": (weight,)})
    for temperature in (1e-30, 1e30):
        made(_cpu.Nearest, {**nearest, "blended": 1, "temperature": temperature})
    for epsilon in (1e-12, 1e6):
        made(_cpu.Whiten, {**GOOD[_cpu.Whiten], "epsilon": epsilon})
