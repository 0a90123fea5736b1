"""What a training computes in: float32, or bfloat16 where the processor has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgead.cpu.engine import import_openvino

from .processes import gather

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("float32", "bfloat16")


def chosen_precision(asked: str | None, fabric: Fabric) -> str:
    """The precision of a training, the same in all its processes.

    bfloat16 halves the bytes of products and convolutions; sums, losses, weights and what is frozen
    and kept stay float32. A CPU without instructions for it computes it slower than float32.

    Args:
        asked: one of ``PRECISIONS``; None: bfloat16 on CPUs with instructions for it.
        fabric: device and processes.
    """
    if asked is not None:
        return asked
    fast = fabric.device.type == "cpu" and has_bfloat16()
    return PRECISIONS[int(gather(fabric, [float(fast)]).min())]


def has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX512_BF16, AMX, or those of ARM)."""
    core = import_openvino().Core()
    return "BF16" in map(str, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
