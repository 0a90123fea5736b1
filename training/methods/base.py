"""What every method offers: settings, a graph from an image to feature pairs, training stages."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from edgead.anomaly_map import POOLINGS, MapParams
from edgead.bundle.entries import Pair
from edgead.errors import TrainingError, shortened
from edgead.preprocess import PreprocessParams

CPU = torch.device("cpu")
UNIT_RANGE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and std that leave [0, 1] as it is
Losses = dict[str, Tensor]  # scalars by their names; what is optimised is their sum
Progress = Callable[[Iterable[Any], str], Iterator[Any]]  # items and the title of their bar
MOST = 10**9  # of any number of a setting
OPTIMISERS = ("adamw", "sgd")
_MOST = {
    "size": 4096, "batch_size": 4096, "widths": 4096, "width": 4096, "common": 4096, "heads": 256,
    "blocks": 64, "bank_size": 4096, "variants": 256, "varied": 64,
}  # fmt: skip
"""What is more would fill the memory of any machine that trains, before the first step."""
_LEAST = {"batch_size": 2, "steps": 1, "learning_rate": 1e-9, "blur_sigma": 0, "varied": 0}


@dataclass(frozen=True)
class MethodSettings:
    """Base of a method's frozen dataclass of settings, every one with a default.

    It has size (height, width), blur_sigma, pooling, top_k, batch_size, learning_rate and steps.

    Raises:
        TrainingError: names the setting, what was given and what is expected.
    """

    multiple: ClassVar[int]  # of the sides of size
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    least: ClassVar[Mapping[str, float]] = {}  # of a number, or of each of several
    most: ClassVar[Mapping[str, float]] = {}  # where it is not what _MOST says
    shares: ClassVar[tuple[str, ...]] = ()  # from 0 to 1
    removed: ClassVar[Mapping[str, Any]] = {}
    """Settings that were once, and the value that left out what they were of; None: any."""
    added: ClassVar[Mapping[str, Any]] = {}
    """Settings that came later, and what runs from before them had."""

    varied: int = 0  # [P] copies of each image to learn from, in another light and a little off

    @classmethod
    def read(cls, method: str, values: dict[str, Any]) -> Any:
        """From plain JSON; lists become tuples. Raises: TrainingError."""
        values = cls._without_removed(method, values)
        known = sorted(each.name for each in fields(cls))
        for key in values:
            if key not in known:
                raise TrainingError(
                    f"{method} has no setting {shortened(key, 60)!r}; it knows {known}"
                )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    @classmethod
    def _without_removed(cls, method: str, values: dict[str, Any]) -> dict[str, Any]:
        """Without what an older run says that it has not. Raises: TrainingError where it has it."""
        off = {key: value for key, value in cls.removed.items() if value is not None}
        if all(key in values and values[key] == value for key, value in off.items()):
            return {key: value for key, value in values.items() if key not in cls.removed}
        if given := [key for key in cls.removed if key in values]:
            raise TrainingError(
                f"{method} has no setting {given[0]} any more: whitening and memory are no part of "
                "the method, edgead learn has them. Train without such settings, and join both "
                "with: edgead export RUN --with instant"
            )
        return values

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for each in fields(self):
            if not _alike(given[each.name], each.default):
                raise TrainingError(
                    f"{each.name}={shortened(_text(given[each.name]), 60)} cannot be used; "
                    f"expected a value like {each.name}={json.dumps(each.default)}"
                )
        for name, choices in {**self.choices, "pooling": POOLINGS}.items():
            if given[name] not in choices:
                known = ", ".join(map(str, choices))
                raise TrainingError(f"{name}={given[name]!r} is not known; choose one of: {known}")
        if any(side < 64 or side % self.multiple for side in given["size"]):
            raise TrainingError(
                f"size={given['size']} cannot be used: height and width must be multiples of "
                f"{self.multiple}, at least 64"
            )
        if not 0 < (top_k := given["top_k"]) <= 1:
            raise TrainingError(f"top_k={top_k} is not a share of the map; give 0 < top_k <= 1")
        for name, bound in {**_LEAST, **self.least}.items():
            finite = np.all(np.isfinite(given[name]))
            if not (finite and np.all(np.greater_equal(given[name], bound))):
                kind = "" if finite else "a finite number, "
                raise TrainingError(f"{name}={given[name]} must be {kind}at least {bound}")
        for name, bound in {**_MOST, **self.most}.items():
            if name in given and not np.all(np.less_equal(given[name], bound)):
                raise TrainingError(f"{name}={given[name]} must be at most {bound}")
        for name in self.shares:
            if not 0 <= given[name] <= 1:
                raise TrainingError(f"{name}={given[name]} is not a share; give 0 to 1")


def _text(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python does not write thousands of digits
        return "a number of thousands of digits"


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        same_length = isinstance(value, tuple) and len(value) == len(example)
        return same_length and all(map(_alike, value, example))
    if isinstance(value, (int, float)) and not -MOST <= value <= MOST:  # nor NaN
        return False
    if isinstance(example, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(example)


@dataclass(frozen=True)
class TrainingSet:
    """The good images that a method learns from, preprocessed as the runtime does it.

    Args:
        images: [N, 3, H, W] float32, normalised, in the memory of the CPU; varied copies, if there
            are any, come last.
        progress: the bar for long preparations.
        device: where the method is trained.
        textures: [M, 3, H, W] like ``images``, of other things, for a method that
            ``takes_textures``; M may be 0.
        varied: how many copies of each image there are.
    """

    images: Tensor
    progress: Progress
    device: torch.device = CPU
    textures: Tensor = field(default_factory=lambda: torch.empty(0))
    varied: int = 0

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The images of ``indices`` on the device."""
        return self.images[indices].to(self.device)

    def __len__(self) -> int:
        return self.images.shape[0]

    def chunks(self, title: str, size: int = 16) -> Iterator[Tensor]:
        """The indices of all images, ``size`` at a time, with a progress bar."""
        return self.progress(torch.arange(len(self)).split(size), title)

    def mean(self, compute: Callable[[Tensor], Tensor], title: str) -> Tensor:
        """The mean over all images of compute(images [N, 3, H, W]), [N, ...]: [...] float64."""
        return self._means(compute, title, lambda part: torch.zeros_like(part))[0]

    def halves(self, compute: Callable[[Tensor], Tensor], title: str) -> tuple[Tensor, Tensor]:
        """As ``mean``, of the first half of the images and of the other one.

        An image is in the half of its copies, and beside its neighbours, which may show its part.
        Of one image both are it.
        """
        own = len(self) // (1 + self.varied)
        found = self._means(compute, title, lambda part: (part % own >= own // 2).long())
        return found[0], found[-1]

    def _means(
        self, compute: Callable[[Tensor], Tensor], title: str, group: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """Of each group that ``group`` tells the indices of."""
        totals: dict[int, list[Any]] = {}
        with torch.no_grad():
            for part in self.chunks(title, size=8):
                found, groups = compute(self[part]), group(part)
                for each in sorted(set(groups.tolist())):
                    members = found[groups == each]
                    total = totals.setdefault(each, [0.0, 0])
                    total[0] = total[0] + members.sum(0, dtype=torch.float64).cpu()
                    total[1] += len(members)
        return [totals[each][0] / totals[each][1] for each in sorted(totals)]


@dataclass(frozen=True)
class Stage:
    """One optimisation: what is trained, for how long, on which loss.

    Args:
        n_images: how many images the indices choose from.
        steps: default length.
        share: its part of ``--minutes``.
        modules: what is trained; each weight takes part in the loss at every step.
        prepare: called once before the first step, and again after a resume.
        loss: (indices [B] int64, generator, share of the stage done in [0, 1)), of the CPU, to
            means over the images, so that several processes can divide a batch.
        optimiser: one of ``OPTIMISERS``; adamw has a cosine schedule after a short warm-up, sgd,
            of momentum 0.9, halves its rate after each tenth.
    """

    name: str
    n_images: int
    steps: int
    share: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    modules: tuple[nn.Module, ...]
    prepare: Callable[[], None]
    loss: Callable[[Tensor, torch.Generator, float], Losses]
    optimiser: str = "adamw"


class Method(nn.Module, ABC):
    """A graph image to feature pairs, and how it is learnt.

    ``forward`` takes [N, 3, H, W] float32, normalised with ``preprocess_params``, and returns K
    pairs (reference, reconstructed), each [N, C_k, H_k, W_k] float32. After ``.half()`` the
    networks compute in float16 and the method still takes and gives float32.
    """

    name: ClassVar[str]
    distance: ClassVar[str]  # one of edgead.anomaly_map.DISTANCES
    settings_type: ClassVar[type[MethodSettings]]
    normalisation: ClassVar[tuple[tuple[float, float, float], tuple[float, float, float]]]
    """(mean, std) per channel of the input."""
    presets: ClassVar[Mapping[str, dict[str, Any]]]
    """Settings under a name, as plain JSON: edge the defaults, paper the publication's sizes."""
    takes_textures: ClassVar[bool] = False
    takes_backbone: ClassVar[bool] = False
    config: Any  # of settings_type
    bit_depth: int | None = None
    """Of the uint16 frames that it learns from; None where nothing is declared."""
    found: str = ""
    """What ``conclude`` found out about the parts, for people."""

    @classmethod
    def read(cls, settings: dict[str, Any]) -> Any:
        """``settings_type`` from plain JSON. Raises: TrainingError."""
        return cls.settings_type.read(cls.name, settings)

    @classmethod
    def from_settings(cls, settings: dict[str, Any], n_train: int) -> Method:
        """The untrained method for a training set of ``n_train`` images."""
        return cls(cls.read(settings))

    def settings(self) -> dict[str, Any]:
        """The settings as plain JSON; ``from_settings`` takes them back."""
        return asdict(self.config)

    def preprocess_params(self) -> PreprocessParams:
        """How a frame becomes the graph's input."""
        mean, std = self.normalisation
        return PreprocessParams(self.config.size, mean, std, self.bit_depth)

    @abstractmethod
    def pairs(self) -> tuple[Pair, ...]:
        """Names, shapes and weights of the graph's feature pairs, in the order of ``forward``."""

    def tensors(self) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) of each output of the graph, in order."""
        return {n: (p.channels, *p.size) for p in self.pairs() for n in (p.reference, p.restored)}

    def graph(self, image: Tensor) -> list[Tensor]:
        """``tensors`` of images [N, 3, H, W]: what is exported."""
        return [tensor for pair in self(image) for tensor in pair]

    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of each pair of ``forward``."""
        return tuple((pair.channels, *pair.size) for pair in self.pairs())

    def map_params(self) -> MapParams:
        """How the pairs become the anomaly map and the score."""
        config = self.config
        return MapParams(
            size=config.size,
            distance=self.distance,
            weights=tuple(pair.weight for pair in self.pairs()),
            fusion="sum",
            blur_sigma=config.blur_sigma * config.size[0] / 256,
            pooling=config.pooling,
            top_k=config.top_k,
        )

    @abstractmethod
    def stages(self, data: TrainingSet) -> list[Stage]:
        """The optimisations to run, in order."""

    def stage(
        self, data: TrainingSet, module: nn.Module, loss: Callable[..., Losses], **parts: Any
    ) -> Stage:
        """The stage "restore", as the settings say, with other ``parts`` where they are given."""
        usual = {
            "name": "restore", "n_images": len(data), "steps": self.config.steps, "share": 1.0,
            "batch_size": self.config.batch_size, "learning_rate": self.config.learning_rate,
            "weight_decay": 1e-4,  # [P] as ViTAD
            "prepare": lambda: None,
        }  # fmt: skip
        return Stage(modules=(module,), loss=loss, **(usual | parts))

    def conclude(self, data: TrainingSet) -> None:
        """What is measured on the training images once all stages are done."""

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows of a picture for people, each like ``images`` [N, 3, H, W], normalised."""
        return [images]
