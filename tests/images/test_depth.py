"""A declared bit depth is brought to the expected one; an undeclared one is taken at its word."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from encoders import Tiff, png, pnm
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import InputError
from edgead.images import decode_image
from edgead.images.depth import rescale

RNG = np.random.default_rng(5)


def sbit(bits: int) -> list[tuple[bytes, bytes]]:
    return [(b"sBIT", bytes([bits]))]


def declared(stored: np.ndarray, bits: int) -> dict[str, bytes]:
    """The same raw samples in every container that can say how many bits they have."""
    found = {
        "pgm": pnm(stored, 5, 2**bits - 1),
        "plain pgm": pnm(stored, 2, 2**bits - 1),
        "tiff of so many bits": Tiff(bits).write(stored),
        "tiff with a maximum": Tiff(16, tags={281: (3, [2**bits - 1])}).write(stored),
        "png": png(stored, 16, 0, sbit(bits)),
        "padded png": png(stored << (16 - bits), 16, 0, sbit(bits)),
        "replicated png": png(stored << (16 - bits) | stored >> (2 * bits - 16), 16, 0, sbit(bits)),
    }
    return found


def exact(stored: np.ndarray, white: int, to: int) -> list[int]:
    """To the nearest, half up, in fractions."""
    return [int(Fraction(int(v) * to, white) + Fraction(1, 2)) for v in stored.ravel()]


def some(bits: int) -> np.ndarray:
    stored = RNG.integers(0, 2**bits, (9, 13))
    stored[0, :2] = 0, 2**bits - 1
    return stored


@pytest.mark.parametrize("to", [None, *range(9, 17)])
@pytest.mark.parametrize("bits", range(9, 16))
def test_a_declared_depth_is_brought_to_the_expected_one(bits: int, to: int | None) -> None:
    stored = some(bits)
    for name, data in declared(stored, bits).items():
        found = decode_image(data, name, bit_depth=to)
        assert found.dtype == np.uint16
        if name.endswith("ed png") and to in (None, 16):
            shift = 16 - bits
            assert (found >> shift == stored).all(), name  # as stored: white is there already
        else:
            expected = exact(stored, 2**bits - 1, 2 ** (to or 16) - 1)
            assert found.ravel().tolist() == expected, name
        if bits == to:
            assert (found == stored).all()


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_what_declares_nothing_is_taken_as_the_expected_bits(bits: int) -> None:
    stored = some(bits)
    for data in (
        png(stored, 16, 0), png(stored, 16, 0, sbit(16)), Tiff(16).write(stored),
        pnm(stored, 5, 65535), Tiff(16, tags={281: (3, [65535])}).write(stored),
        Tiff(16, tags={281: (3, [2000])}).write(stored),
    ):  # fmt: skip
        assert (decode_image(data, "x", bit_depth=bits) == stored).all()
        assert (decode_image(data, "x") == stored).all()
        given = f"value {2**bits - 1} .*{bits - 1} bits, at most {2 ** (bits - 1) - 1}"
        if bits > 9:
            with pytest.raises(InputError, match=given):
                decode_image(data, "x", bit_depth=bits - 1)


def test_where_white_is_zero() -> None:
    """What is declared counts before black and white change places."""
    stored = some(12)
    for data in (
        Tiff(12, 0).write(stored),
        Tiff(16, 0, tags={281: (3, [4095])}).write(stored),
    ):
        assert (decode_image(data, "x", bit_depth=12) == 4095 - stored).all()
    found = decode_image(Tiff(16, 0).write(stored), "x")
    assert (found == 65535 - stored).all()


def test_a_maximum_that_the_samples_exceed_declares_nothing() -> None:
    stored = RNG.integers(0, 65536, (9, 13))
    stored[0, 0] = 4096
    found = decode_image(Tiff(16, tags={281: (3, [4095])}).write(stored), "x")
    assert (found == stored).all()


def test_dark_pngs_of_twelve_bits() -> None:
    """Low bits that are never used say that samples were scaled up; else they are raw."""
    raw = np.array([[0, 1, 100, 250]])
    assert decode_image(png(raw, 16, 0, sbit(12)), "x", bit_depth=12).tolist() == raw.tolist()
    padded = decode_image(png(16 * raw, 16, 0, sbit(12)), "x", bit_depth=12)
    assert padded.tolist() == raw.tolist()
    black = decode_image(png(0 * raw, 16, 0, sbit(12)), "x", bit_depth=12)
    assert not black.any()


def test_colours_and_eight_bits() -> None:
    colour = RNG.integers(0, 4096, (5, 6, 3))
    data = png(colour, 16, 2, [(b"sBIT", bytes([12, 11, 12]))])
    assert (decode_image(data, "x", bit_depth=12) == colour[:, :, ::-1]).all()
    low = RNG.integers(0, 256, (5, 6))
    for data in (png(low, 8, 0, sbit(5)), Tiff(8).write(low), pnm(low, 5, 255)):
        for bits in (None, 9, 12, 16):
            found = decode_image(data, "x", bit_depth=bits)
            assert found.dtype == np.uint8
            assert (found == low).all()


@given(white=st.integers(1, 65535), to=st.integers(255, 65535))
@settings(max_examples=60, deadline=None)
def test_rescaling_rounds_to_the_nearest(white: int, to: int) -> None:
    stored = np.unique(np.append(RNG.integers(0, white + 1, 50), (0, white))).astype(np.uint16)
    assert rescale(stored, white, to).tolist() == exact(stored, white, to)


@pytest.mark.parametrize("bad", [0, 8, 17, -1, 12.0, "12", True])
def test_depths_that_are_none(bad: object) -> None:
    with pytest.raises(InputError, match="expected a whole number from 9 to 16"):
        decode_image(pnm(np.zeros((2, 2), int), 5, 255), "x", bit_depth=bad)  # type: ignore[arg-type]
