"""nv12 for CUDA, run on the CPU: the very bytes of the specification; planted bugs."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Build, must_fail, named, nv12_case, run_cases

from edgead import reference


def inputs():
    """Keyword arguments of nv12_case: around a block's 64 columns and 8 rows, any strides."""
    rng = np.random.default_rng(7)
    for number, (height, width) in enumerate([(2, 2), (8, 64), (10, 66), (6, 130), (18, 4)]):
        light = rng.integers(0, 256, (height, width + number), np.uint8)[:, :width]
        chroma = rng.integers(0, 256, (height // 2, width + 3 * number), np.uint8)[:, :width]
        if number == 3:  # bottom up
            light, chroma = light[::-1], chroma[::-1]
        for space in range(4):
            yield {
                "light": light,
                "chroma": chroma,
                "color_space": space,
                "blue_first": (number + space) % 2 == 1,
                "shift": number % 3,
            }


def is_right(found, given):
    """Byte for byte; the fourth of a pixel is 0."""
    for (colors,), one in zip(found, given, strict=True):
        exact = reference.nv12(one["light"], one["chroma"], one["color_space"])
        order = slice(None, None, -1) if one["blue_first"] else slice(None)
        if not np.array_equal(colors[:, :, :3], exact[:, :, order]) or colors[:, :, 3].any():
            return False
    return True


def test_nv12_is_exact_in_every_order(program, tmp_path):
    given = list(inputs())
    for seed in (0, 1):
        found = run_cases(program.path, [nv12_case(**one) for one in given], tmp_path, seed=seed)
        assert is_right(found, given)


BUGS = {
    "the row of another pair": ("plain", "", "row / 2 * p.chroma", "row / 4 * p.chroma"),
    "U and V changed over": ("plain", "", "__ldg(uv), v = __ldg(uv + 1)",
                             "__ldg(uv + 1), v = __ldg(uv)"),
    "one Y for two": ("plain", "", "__ldg(y + 1), u, v", "__ldg(y), u, v"),
    "a row too many": ("address,undefined", "AddressSanitizer", "|| row >= p.height",
                       "|| row > p.height"),
}  # fmt: skip


@pytest.mark.parametrize("bug", named(BUGS))
def test_finds(bug, built, tmp_path):
    sanitizer, complaint, right, wrong = BUGS[bug]
    program = built(Build("g++", sanitizer)).with_bug("nv12_cuda.cu", right, wrong, tmp_path)
    given = list(inputs())
    cases = [nv12_case(**one) for one in given]
    must_fail(program, cases, tmp_path, complaint, lambda found: is_right(found, given))
