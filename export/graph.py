"""The exported graph: a method as a module with flat, named outputs, in float32 or float16."""

from __future__ import annotations

import copy

import torch
from edgead_training.methods import Method
from torch import Tensor, nn

from edgead.errors import ExportError


class ExportGraph(nn.Module):
    """``image [N, 3, H, W]`` float32 to ``Method.tensors``, in the order of ``names``, float32."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.names = tuple(method.tensors())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.method.graph(image))


def half(method: Method) -> Method:
    """A copy of ``method`` whose networks compute in float16; input and outputs stay float32."""
    return copy.deepcopy(method).half()


def example_image(method: Method, batch: int) -> Tensor:
    """Noise of the input's shape, [batch, 3, H, W] float32; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, *method.preprocess_params().size, generator=generator)


def check_method(method: Method) -> None:
    """Run ``method`` once on noise and hold its outputs against ``tensors()``.

    Raises:
        ExportError: the number, shape or dtype of the outputs is not what was promised.
    """
    graph = ExportGraph(method)
    with torch.no_grad():
        outputs = graph(example_image(method, 2))
    if len(outputs) != len(graph.names):
        raise ExportError(
            f"{method.name} gives {len(outputs)} tensors, tensors() promises {len(graph.names)}; "
            "correct the method"
        )
    for (name, sides), tensor in zip(method.tensors().items(), outputs, strict=True):
        shape = (2, *sides)
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise ExportError(
                f"{method.name} gives {name} as {tuple(tensor.shape)} {tensor.dtype}, tensors() "
                f"promises {shape} torch.float32; correct the method"
            )
