"""Pictures of parts that look alike and of parts with a scratch; a small backbone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

LABEL = 25  # levels darker


def part(seed: int, size: tuple[int, int] = (80, 96)) -> np.ndarray:
    """A disc amid dark background, each of another grain, shade and place."""
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 3, (*size, 3))
    centre = (int(48 + rng.integers(-3, 4)), int(40 + rng.integers(-3, 4)))
    disc = np.zeros(size, np.uint8)
    cv2.circle(disc, centre, 25, 1, -1)
    grain = cv2.GaussianBlur(rng.normal(0, 25, (*size, 3)), (0, 0), 1.5)
    image[disc == 1] = (150 + rng.normal(0, 2) + grain)[disc == 1]
    return np.clip(image, 0, 255).astype(np.uint8)


def scratched(seed: int) -> np.ndarray:
    image = part(seed)
    cv2.line(image, (38, 30), (60, 52), (250, 250, 250), 3)
    return image


def with_label(seed: int) -> np.ndarray:
    """A good part of another kind: the disc has a darker label, somewhere on it."""
    image, rng = part(seed), np.random.default_rng(10_000 + seed)
    x, y = (int(n) for n in rng.integers((40, 32), (48, 40)))
    label = image[y : y + 10, x : x + 14]
    label[:] = np.clip(label.astype(np.float64) - LABEL, 0, 255)
    return image


def write_small_backbone(path: Path) -> None:
    """Random convolutions of strides 4 and 8: 6 and 8 channels."""
    import torch
    from edgead_export.backbone import Described, write_module
    from torch import Tensor, nn

    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.a, self.b = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 8, 2, 2)

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            first = torch.relu(self.a(image))
            return first, torch.relu(self.b(first))

    described = Described("small", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "none", "a test")
    write_module(Levels(), 2, path, described)


def write_separable_backbone(path: Path) -> None:
    """A stem and two pairs of depthwise and pointwise convolutions, as in EfficientNet-Lite."""
    import torch
    from edgead_export.backbone import Described, write_module
    from torch import Tensor, nn

    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(5)
            self.stem = nn.Conv2d(3, 16, 4, 4)
            self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
            self.expand = nn.Conv2d(16, 48, 1)
            self.deep_depthwise = nn.Conv2d(48, 48, 3, 2, 1, groups=48)
            self.project = nn.Conv2d(48, 24, 1)
            for layer in self.children():
                nn.init.kaiming_normal_(layer.weight)  # values keep their size through the layers

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            first = torch.relu(
                self.expand(torch.relu(self.depthwise(torch.relu(self.stem(image)))))
            )
            return first, self.project(torch.relu(self.deep_depthwise(first)))

    described = Described("separable", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "none", "a test")
    write_module(Levels(), 2, path, described)


def varied(seed: int) -> np.ndarray:
    """A part in the light of its own: scores of good parts lie further apart than roundings."""
    light = np.random.default_rng(1000 + seed).uniform(0.5, 1.5, 3)
    return np.clip(part(seed) * light, 0, 255).astype(np.uint8)
