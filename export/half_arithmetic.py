"""What half arithmetic does to a method, seen on a machine that has none.

onnxruntime and OpenVINO on a CPU compute a float16 graph in float32 and drop the roundings in
between: an activation over 65504, infinite on a GPU, passes there unseen. torch rounds, but its
half convolutions are about 100 times slower on a CPU. So torch runs here with the arithmetic that
GPUs have: products of half values summed in float32, every result rounded to half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

HALF_MAX = 65504.0
"""The largest finite float16."""

_PRODUCTS = {
    getattr(torch.ops.aten, name).default
    for name in ("convolution", "mm", "addmm", "bmm", "baddbmm")
}


class HalfArithmetic(TorchDispatchMode):
    """Within this context, half products sum in float32.

    ``peak`` is the largest magnitude of every half tensor computed (inf after an overflow or NaN),
    ``peak_operator`` the operator that gave it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0.0
        self.peak_operator = ""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = (args, kwargs or {})
        wide = func in _PRODUCTS and any(map(_is_half, tree_leaves(given)))
        if wide:
            given = tree_map(lambda value: value.float() if _is_half(value) else value, given)
        result = func(*given[0], **given[1])
        if wide:
            result = tree_map(lambda one: one.half() if isinstance(one, Tensor) else one, result)
        for leaf in filter(_is_half, tree_leaves(result)):
            if leaf.numel():
                # The bits of a half without its sign are ordered as its magnitude; inf is 0x7C00,
                # NaN is above. One pass over int16; comparisons of half would go value by value.
                largest = int((leaf.view(torch.int16) & 0x7FFF).max())
                peak = float(np.uint16(min(largest, 0x7C00)).view(np.float16))
                if peak > self.peak:
                    self.peak, self.peak_operator = peak, str(func)
        return result


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float16
