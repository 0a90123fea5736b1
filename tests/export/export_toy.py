"""A method small enough to export in a second, with the operators that the real ones need."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from edgead_export import CalibrationFrame
from edgead_training.methods.base import Method
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.anomaly_map import MapParams
from edgead.bundle.entries import Pair
from edgead.preprocess import PreprocessParams

SIZE = (64, 96)  # (height, width), not square
CHANNELS = (8, 16)
GRIDS = ((32, 48), (16, 24))


class ToyMethod(Method):
    """Features of the image against those of a blurred image joined with a prompt from a bank."""

    name = "toy"

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, 8, 3, 2, 1)
            self.deep = nn.Conv2d(8, 16, 3, 2, 1)
            self.norm = nn.BatchNorm2d(16)
            self.recover = nn.Sequential(
                nn.Conv2d(7, 8, 3, 1, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 3, 3, 1, 1)
            )
            self.register_buffer("bank", torch.randn(5, 3, *SIZE))
            self.register_buffer("keys", F.normalize(torch.randn(5, 16), dim=1))
        sobel = torch.tensor([[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]]])
        self.register_buffer("sobel", sobel)
        self.eval()

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.relu6(self.stem(x))
        return first, F.relu6(self.norm(self.deep(first)))

    def prompt(self, deepest: Tensor) -> Tensor:
        return self.bank[self.choice(deepest)]

    def choice(self, deepest: Tensor) -> Tensor:
        """Index of the most similar prompt, [N] int64."""
        mean = deepest.float().mean((2, 3))  # float32: near ties would flip
        query = F.normalize(mean - mean.mean(1, keepdim=True), dim=1)
        return (query @ self.keys.float().T).argmax(1)

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        x = image.to(self.stem.weight.dtype)
        reference = self.features(x)
        gray = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        edges = F.conv2d(gray, self.sobel)
        inputs = torch.cat([F.avg_pool2d(x, 5, 1, 2), edges, self.prompt(reference[1])], dim=1)
        small = self.recover(F.avg_pool2d(inputs, 2))
        grown = F.interpolate(small, size=SIZE, mode="bilinear", align_corners=False)
        reconstructed = self.features(F.avg_pool2d(x, 3, 1, 1) + torch.tanh(grown) * 0.2)
        return [(a.float(), b.float()) for a, b in zip(reference, reconstructed, strict=True)]

    def pairs(self) -> tuple[Pair, ...]:
        return tuple(
            Pair(f"reference_{k}", f"restored_{k}", c, grid, 1.0)
            for k, (c, grid) in enumerate(zip(CHANNELS, GRIDS, strict=True))
        )

    def preprocess_params(self) -> PreprocessParams:
        return PreprocessParams(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), self.bit_depth)

    def map_params(self) -> MapParams:
        return MapParams(size=SIZE, distance="cosine", weights=(1.0, 1.0), blur_sigma=3.0)

    @classmethod
    def from_settings(cls, settings: dict[str, Any], n_train: int) -> ToyMethod:
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        return {}

    def stages(self, data: Any) -> list[Any]:
        return []


def frame(index: int) -> np.ndarray:
    """A striped part, uint8 BGR, every one another size and phase."""
    rng = np.random.default_rng(index)
    height, width = 70 + index % 5, 100 + index % 7
    y, x = np.mgrid[:height, :width]
    stripes = 128 + 40 * np.sin(x / (4 + index % 3) + rng.uniform(0, 6)) + 20 * np.cos(y / 9)
    image = stripes[..., None] + rng.normal(0, 4 + index % 4, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def frames(count: int) -> list[CalibrationFrame]:
    """``count`` calibration frames; the same ones every time."""
    return [CalibrationFrame(f"good/{i}.png", lambda i=i: frame(i)) for i in range(count)]
