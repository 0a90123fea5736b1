"""``mma.sync``: a product of two small matrices of bytes; a warp's threads have parts of them."""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS, DEPTH, WARP = 16, 8, 32, 32
MULTIPLY_ADDS = ROWS * COLUMNS * DEPTH
OPCODE = "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32"


def multiply_bytes(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """d = a b + c of each warp, as the PTX ISA has it under "Matrix Fragments for mma.m16n8k32".

    There, with groupID = lane >> 2 and threadIDInGroup = lane % 4, element a_i of a thread is of
    row groupID (+ 8 for 4 <= i < 8 and i >= 12), column threadIDInGroup * 4 + (i & 3) (+ 16 for
    i >= 8); b_i of row threadIDInGroup * 4 + (i & 3) (+ 16 for i >= 4), column groupID; c_i of row
    groupID (+ 8 for i >= 2), column threadIDInGroup * 2 + (i & 1).

    Args:
        a: words [warps, 32 lanes, 4], uint32.
        b: words [warps, 32 lanes, 2].
        c: [warps, 32 lanes, 4], int32.
    """
    lane = np.arange(WARP)[:, None]
    group, thread = lane >> 2, lane % 4
    left = np.zeros((len(a), ROWS, DEPTH), np.float64)
    right = np.zeros((len(a), DEPTH, COLUMNS), np.float64)
    i = np.arange(16)[None]
    row = group + 8 * (((i >= 4) & (i < 8)) | (i >= 12))
    left[:, row, thread * 4 + (i & 3) + 16 * (i >= 8)] = a.view(np.int8)
    i = i[:, :8]
    right[:, thread * 4 + (i & 3) + 16 * (i >= 4), np.broadcast_to(group, (WARP, 8))] = b.view(
        np.int8
    )
    i = i[:, :4]
    product = (left @ right).astype(np.int64)  # exact
    found = product[:, group + 8 * (i >= 2), thread * 2 + (i & 1)]
    return (found + c).astype(np.int32)  # wraps, as without .satfinite
