"""One graph of a trained method and the features that ``edgead learn`` compares.

The backbone runs once where the method is on it; where it is not, its network stands beside the
method's, and what differs in how the two normalise an image is in the graph.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from edgead_training.features.backbone import FrozenBackbone
from edgead_training.features.efficientnet_lite import load_lite
from edgead_training.features.scale import smooth
from edgead_training.methods import Method
from edgead_training.methods.backbone_method import BackboneMethod
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.preprocess import PreprocessParams

from ..backbone import FEATURES

DISTANCE = "method"
"""Output of the graph: the root of the method's distance, before it is blurred."""


class JoinedGraph(nn.Module):
    """``image [N, 3, H, W]``, normalised for the backbone, to ``FEATURES`` and ``DISTANCE``.

    Args:
        method: trained, in evaluation mode; H and W are multiples of what the backbone needs.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method, self.name = method, method.name
        on_backbone = isinstance(method, BackboneMethod)
        self.backbone = None if on_backbone else load_lite()  # of its own, beside the method
        own = method.preprocess_params()
        mean, std = self.network.normalisation()
        own_mean, own_std = (torch.tensor(each)[:, None, None] for each in (own.mean, own.std))
        self.register_buffer("scale", std / own_std)
        self.register_buffer("shift", (mean - own_mean) / own_std)
        self.indices = self.network.compared()
        self.strides = [self.network.strides[k] for k in self.indices]
        self.size = tuple(side // min(self.strides) for side in own.size)

    @property
    def network(self) -> FrozenBackbone:
        """The backbone, the method's own where it is on one."""
        found: FrozenBackbone = self.method.backbone if self.backbone is None else self.backbone
        return found

    def preprocess_params(self) -> PreprocessParams:
        """How a frame becomes the graph's input."""
        network = self.network
        return replace(self.method.preprocess_params(), mean=network.mean, std=network.std)

    def tensors(self) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) of each output, in order."""
        height, width = self.size
        return {
            FEATURES: (sum(self.network.channels[k] for k in self.indices), height, width),
            DISTANCE: (1, height, width),
        }

    def graph(self, image: Tensor) -> list[Tensor]:
        """``tensors`` of images, float32 also after ``.half()``."""
        if isinstance(self.method, BackboneMethod):
            levels = self.method.levels(image)
            pairs = self.method.compare(image, levels)
        else:
            assert self.backbone is not None
            levels = self.backbone.features(image.to(self.backbone.dtype))
            pairs = self.method(image * self.scale.float() + self.shift.float())
        found = smooth([levels[k].float() for k in self.indices])
        for k, stride in enumerate(self.strides):
            if (factor := stride / min(self.strides)) > 1:
                found[k] = F.interpolate(
                    found[k], scale_factor=factor, mode="bilinear", align_corners=False
                )
        return [torch.cat(found, dim=1), self.distance(pairs).sqrt()]

    def distance(self, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The weighted sum of the distances of pairs, each brought to ``size``: [N, 1, h, w]."""
        params, found = self.method.map_params(), []
        for (a, b), weight in zip(pairs, params.weights, strict=True):
            if params.distance == "cosine":
                gap = 1 - F.cosine_similarity(a, b)[:, None]
            else:
                gap = ((a - b).abs() if params.distance == "l1" else (a - b).square()).mean(1, True)
            found.append(weight * self.on_grid(gap))
        return torch.stack(found).sum(0)

    def on_grid(self, x: Tensor) -> Tensor:
        """A map [N, 1, h, w] averaged down or interpolated up to ``size``."""
        height = int(x.shape[2])
        if height > self.size[0]:
            return F.avg_pool2d(x, height // self.size[0])
        factor = self.size[0] / height
        if factor == 1:
            return x
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
