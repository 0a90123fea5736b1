"""ReDi's networks: the recover network, and two forms of the feature-recovery block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..features.networks import Residual, conv_norm_relu, upsample


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
