"""ReDi's networks: of features from H and a prompt's; of images, with two blocks of recovery."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..features.networks import Residual, conv_norm_relu, unfold, upsample

Size = tuple[int, int]


def onto(x: Tensor, size: Size) -> Tensor:
    """x [N, C, h, w] on a grid of ``size``: averaged where it is finer by a whole factor, else
    bilinear, half-pixel."""
    steps = [int(h) // whole for h, whole in zip(x.shape[-2:], size, strict=True)]
    if all(int(h) == n * s for h, n, s in zip(x.shape[-2:], steps, size, strict=True)):
        return x if steps == [1, 1] else F.avg_pool2d(x, steps)
    # Scales instead of a size: the graph computes no shapes then. A little more, for it floors.
    scales = [
        s / int(h) + (1e-4 if s % int(h) else 0) for h, s in zip(x.shape[-2:], size, strict=True)
    ]
    return F.interpolate(x, scale_factor=scales, mode="bilinear", align_corners=False)


class FeatureNet(nn.Module):
    """F_Y of every level of a backbone, from H and the features F_P of a prompt. [P]

    It works on two grids: that of the first level whose stride is at least 8, and one of twice that
    stride. ``gather`` brings the levels of a prompt there; those that are finer than the grids come
    out folded in its channels.

    Args:
        map_channels, map_stride: of H; one of stride 1 is first brought to stride 8.
        channels, strides, sizes: of the levels.
        width: channels on the finer grid, the coarser one has twice as many.
    """

    def __init__(
        self, map_channels: int, map_stride: int, channels: Sequence[int], strides: Sequence[int],
        sizes: Sequence[Size], width: int,
    ) -> None:  # fmt: skip
        super().__init__()
        at = next((k for k, stride in enumerate(strides) if stride >= 8), len(strides) - 1)
        (height, across), stride = sizes[at], strides[at]
        self.sizes = tuple(sizes)
        self.grids: tuple[Size, Size] = (sizes[at], (-(-height // 2), -(-across // 2)))
        self.grid_of = [int(each >= 2 * stride) for each in strides]  # 0: the finer one
        self.factors = [max(1, stride // each) for each in strides]
        counts = [0, 0]
        for count, grid in zip(channels, self.grid_of, strict=True):
            counts[grid] += count
        self.shapes = [(n, *grid) for n, grid in zip(counts, self.grids, strict=True) if n]
        reads_pixels = map_stride == 1
        self.stem = nn.Conv2d(map_channels, 16, 8, 8) if reads_pixels else nn.Identity()
        self.enter = conv_norm_relu(counts[0] + (16 if reads_pixels else map_channels), width)
        self.down = conv_norm_relu(width, 2 * width, 3, 2)
        self.join = conv_norm_relu(2 * width + counts[1], 2 * width, 1)
        self.middle = Residual(2 * width)
        self.back = conv_norm_relu(2 * width, width, 1)
        self.merge = conv_norm_relu(2 * width, width)
        parts = zip(channels, self.factors, self.grid_of, strict=True)
        self.heads = nn.ModuleList(
            nn.Conv2d((1 + grid) * width, count * factor**2, 1) for count, factor, grid in parts
        )

    def gather(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """F_P as ``forward`` takes it, of ``shapes``: the levels joined on their grids."""
        joined = []
        for grid, size in enumerate(self.grids):
            own = [onto(x, size) for x, at in zip(levels, self.grid_of, strict=True) if at == grid]
            joined += [torch.cat(own, dim=1)] if own else []
        return joined

    def forward(self, structure_map: Tensor, prompt: list[Tensor]) -> list[Tensor]:
        """F_Y from H and what ``gather`` made of F_P, each level [N, C, h, w]."""
        fine = self.enter(torch.cat([prompt[0], onto(self.stem(structure_map), self.grids[0])], 1))
        coarse = self.middle(self.join(torch.cat([self.down(fine), *prompt[1:]], dim=1)))
        fine = self.merge(torch.cat([onto(self.back(coarse), self.grids[0]), fine], dim=1))
        found = []
        for head, size, factor, grid in zip(
            self.heads, self.sizes, self.factors, self.grid_of, strict=True
        ):
            level = head((fine, coarse)[grid])
            found.append(onto(unfold(level, factor), size))
        return found


class RecoverNet(nn.Module):
    """U-Net on the prompt, with the map joined where its resolution belongs. [F; widths: P]

    prompt [N, 3, H, W] normalised, map [N, C, H/s, W/s] -> recovered [N, 3, H, W] in [0, 1].
    """

    def __init__(self, map_channels: int, map_stride: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.map_stride = map_stride
        at_input = map_channels if map_stride == 1 else 0
        at_8 = map_channels if map_stride == 8 else 0
        self.enc2 = conv_norm_relu(3 + at_input, a, 3, 2)  # one convolution: this grid costs most
        self.enc4 = nn.Sequential(conv_norm_relu(a, b, 3, 2), conv_norm_relu(b, b))
        self.enc8 = conv_norm_relu(b, c, 3, 2)
        self.join8 = nn.Sequential(conv_norm_relu(c + at_8, c), conv_norm_relu(c, c))
        self.enc16 = nn.Sequential(conv_norm_relu(c, d, 3, 2), Residual(d))
        self.dec8 = nn.Sequential(conv_norm_relu(d + c, c), conv_norm_relu(c, c))
        self.dec4 = nn.Sequential(conv_norm_relu(c + b, b), conv_norm_relu(b, b))
        self.dec2 = conv_norm_relu(b + a, a)
        self.out = nn.Conv2d(a, 3, 3, padding=1)

    def forward(self, prompt: Tensor, structure_map: Tensor) -> Tensor:
        x = torch.cat([prompt, structure_map], dim=1) if self.map_stride == 1 else prompt
        e2 = self.enc2(x)
        e4 = self.enc4(e2)
        e8 = self.enc8(e4)
        e8 = self.join8(torch.cat([e8, structure_map], dim=1) if self.map_stride == 8 else e8)
        e16 = self.enc16(e8)
        d8 = self.dec8(torch.cat([upsample(e16), e8], dim=1))
        d4 = self.dec4(torch.cat([upsample(d8), e4], dim=1))
        d2 = self.dec2(torch.cat([upsample(d4), e2], dim=1))
        return torch.sigmoid(upsample(self.out(d2)))


class HeavyBlock(nn.Module):
    """Feature recovery: fuse the scales, squeeze them through a bottleneck, decode in reverse. [P]

    Features at strides 4, 8, 16 to features of the same shapes.
    """

    def __init__(self, channels: tuple[int, ...], width: int = 192) -> None:
        super().__init__()
        c4, c8, c16 = channels
        self.from4 = nn.Sequential(conv_norm_relu(c4, c8, 3, 2), conv_norm_relu(c8, c16, 3, 2))
        self.from8 = conv_norm_relu(c8, c16, 3, 2)
        self.fuse = conv_norm_relu(3 * c16, c16, 1)
        self.bottleneck = nn.Sequential(conv_norm_relu(c16, width, 3, 2), Residual(width))
        self.to16 = nn.Sequential(conv_norm_relu(width, c16), Residual(c16))
        self.to8 = nn.Sequential(conv_norm_relu(c16, 2 * c8), Residual(2 * c8))
        self.to4 = nn.Sequential(conv_norm_relu(2 * c8, 2 * c4), Residual(2 * c4))
        sizes = ((2 * c4, c4), (2 * c8, c8), (c16, c16))
        self.heads = nn.ModuleList(nn.Conv2d(*size, 1) for size in sizes)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        f4, f8, f16 = features
        fused = self.fuse(torch.cat([self.from4(f4), self.from8(f8), f16], dim=1))
        d16 = self.to16(upsample(self.bottleneck(fused)))
        d8 = self.to8(upsample(d16))
        d4 = self.to4(upsample(d8))
        return [head(x) for head, x in zip(self.heads, (d4, d8, d16), strict=True)]


class LightBlock(nn.Module):
    """Feature recovery of each scale alone: 1x1, residual 3x3, 1x1; to be added to the features.

    The last layer starts at zero, so training starts from F_Y = what Y shows. [P]
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(conv_norm_relu(c, 2 * c, 1), Residual(2 * c), nn.Conv2d(2 * c, c, 1))
            for c in channels
        )
        for scale in self.scales:
            nn.init.zeros_(scale[-1].weight)
            nn.init.zeros_(scale[-1].bias)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [scale(x) for scale, x in zip(self.scales, features, strict=True)]
