"""A network of timm as a frozen backbone: ``--backbone timm:NAME``.

timm is not imported unless it is asked for. It brings its own torchvision, which has to be of the
same release as torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgead.errors import MissingExtraError, TrainingError, shortened
from edgead.installation import cure

from .backbone import FROM_TIMM, FrozenBackbone, Levels, Origin, Triple
from .weights import Weights, digest_of, put

Size = tuple[int, int]
_STRIDES = (4, 8, 16)  # of the levels of a hierarchy, as EfficientNet-Lite's
_DEPTHS = (1 / 4, 1 / 2, 3 / 4)  # of a plain transformer: blocks 3, 6 and 9 of 12, as ViTAD
_UNKNOWN = "unknown"


class TimmBackbone(FrozenBackbone):
    """Levels of a network of timm; of a plain transformer those of blocks at ``_DEPTHS``.

    Args:
        network: of timm, in evaluation mode, without its classifier.
        size: (height, width) of the images it will see.
        origin: see ``Origin``.
    """

    def __init__(self, network: Any, size: Size, origin: Origin) -> None:
        super().__init__()
        self.origin, name = origin, origin.name
        if not hasattr(network, "forward_intermediates"):
            raise TrainingError(
                f"--backbone {name}: timm gives no feature maps of it; take another"
            )
        about = network.feature_info
        about = about if isinstance(about, list) else about.get_dicts()
        self.indices = _levels([int(each["reduction"]) for each in about], name)
        self.channels = tuple(int(about[k]["num_chs"]) for k in self.indices)
        self.strides = tuple(int(about[k]["reduction"]) for k in self.indices)
        self.mean, self.std = (_triple(network.pretrained_cfg.get(k)) for k in ("mean", "std"))
        self.multiple = max(self.strides)
        self.prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
        blocks = [about[k]["module"] for k in self.indices]
        if hasattr(network, "prune_intermediate_layers"):  # what lies behind the last level
            network.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        self.network, self.attends = network, _attentions(network, blocks)
        self._fit(size)

    def features(self, image: Tensor) -> Levels:
        found: Levels = self.network.forward_intermediates(
            image, indices=self.indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return found

    def features_and_attention(self, image: Tensor) -> tuple[Levels, Tensor | None]:
        """The attention is what a patch gets, mean over queries, heads and the levels' blocks."""
        levels, seen = self._watched(image)
        if not seen:
            return levels, None
        got = torch.stack([each.float().mean((1, 2)) for each in seen]).mean(0)  # [N, T]
        return levels, got[:, self.prefix :].reshape(-1, 1, *levels[0].shape[2:])

    def _watched(self, image: Tensor) -> tuple[Levels, list[Tensor]]:
        """The levels, and what each of ``attends`` computed: [N, heads, T, T]."""
        seen: list[Tensor] = []

        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        places = [self.network.get_submodule(f"{name}.attn_drop") for name in self.attends]
        hooks = [place.register_forward_pre_hook(see) for place in places]
        try:
            return self.features(image), seen
        finally:
            for hook in hooks:
                hook.remove()

    def _fit(self, size: Size) -> None:
        """Take images of ``size``; what the method refuses itself is left to it.

        Raises: TrainingError: the network does not take them, or gives other maps than it says.
        """
        if any(side % self.multiple for side in size):
            return
        sized, name = f"{size[0]} x {size[1]}", self.origin.name
        try:
            if hasattr(self.network, "set_input_size"):
                self.network.set_input_size(img_size=size)
            with torch.no_grad():
                levels, seen = self._watched(torch.zeros(1, 3, *size))
        except (AssertionError, RuntimeError, ValueError, TypeError) as error:
            reason = shortened(str(error).strip().splitlines()[0])
            raise TrainingError(
                f"--backbone {name} does not take images of {sized} (height x width): {reason}; "
                "give another --set size=[H,W]"
            ) from error
        grids = [(size[0] // stride, size[1] // stride) for stride in self.strides]
        expected = [(1, c, *grid) for c, grid in zip(self.channels, grids, strict=True)]
        given = [tuple(level.shape) for level in levels]
        if given != expected:
            raise TrainingError(
                f"--backbone {name} gives {given} of images of {sized}, expected {expected}; take "
                "a network whose maps divide the size"
            )
        patches = self.prefix + math.prod(grids[0])
        if [tuple(each.shape[2:]) for each in seen] != [(patches, patches)] * len(self.attends):
            self.attends = ()  # of windows, or of channels: it says nothing of a place


def open_timm(
    name: str, size: Size, weights: Weights | None, download: bool, normalised: bool
) -> TimmBackbone:
    """A network of timm with weights.

    Args:
        name: timm:NAME, with or without the tag of its weights.
        size: (height, width) of the images it will see.
        weights: of a file; else random ones, or those that timm fetches.
        download: whether timm may fetch its own weights from the network.
        normalised: whether mean and standard deviation are given.

    Raises:
        MissingExtraError: timm, or a torchvision that goes with torch, is not installed.
        TrainingError: a name that timm does not know, weights of another network, a size that the
            network does not take, no normalisation.
    """
    network = _created(name, download)
    about = network.pretrained_cfg
    if not normalised and not (about.get("mean") and about.get("std")):
        raise TrainingError(
            f"timm does not say how images of {name} are normalised: give --mean R,G,B --std R,G,B"
        )
    if weights is not None:
        head = _classifier(network)
        put(network, weights, name, lambda key: key.startswith(head))
        origin = Origin(name, weights.name, str(weights.licence), weights.sha256)
    else:
        licence = str(about.get("license") or _UNKNOWN)
        source = f"{FROM_TIMM}{about.get('hf_hub_id') or about.get('url') or name}"
        origin = Origin(name, source if download else "random", licence, digest_of(network))
    return _frozen(network, size, origin)


def bare_timm(name: str, size: Size, origin: Origin) -> TimmBackbone:
    """A network of timm for weights that a run has kept. Raises: as ``open_timm``."""
    return _frozen(_created(name, download=False), size, origin)


def _frozen(network: Any, size: Size, origin: Origin) -> TimmBackbone:
    found = TimmBackbone(network, size, origin)
    found.requires_grad_(False)
    return found.eval()


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--backbone timm:NAME needs {error.name}, not installed here: {cure('timm')}"
        ) from error
    except (ImportError, RuntimeError) as error:  # torchvision's operators, of another torch
        reason = str(error).strip().splitlines()[0]
        raise MissingExtraError(
            f"timm cannot be loaded ({reason}): torch and torchvision have to be of one release, "
            "such as pip install torch==2.14.1 torchvision==0.29.1"
        ) from error
    return timm


def _created(name: str, download: bool) -> Any:
    timm, plain = _timm(), name.partition(":")[2]
    if not timm.is_model(plain):
        known = timm.list_models()
        close = difflib.get_close_matches(plain.partition(".")[0], known, 3)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise TrainingError(
            f"timm {timm.__version__} knows no network {shortened(plain)!r}; {hint}"
        )
    try:
        network = timm.create_model(plain, pretrained=download, num_classes=0).eval()
    except Exception as error:  # an unknown tag; without a network, whatever the hub raises
        reason = shortened(str(error).strip().splitlines()[0] if str(error) else repr(error))
        raise TrainingError(f"timm cannot make {plain}: {reason}") from error
    for module in network.modules():
        if hasattr(module, "fused_attn"):  # whose attention cannot be seen
            module.fused_attn = False
    return network


def _classifier(network: Any) -> tuple[str, ...]:
    """How names of the classifier's tensors begin, which is left out."""
    named = network.pretrained_cfg.get("classifier") or ()
    return tuple(f"{each}." for each in ((named,) if isinstance(named, str) else named))


def _levels(strides: Sequence[int], name: str) -> list[int]:
    """The indices of the levels that are used."""
    if len(set(strides)) == 1 and len(strides) >= 4:  # a plain transformer
        return [round(len(strides) * depth) - 1 for depth in _DEPTHS]
    found = [len(strides) - 1 - strides[::-1].index(s) for s in _STRIDES if s in strides]
    if not found:
        raise TrainingError(
            f"--backbone {name} has levels of strides {', '.join(map(str, strides))}; expected "
            f"some of {', '.join(map(str, _STRIDES))}, or a plain transformer"
        )
    return found


def _attentions(network: Any, blocks: Sequence[str]) -> tuple[str, ...]:
    """The attention of each block, where it can be seen; nothing where one has none."""
    found = []
    for block in blocks:
        for name, module in network.get_submodule(block).named_modules():
            if hasattr(module, "fused_attn") and hasattr(module, "attn_drop"):
                found.append(f"{block}.{name}")
                break
    return tuple(found) if len(found) == len(blocks) else ()


def _triple(values: Sequence[float] | None) -> Triple:
    r, g, b = values or (0.0, 0.0, 0.0)
    return float(r), float(g), float(b)
