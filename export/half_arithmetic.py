"""What half arithmetic does to a method, seen on a machine that has none.

onnxruntime and OpenVINO on a CPU compute a float16 graph in float32 and drop the roundings in
between: an activation over 65504, infinite on a GPU, passes there unseen. (Tried: a half
convolution that overflows gives inf in torch, and a finite number in onnxruntime 1.32 with all
optimisations off.) torch rounds honestly, but its half convolutions are about 100 times slower on
a CPU. So torch runs here with the arithmetic that GPUs have: products of half values summed in
float32, every result rounded to half.
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

_INF_BITS = 0x7C00

_aten = torch.ops.aten
_PRODUCTS = {
    _aten.convolution.default,
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
}


class HalfArithmetic(TorchDispatchMode):
    """Within this context, half products sum in float32; ``peak`` is the largest magnitude seen.

    ``peak`` is over every half tensor computed (inf after an overflow or NaN), ``peak_operator``
    names the operator that gave it.
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
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if func in _PRODUCTS and any(_is_half(leaf) for leaf in leaves):
            wide_args, wide_kwargs = tree_map(_widen, (args, kwargs))
            result = tree_map(_narrow, func(*wide_args, **wide_kwargs))
        else:
            result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if _is_half(leaf) and leaf.numel():
                self._record(leaf, str(func))
        return result

    def _record(self, tensor: Tensor, operator: str) -> None:
        # The bits of a half without its sign are ordered as its magnitude; inf is 0x7C00, NaN is
        # above. One pass over int16, where comparisons of half would go value by value.
        largest = int((tensor.view(torch.int16) & 0x7FFF).max())
        peak = float(np.uint16(min(largest, _INF_BITS)).view(np.float16))
        if peak > self.peak:
            self.peak, self.peak_operator = peak, operator


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float16


def _widen(value: Any) -> Any:
    return value.float() if _is_half(value) else value


def _narrow(value: Any) -> Any:
    return value.half() if isinstance(value, Tensor) else value
