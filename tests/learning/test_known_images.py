"""Images that are learnt later are told of as if they had been learnt at once."""

from __future__ import annotations

import pytest

from edgead.bundle.known_images import (
    CONTENTS,
    LEARNT,
    MOST,
    PREFIX,
    Known,
    calibrated_with,
    contents_of,
    learnt_more,
)


def digest(number: int) -> bytes:
    """Spread over all values, as those of SHA-256."""
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(PREFIX, "big") + bytes(24)


@pytest.mark.parametrize("sizes", [(3, 2), (0, 4), (MOST - 1, 5), (MOST, MOST), (MOST + 90, 40, 7)])
def test_more_is_the_same_as_at_once(sizes: tuple[int, ...]) -> None:
    every = [digest(number) for number in range(sum(sizes))]
    provenance, begin = contents_of(every[: sizes[0]], [digest(-1)]), sizes[0]
    for size in sizes[1:]:
        provenance = learnt_more(provenance, every[begin : begin + size])
        begin += size
    once = contents_of(every, [digest(-1)])
    assert provenance[CONTENTS][LEARNT]["images"] == sum(sizes)
    assert provenance[CONTENTS][LEARNT]["digests"] == once[CONTENTS][LEARNT]["digests"]
    assert Known(provenance).kind_of(digest(-1)) == "calibrated"
    assert Known(provenance).kind_of(min(every)) == "learnt"


def test_a_bundle_that_tells_nothing_tells_of_what_is_added() -> None:
    for before in ({}, {"other": 1}, {CONTENTS: "?"}):
        found = calibrated_with(learnt_more(before, [digest(1)]), [digest(2)])
        known = Known(found)
        assert known.kind_of(digest(1)) == "learnt" and known.kind_of(digest(2)) == "calibrated"
        assert known.kind_of(digest(3)) is None
