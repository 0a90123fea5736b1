"""The arithmetic of PTX on arrays, one value for each thread; rounded as the PTX ISA says.

A table of functions by opcode without its last part, the type; each takes arrays of that type and
gives one. ``mul.wide`` and conversions have types of their own. What may differ on a GPU:
``ex2.approx`` is exact here and within 2 units in the last place there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .text import PtxError

DTYPES: dict[str, np.dtype[Any]] = {
    "pred": np.dtype(np.bool_),
    **{f"{kind}{bits}": np.dtype(f"u{bits // 8}") for kind in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"f{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}
Array = np.ndarray


def round_sum(product: Array, c: Array) -> tuple[Array, Array]:
    """float64 ``product + c`` and what rounding it left out (Knuth's two-sum)."""
    total = product + c
    of_c = total - product
    return total, (product - (total - of_c)) + (c - of_c)


def fma32(a: Array, b: Array, c: Array) -> Array:
    """a b + c rounded once to float32. The product is exact in float64, the sum may not be."""
    product, c64 = a.astype(np.float64) * b.astype(np.float64), np.asarray(c, np.float64)
    total = np.asarray(product + c64)
    bits = total.view(np.uint64)
    # Rounding twice differs only where the first leaves a tie for the second.
    if ((bits & 0x0FFFFFFF) == 0).any():
        total, rest = round_sum(product, c64)
        total, rest = np.atleast_1d(total), np.atleast_1d(rest)
        odd = (rest != 0) & np.isfinite(rest) & ((total.view(np.uint64) & 1) == 0)
        total = np.where(odd, np.nextafter(total, np.copysign(np.inf, rest)), total)
    return total.astype(np.float32)


def fma32_down(a: Array, b: Array, c: Array) -> Array:
    """a b + c rounded to the float32 at or below it."""
    total, rest = round_sum(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))
    nearest = total.astype(np.float32)
    wide = nearest.astype(np.float64)
    above = (wide > total) | ((wide == total) & (rest < 0))
    return np.where(above, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a b + c rounded once to float64."""
    wide = np.longdouble
    if np.finfo(wide).nmant < 63:
        raise PtxError("fma.rn.f64 takes a long double of 64 bits of mantissa")
    # Veltkamp's halves: the four products are exact, so is their sum's rest.
    high = lambda x: (x * 134217729.0) - ((x * 134217729.0) - x)  # noqa: E731
    a1, b1 = high(a), high(b)
    product = a * b
    rest = ((a1 * b1 - product) + a1 * (b - b1) + (a - a1) * b1) + (a - a1) * (b - b1)
    total, left = round_sum(product, c)
    exact = total.astype(wide) + (np.where(np.isfinite(rest), rest, 0).astype(wide) + left)
    return np.where(np.isfinite(total) & np.isfinite(left), exact.astype(np.float64), total)


def divide(a: Array, b: Array) -> Array:
    """Integers towards 0."""
    if (b == 0).any():
        raise PtxError("an integer is divided by 0")
    if a.dtype.kind == "u":
        return np.asarray(a // b)
    wide = np.abs(a.astype(np.int64)) // np.abs(b.astype(np.int64))
    return np.asarray(np.where((a < 0) != (b < 0), -wide, wide).astype(a.dtype))


def remainder(a: Array, b: Array) -> Array:
    """Of integers, with the sign of ``a``."""
    return np.asarray(a - divide(a, b) * b)


def high_product(a: Array, b: Array) -> Array:
    """The upper half of a product of 32 bits."""
    wide = np.int64 if a.dtype.kind == "i" else np.uint64
    return np.asarray((a.astype(wide) * b.astype(wide) >> wide(32)).astype(a.dtype))


def shift(a: Array, by: Array, *, left: bool) -> Array:
    """Amounts over the width count as the width; a signed value keeps its sign."""
    bits = 8 * a.dtype.itemsize
    most = np.minimum(by, bits - 1).astype(a.dtype)
    moved = a << most if left else a >> most
    if left or a.dtype.kind == "u":
        return np.asarray(np.where(by >= bits, a.dtype.type(0), moved))
    return np.asarray(moved)


def insert_bits(a: Array, b: Array, at: Array, count: Array) -> Array:
    """bfi: the low ``count`` bits of ``a`` go into ``b`` from bit ``at``."""
    bits, at, count = 8 * a.dtype.itemsize, at & 255, count & 255
    mask = ~shift(~np.zeros_like(a), count, left=True)  # ``count`` ones
    inside = np.where(at < bits, shift(mask, at, left=True), 0).astype(a.dtype)
    return np.asarray((b & ~inside) | (shift(a, at, left=True) & inside))


def add_byte_products(a: Array, b: Array, c: Array) -> Array:
    """dp4a: c and the products of four bytes with a sign."""
    bytes_of = lambda x: np.ascontiguousarray(x).view(np.int8).reshape(-1, 4)  # noqa: E731
    products = bytes_of(a).astype(np.int32) * bytes_of(b)
    return np.asarray(products.sum(axis=1, dtype=np.int32) + c)


def negate(a: Array) -> Array:
    """A float's sign alone changes, that of a NaN too."""
    return np.asarray(-a)


# A sum or product of floats takes no modifier (may be contracted, was not) or .rn.
_ROUNDED: dict[str, Callable[..., Array]] = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
ARITHMETIC: dict[str, Callable[..., Array]] = {
    **_ROUNDED,
    **{f"{name}.rn": function for name, function in _ROUNDED.items()},
    "mul.lo": np.multiply,
    "mul.hi": high_product,
    "dp4a.s32": add_byte_products,
    "mad.lo": lambda a, b, c: a * b + c,
    "div": divide,
    "rem": remainder,
    "div.rn": np.divide,
    "rcp.rn": lambda a: np.divide(a.dtype.type(1), a),
    "sqrt.rn": np.sqrt,
    "ex2.approx.ftz": lambda a: flush(np.exp2(flush(a).astype(np.float64)).astype(np.float32)),
    "abs": np.abs,
    "neg": negate,
    "min": lambda a, b: np.fmin(a, b) if a.dtype.kind == "f" else np.minimum(a, b),
    "max": lambda a, b: np.fmax(a, b) if a.dtype.kind == "f" else np.maximum(a, b),
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.bitwise_not,
    "shl": lambda a, by: shift(a, by, left=True),
    "shr": lambda a, by: shift(a, by, left=False),
    "bfi": insert_bits,
    "mov": np.copy,
}
FUSED: dict[tuple[str, str], Callable[..., Array]] = {
    ("fma.rn", "f32"): fma32,
    ("fma.rm", "f32"): fma32_down,
    ("fma.rn", "f64"): fma64,
}
_ORDERED: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def flush(a: Array) -> Array:
    """Subnormal float32 values to 0 of their sign."""
    return np.asarray(np.where(np.abs(a) < np.float32(2.0**-126), np.copysign(0, a), a), a.dtype)


def compare(name: str, a: Array, b: Array) -> Array:
    """setp: of floats, a NaN makes eq, lt, .. and ne false, and equ, ltu, .. true."""
    if a.dtype.kind != "f":
        if name in ("lo", "ls", "hi", "hs"):
            name = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}[name]
        return _ORDERED[name](a, b)
    nan = np.isnan(a) | np.isnan(b)
    if name in ("num", "nan"):
        return np.asarray(~nan if name == "num" else nan)
    if name in _ORDERED:
        return np.asarray(_ORDERED[name](a, b) & ~nan)
    return np.asarray(_ORDERED[name.removesuffix("u")](a, b) | nan)


