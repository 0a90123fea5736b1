"""AGPNet's decoder, a small plain ViT, and the copy of it that follows in training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_INITIAL_STD = 0.02  # [P] as ViT


class TokenNorm(nn.LayerNorm):
    """LayerNorm in float32 whatever the backbone computes in: squares overflow half."""

    def forward(self, x: Tensor) -> Tensor:
        wide = F.layer_norm(
            x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
        )
        return wide.to(x.dtype)


class TransformerBlock(nn.Module):
    """Pre-LN block: tokens [N, T, D] to the same, and its attention [N, heads, T, T]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = TokenNorm(width), TokenNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens, width = (int(side) for side in x.shape[1:])
        size = width // self.heads
        parts = self.qkv(x).reshape(-1, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        logits = (q * size**-0.5) @ k.transpose(-2, -1)
        attention = torch.softmax(logits.float(), dim=-1).to(x.dtype)
        return (attention @ v).transpose(1, 2).reshape(-1, tokens, width), attention

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        read, attention = self.attend(self.norm1(x))
        x = x + self.proj(read)
        return x + self.mlp(self.norm2(x)), attention


class Decoder(nn.Module):
    """Plain ViT with a learnt position embedding, final LN and linear. [F; blocks and sizes: P]

    Features [N, C, h, w] to features of the same shape, float32.
    """

    def __init__(
        self, channels: int, grid: tuple[int, int], width: int, heads: int, blocks: int
    ) -> None:
        super().__init__()
        self.channels, self.grid = channels, grid
        self.embed = nn.Linear(channels, width)
        self.place = nn.Parameter(torch.zeros(1, grid[0] * grid[1], width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(blocks))
        self.norm = TokenNorm(width)
        self.head = nn.Linear(width, channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_STD)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.place, std=_INITIAL_STD)

    def run(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(reconstructed features, attention [N, heads, T, T] of every block)."""
        x = features.to(self.head.weight.dtype).flatten(2).transpose(1, 2)
        x, attentions = self.attend(self.embed(x))
        tokens = self.head(self.norm(x)).transpose(1, 2)
        return tokens.reshape(-1, self.channels, *self.grid).float(), attentions

    def attend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Embedded tokens [N, T, D] through the blocks, and the attention of each."""
        x, attentions = x + self.place, []
        for block in self.blocks:
            x, attention = block(x)
            attentions.append(attention)
        return x, attentions

    def forward(self, features: Tensor) -> Tensor:
        return self.run(features)[0]

    def reconstruct(self, levels: list[Tensor]) -> Tensor:
        """As ``forward`` of the levels folded side by side, for an inference: [N, C, h, w].

        A linear layer on folded squares of a level is a convolution of that stride, so nothing has
        to be folded; and the last layer is one of 1x1, of tokens on their grid.

        levels: [N, C_l, f h, f w], whose C_l f^2 add up to C.
        """
        dtype, height = self.head.weight.dtype, self.grid[0]
        factors = [int(x.shape[2]) // height for x in levels]
        folded = [int(x.shape[1]) * f**2 for x, f in zip(levels, factors, strict=True)]
        weights = self.embed.weight.split(folded, dim=1)
        parts = [
            F.conv2d(x.to(dtype), weight.unflatten(1, (-1, f, f)), stride=f)
            for x, f, weight in zip(levels, factors, weights, strict=True)
        ]
        embedded = sum(parts[1:], parts[0]).flatten(2).transpose(1, 2) + self.embed.bias
        x = self.norm(self.attend(embedded)[0]).transpose(1, 2).unflatten(2, self.grid)
        return F.conv2d(x, self.head.weight[:, :, None, None], self.head.bias).float()

    @torch.no_grad()
    def attention_mask(self, features: Tensor) -> Tensor:
        """A_learn [N, 1, h, w]: the attention that a position gets, mean over queries, heads and
        blocks. [F: self-attention; the mean: P]"""
        got = torch.stack([a.mean((1, 2)) for a in self.run(features)[1]]).mean(0)
        return got.unflatten(1, (1, *self.grid))


class Teacher(nn.Module):
    """The decoder's exponential moving average, whose attention says where to put noise. [F]

    It is part of the checkpoint and not of the trained model. ``updates`` counts the steps: early
    in a training the average reaches back a tenth of it, later 1 / (1 - eta) steps [P].
    """

    updates: Tensor

    def __init__(self, decoder: Decoder, eta: float) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder).requires_grad_(False)
        self.eta = eta
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, decoder: Decoder) -> None:
        """theta_ema = eta theta_ema + (1 - eta) theta."""
        count = int(self.updates)
        eta = min(self.eta, (1 + count) / (10 + count))
        for mine, theirs in zip(self.decoder.parameters(), decoder.parameters(), strict=True):
            mine.lerp_(theirs, 1 - eta)
        self.updates += 1
