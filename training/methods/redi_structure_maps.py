"""The map H that ReDi makes of an image: what is kept of it when its appearance is thrown away.

Each kind is a module without learnt parameters: image [N, 3, H, W] float32 in [0, 1] to
[N, C, h, w] float32, in convolutions, poolings and pointwise arithmetic, which every engine has.
Source: ReDi (arXiv 2406.04608) compares four kinds of map; HOG is Dalal and Triggs, Histograms of
oriented gradients for human detection (2005).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("hog", "sobel", "canny", "gray")


def _gray(image: Tensor) -> Tensor:
    return image.mean(dim=1, keepdim=True)


class _Filter(nn.Module):
    """A fixed cross-correlation of a one-channel image, borders replicated."""

    kernel: Tensor

    def __init__(self, kernels: list[list[list[float]]]) -> None:
        super().__init__()
        weight = torch.tensor(kernels, dtype=torch.float32)[:, None]
        self.register_buffer("kernel", weight, persistent=False)

    def forward(self, gray: Tensor) -> Tensor:
        pad_y, pad_x = (size // 2 for size in self.kernel.shape[-2:])
        padded = F.pad(gray, (pad_x, pad_x, pad_y, pad_y), mode="replicate")
        return F.conv2d(padded, self.kernel.float())  # float32 also after .half()


class Hog(nn.Module):
    """Histogram of oriented gradients: [N, 3, H, W] to [N, bins, H / cell, W / cell].

    A gradient of angle t and magnitude m votes for the two bins nearest to 2t on the circle, so
    that its sign does not count: v_b = m max(0, cos(2t - 2t_b) - cos(2 pi / bins)) / s, s the mean
    over t of the sum of such over b, so that both votes together are m but for 25 %. Cells are
    averaged, then normalised: h / sqrt(mean h^2 of their 3x3 block + eps^2).

    The pixels of each 2x2 square are channels, and all but the cells is computed on a quarter of
    the grid: a tensor of 9 channels or 2 leaves most of a vector of 16 empty.
    """

    gradients: Tensor
    votes: Tensor
    means: Tensor

    def __init__(self, bins: int = 9, cell: int = 8, eps: float = 0.02) -> None:
        super().__init__()
        self.channels, self.cell, self.eps = bins, cell, eps
        squares = [(y, x) for y in (0, 1) for x in (0, 1)]
        gradients = torch.zeros(8, 1, 4, 4)  # gx, then gy, of the four pixels of a square
        for k, (y, x) in enumerate(squares):  # a border of one pixel is before it
            gradients[k, 0, y + 1, x], gradients[k, 0, y + 1, x + 2] = -0.5, 0.5
            gradients[4 + k, 0, y, x + 1], gradients[4 + k, 0, y + 2, x + 1] = -0.5, 0.5
        angles = torch.arange(bins) * (2 * math.pi / bins)  # 2 t_b: the double angle
        least = torch.full((bins,), math.cos(2 * math.pi / bins))
        # Of m cos 2t, m sin 2t and m, each of the four pixels, for each bin.
        votes = torch.kron(torch.stack([angles.cos(), angles.sin(), -least], 1), torch.eye(4))
        apart = 2 * math.pi / bins
        usual = 2 * (math.sin(apart) / apart - math.cos(apart))  # s
        means = torch.kron(torch.eye(bins), torch.full((1, 4), 0.25 / usual))
        for name, weight in (
            ("votes", votes[:, :, None, None]),
            ("means", means[:, :, None, None]),
        ):
            self.register_buffer(name, weight, persistent=False)
        self.register_buffer("gradients", gradients, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        padded = F.pad(_gray(image), (1, 1, 1, 1), mode="replicate")
        gx, gy = F.conv2d(padded, self.gradients.float(), stride=2).split(4, dim=1)
        magnitude = torch.sqrt(gx * gx + gy * gy + 1e-8)
        double = [(gx * gx - gy * gy) / magnitude, 2 * gx * gy / magnitude, magnitude]
        votes = F.relu(F.conv2d(torch.cat(double, dim=1), self.votes.float()))
        cells = F.conv2d(F.avg_pool2d(votes, self.cell // 2), self.means.float())
        energy = (cells * cells).sum(dim=1, keepdim=True)
        block = F.avg_pool2d(energy, 3, stride=1, padding=1, count_include_pad=False)
        return cells / torch.sqrt(block + self.eps**2)


class Sobel(nn.Module):
    """Gradient magnitude by the Sobel operator: [N, 3, H, W] to [N, 1, H, W], in [0, 1]."""

    channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.gradient = _Filter(
            [[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]]
        )

    def forward(self, image: Tensor) -> Tensor:
        gradient = self.gradient(_gray(image)) / 4
        return torch.sqrt((gradient * gradient).sum(dim=1, keepdim=True) + 1e-8)


class SoftCanny(nn.Module):
    """Soft edges: [N, 3, H, W] to [N, 1, H, W], in [0, 1]. No hysteresis: it does not export.

    Gaussian blur (sigma 1.4), Sobel magnitude, thinning to the largest of 3x3 neighbours,
    threshold.
    """

    channels = 1

    def __init__(self, threshold: float = 0.08, softness: float = 0.02) -> None:
        super().__init__()
        taps = torch.exp(-(torch.arange(-3, 4, dtype=torch.float32) ** 2) / (2 * 1.4**2))
        kernel = torch.outer(taps, taps)
        self.blur = _Filter([(kernel / kernel.sum()).tolist()])
        self.sobel = Sobel()
        self.threshold, self.softness = threshold, softness

    def forward(self, image: Tensor) -> Tensor:
        edges = self.sobel(self.blur(_gray(image)))
        thin = torch.sigmoid((edges - F.max_pool2d(edges, 3, 1, 1)) / self.softness + 2)
        return thin * torch.sigmoid((edges - self.threshold) / self.softness)


class Gray(nn.Module):
    """The grey image itself: [N, 3, H, W] to [N, 1, H, W]. Hides colour alone."""

    channels = 1

    def forward(self, image: Tensor) -> Tensor:
        return _gray(image)


def make_map(kind: str) -> nn.Module:
    """The module of a kind of ``KINDS``."""
    return {"hog": Hog, "sobel": Sobel, "canny": SoftCanny, "gray": Gray}[kind]()


def with_foreign_patches(maps: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """H [N, C, h, w] in which some images bear rectangles of another image's H, out of place.

    So the recover network learns to trust the prompt where H shows what does not belong there [P].
    ``share`` of the images get up to three rectangles, 5 to 30 % of a side.
    """
    count, _, height, width = maps.shape
    draw = torch.rand(count, 3, 6, generator=generator).tolist()
    out = maps.clone()
    for row in range(count):
        chosen, source, *_ = draw[row][0]
        if chosen >= share:
            continue
        other = maps[int(source * count)]
        for _, _, top, left, tall, wide in draw[row][: 1 + int(3 * draw[row][1][0])]:
            high, broad = (
                max(1, round((0.05 + 0.25 * x) * n)) for x, n in ((tall, height), (wide, width))
            )
            y, x = int(top * (height - high + 1)), int(left * (width - broad + 1))
            v, u = height - high - y, width - broad - x  # from the point opposite: out of place
            out[row, :, y : y + high, x : x + broad] = other[:, v : v + high, u : u + broad]
    return out


def with_foreign_edges(maps: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """H [N, C, h, w] in which some images bear edges that do not belong there, as a defect has.

    So the network learns not to recover what H shows there [P]. ``share`` of the images get one to
    three rectangles, up to a quarter of a side, or lines, 1/32 of a side broad: of the H of any
    image at another place, its orientations turned and its strength times up to 2, or of a single
    orientation.
    """
    count, bins, height, width = maps.shape
    draws = torch.rand(count, 3, 12, generator=generator).tolist()
    out = maps.clone()
    for row, shapes in enumerate(draws):
        if shapes[0][0] >= share:
            continue
        for draw in shapes[: 1 + int(3 * shapes[0][1])]:
            _, _, is_line, tall, wide, top, left, source, turn, strength, kind, single = draw
            if is_line < 0.5:
                sides = 1 / 32 + 7 / 32 * tall, 1 / 32 + 7 / 32 * wide
            else:
                long = 2 / 32 + 11 / 32 * tall
                sides = (1 / 32, long) if wide < 0.5 else (long, 1 / 32)
            high, broad = max(1, round(sides[0] * height)), max(1, round(sides[1] * width))
            y, x = int(top * (height - high + 1)), int(left * (width - broad + 1))
            v, u = int(left * (height - high + 1)), int(top * (width - broad + 1))
            other = maps[int(source * count), :, v : v + high, u : u + broad]
            edges = other.roll(int(turn * bins), 0) * (2 * strength if kind < 0.5 else 1)
            if kind > 0.7:
                edges = torch.zeros_like(other)
                edges[int(single * bins)] = 2.5 * strength
            out[row, :, y : y + high, x : x + broad] = edges
    return out