def convert(modifiers: tuple[str, ...], to: np.dtype[Any], a: Array) -> Array:
    """cvt: integers keep their low bits; to floats to nearest even; .rzi and the like of floats."""
    known = {"rn", "sat", "rzi", "rni", "rmi", "rpi", "ftz"}
    if not known.issuperset(modifiers) or "ftz" in modifiers:
        raise PtxError(f"cvt.{'.'.join(modifiers)} is not known")
    if to.kind == "f":
        if "rmi" in modifiers:
            a = np.floor(a)
        if "sat" in modifiers:  # of a NaN +0
            a = np.where(np.isnan(a), a.dtype.type(0), np.clip(a, 0, 1)) + a.dtype.type(0)
        return np.asarray(a.astype(to))
    if a.dtype.kind == "f":
        rounding = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}
        (name,) = (name for name in modifiers if name in rounding)
        limits = np.iinfo(to)
        whole = np.nan_to_num(rounding[name](a.astype(np.float64)), nan=0)
        low = np.where(whole <= float(limits.min), limits.min, whole).astype(to)
        return np.asarray(np.where(whole >= float(limits.max), limits.max, low).astype(to))
    if "sat" in modifiers:
        raise PtxError("cvt.sat of integers is not known")
    return np.asarray(a.astype(to))


def immediate(text: str, dtype: np.dtype[Any]) -> Array:
    """A constant as a value of ``dtype``."""
    if text[:2] in ("0f", "0F"):
        bits = np.array([int(text[2:], 16)], np.uint32).view(np.float32)
    elif text[:2] in ("0d", "0D"):
        bits = np.array([int(text[2:], 16)], np.uint64).view(np.float64)
    elif dtype.kind == "b":
        return np.array([int(text, 0) != 0])
    else:
        value = int(text.removesuffix("U"), 0) & ((1 << (8 * dtype.itemsize)) - 1)
        return np.array([value], f"u{dtype.itemsize}").view(dtype)
    return bits if bits.dtype.itemsize != dtype.itemsize else bits.view(dtype)
