"""What only TensorRT-RTX has at run time: kernels compiled on the device that runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgead.nvidia.plans.cache import PlanCache


class RtxConfig:
    """How TensorRT-RTX compiles a plan's kernels for this GPU, and what it compiled before.

    All at once, before the first frame: else a graph would capture the stopgaps that run meanwhile.
    ``plan``: None for one that is not this machine's own; nothing is kept of that.
    """

    def __init__(self, module: Any, config: Any, plan: Path | None) -> None:
        self.config = config
        strategy = module.DynamicShapesKernelSpecializationStrategy.EAGER
        self.config.dynamic_shapes_kernel_specialization_strategy = strategy
        self._plan, self._kept = plan, b""
        self._cache: Any = None
        if plan is not None and hasattr(self.config, "create_runtime_cache"):  # RTX 1.1
            self._cache = self.config.create_runtime_cache()
            self._kept = PlanCache(plan.parent).compiled(plan.stem) or b""
            if self._kept and not self._cache.deserialize(self._kept):
                self._kept = b""  # of another driver or GPU: compiled anew
            self.config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Keep what was compiled for the next start, where that is new."""
        if self._cache is None or self._plan is None:
            return
        data = bytes(self._cache.serialize())
        if data != self._kept:
            PlanCache(self._plan.parent).keep_compiled(self._plan.stem, data)
            self._kept = data
