"""What every method offers: a graph from an image to feature pairs, and its training stages."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from edgead.anomaly_map import POOLINGS, MapParams
from edgead.bundle.entries import Pair
from edgead.errors import TrainingError
from edgead.preprocess import PreprocessParams

CPU = torch.device("cpu")
UNIT_RANGE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and std that leave [0, 1] as it is
LEAST_RATE = 1e-9  # of learning: with less, nothing is learnt
_CHUNK = 8
Settings = TypeVar("Settings")
Loss = Callable[[Tensor, torch.Generator, float], dict[str, Tensor]]
Progress = Callable[[Iterable[Any], str], Iterator[Any]]
"""Wraps an iterable with a progress bar that bears the given title."""


@dataclass(frozen=True)
class TrainingSet:
    """The good images that a method learns from, preprocessed as the runtime does it.

    images: [N, 3, H, W] float32, normalised, in the memory of the CPU; progress: the bar for long
    preparations; device: where the method is trained; textures: [M, 3, H, W] like ``images``, of
    other things, for a method that ``takes_textures``; none where the user gave none.
    """

    images: Tensor
    progress: Progress
    device: torch.device = CPU
    textures: Tensor = field(default_factory=lambda: torch.empty(0))

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The images of ``indices`` on the device."""
        return self.images[indices].to(self.device)

    def __len__(self) -> int:
        return self.images.shape[0]

    def mean(self, measure: Callable[[Tensor], Tensor], title: str) -> Tensor:
        """The mean over all images of measure(images [N, 3, H, W]), [N, ...]: [...] float64."""
        total: Any = 0.0
        with torch.no_grad():
            for part in self.progress(torch.arange(len(self)).split(_CHUNK), title):
                total = total + measure(self[part]).sum(0, dtype=torch.float64).cpu()
        return total / len(self)


@dataclass(frozen=True)
class Stage:
    """One optimisation: what is trained, for how long, on which loss.

    steps: default length; share: its part of ``--minutes``; prepare: called once before the first
    step, and again after a resume; n_images: how many images the indices choose from; loss:
    (indices [B] int64, generator, share of the stage done in [0, 1)) to named losses, the optimised
    one being their sum. Each is a mean over the images, so that several processes can divide a
    batch, and each weight of ``modules`` takes part in it at every step. Indices and generator are
    the CPU's.
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
    loss: Loss


def check_types(settings: Any) -> None:
    """Hold every value of a settings dataclass against the type of its default.

    Errors: TrainingError that names the setting, what was given and an example of what is expected.
    """
    for each in fields(settings):
        value, example = getattr(settings, each.name), each.default
        if not _alike(value, example):
            expected = json.dumps(example)
            raise TrainingError(
                f"{each.name}={value!r} cannot be used; expected a value like "
                f"{each.name}={expected}"
            )


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        same_length = isinstance(value, tuple) and len(value) == len(example)
        return same_length and all(_alike(a, b) for a, b in zip(value, example, strict=True))
    if isinstance(example, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(example)


def check_words(settings: Any, **known: tuple[str, ...]) -> None:
    """Hold settings against the words that each may be. Errors: TrainingError with the words."""
    for name, words in known.items():
        value = getattr(settings, name)
        if value not in words:
            raise TrainingError(f"{name}={value!r} is not known; choose one of: {', '.join(words)}")


def check_least(settings: Any, least: dict[str, float]) -> None:
    """Hold settings, or each of several numbers, against their least value.

    Errors: TrainingError for what is less or not finite.
    """
    for name, bound in least.items():
        values = np.atleast_1d(getattr(settings, name))
        if not np.all(np.isfinite(values) & (values >= bound)):
            kind = "" if np.all(np.isfinite(values)) else "a finite number, "
            raise TrainingError(f"{name}={getattr(settings, name)} must be {kind}at least {bound}")


def check_map(settings: Any, multiple: int) -> None:
    """Check the settings that every method has: size, pooling, top_k, blur_sigma.

    Sides must be multiples of ``multiple``. Errors: TrainingError.
    """
    check_words(settings, pooling=POOLINGS)
    if any(side < 64 or side % multiple for side in settings.size):
        raise TrainingError(
            f"size={settings.size} cannot be used: height and width must be multiples of "
            f"{multiple}, at least 64"
        )
    if not 0 < settings.top_k <= 1:
        raise TrainingError(
            f"top_k={settings.top_k} is not a share of the map; give 0 < top_k <= 1"
        )
    check_least(settings, {"blur_sigma": 0})


def read_settings(kind: type[Settings], method: str, values: dict[str, Any]) -> Settings:
    """The settings dataclass ``kind`` of ``method`` from plain JSON; lists become tuples.

    Errors: TrainingError for a setting that the method does not have, and those of ``kind``.
    """
    known = sorted(each.name for each in fields(kind))
    for key in values:
        if key not in known:
            raise TrainingError(f"{method} has no setting {key!r}; it knows {known}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class Method(nn.Module, ABC):
    """A graph image to feature pairs, and how it is learnt.

    ``forward`` takes [N, 3, H, W] float32, normalised with ``preprocess_params``, and returns K
    pairs (reference, restored), each [N, C_k, H_k, W_k] float32. After ``.half()`` the trunk
    computes in float16 and the method still takes and gives float32.

    ``config``: the method's settings dataclass, with size, blur_sigma (pixels of a map 256 high),
    pooling, top_k and batch_size among them. ``distance``: one of ``edgead.anomaly_map.DISTANCES``.
    ``settings_type`` is its class. ``normalisation``: (mean, std) per channel of the input.
    ``presets``: settings under a name, as plain JSON; ``edge`` is the defaults, ``paper`` the sizes
    of the publication.
    """

    name: ClassVar[str]
    distance: ClassVar[str]
    settings_type: ClassVar[type]
    normalisation: ClassVar[tuple[tuple[float, float, float], tuple[float, float, float]]]
    presets: ClassVar[Mapping[str, dict[str, Any]]]
    takes_textures: ClassVar[bool] = False
    config: Any

    @classmethod
    def read(cls, settings: dict[str, Any]) -> Any:
        """``settings_type`` from plain JSON. Errors: those of ``read_settings``."""
        return read_settings(cls.settings_type, cls.name, settings)

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
        return PreprocessParams(size=self.config.size, mean=mean, std=std)

    @abstractmethod
    def pairs(self) -> tuple[Pair, ...]:
        """Names, shapes and weights of the feature pairs, in the order of ``forward``."""

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

    def one_stage(self, data: TrainingSet, module: nn.Module, loss: Loss, **parts: Any) -> Stage:
        """The stage "restore" of a method that has no other, as its settings say.

        parts: what else of ``Stage`` is not to be as usual.
        """
        config = self.config
        usual = {
            "steps": config.steps,
            "share": 1.0,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "weight_decay": 1e-4,  # [P] as ViTAD
            "prepare": lambda: None,
        }
        return Stage("restore", len(data), modules=(module,), loss=loss, **(usual | parts))

    def conclude(self, data: TrainingSet) -> None:
        """What is measured on the training images once all stages are done."""

    def preview(self, images: Tensor) -> list[Tensor]:
        """Rows of a picture for people: what the method makes of images [N, 3, H, W].

        Each row is like ``images``, normalised; the first is usually ``images`` itself.
        """
        return [images]
