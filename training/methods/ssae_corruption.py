"""The corruption that SSAE learns to undo: blobs and strokes with foreign or distorted content.

Every random draw comes from the generator of the step, so that a resumed run sees the same images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TEXTURES = ("perlin", "stripes", "cut_paste")  # [P] procedural sources
NO_IMAGES = torch.empty(0)
SHAPES = 3  # [P] at most, per image
_SAMPLES = 16  # points of a curve per corner


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """One number in [low, high)."""
    return low + (high - low) * float(torch.rand(1, generator=generator))


def whole_number(generator: torch.Generator, end: int) -> int:
    """One of 0, 1, ..., end - 1."""
    return int(torch.randint(end, (1,), generator=generator))


def smooth_curve(corners: Tensor, closed: bool) -> Tensor:
    """Cubic Bezier segments through corners [K, 2], without kinks: [points, 2].

    The inner control points are those of a Catmull-Rom spline, a sixth of the way between the
    neighbours of a corner. The first point is a corner, and so is the last of an open curve.
    """
    before, after = corners.roll(1, 0), corners.roll(-1, 0)
    if not closed:
        before[0], after[-1] = corners[0], corners[-1]
    tangent = (after - before) / 6
    ends, end_tangent = corners.roll(-1, 0), tangent.roll(-1, 0)
    t = (torch.arange(_SAMPLES) / _SAMPLES)[None, :, None]
    p0, p1 = corners[:, None], (corners + tangent)[:, None]
    p2, p3 = (ends - end_tangent)[:, None], ends[:, None]
    s = 1 - t
    points = s**3 * p0 + 3 * s**2 * t * p1 + 3 * s * t**2 * p2 + t**3 * p3
    if closed:
        return points.flatten(0, 1)
    return torch.cat([points[:-1].flatten(0, 1), corners[-1:]])


def _placed(
    curve: Tensor, side: float, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """The curve [points, 2] (y, x) at a larger extent of ``side`` pixels, inside ``size``."""
    low, high = curve.amin(0), curve.amax(0)
    curve = (curve - low) * (side / float((high - low).max()))
    room = (torch.tensor(size) - 1 - curve.amax(0)).clamp_min(0)
    return curve + torch.rand(2, generator=generator) * room


def _pixels(curve: Tensor) -> np.ndarray:
    return curve.flip(1).round().to(torch.int32).numpy()  # OpenCV counts (x, y)


def blob(size: tuple[int, int], side: float, generator: torch.Generator) -> Tensor:
    """A closed smooth shape, ``side`` pixels in its larger extent: mask [H, W], 0 or 1 float32."""
    count = 4 + whole_number(generator, 5)
    place = torch.arange(count) + 0.8 * torch.rand(count, generator=generator)
    turn = 2 * math.pi * place / count
    radius = 0.4 + 0.6 * torch.rand(count, generator=generator)
    corners = torch.stack([radius * turn.sin(), radius * turn.cos()], dim=1)
    curve = _placed(smooth_curve(corners, closed=True), side, size, generator)
    return torch.from_numpy(cv2.fillPoly(np.zeros(size, np.float32), [_pixels(curve)], 1.0))


def stroke(size: tuple[int, int], side: float, generator: torch.Generator) -> Tensor:
    """A thin smooth line, ``side`` pixels in its larger extent: mask [H, W], 0 or 1 float32."""
    curve = smooth_curve(torch.rand(4, 2, generator=generator), closed=False)
    curve = _placed(curve, side, size, generator)
    canvas, thickness = np.zeros(size, np.float32), 1 + whole_number(generator, 3)
    return torch.from_numpy(cv2.polylines(canvas, [_pixels(curve)], False, 1.0, thickness))


def elastic(image: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """The image [3, H, W] pulled about by a smooth field whose std is ``reach`` of a side."""
    height, width = image.shape[-2:]
    coarse = torch.randn(1, 2, 8, 8, generator=generator) * 2 * reach  # a side is 2 in grid_sample
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    still = F.affine_grid(torch.eye(2, 3)[None], [1, 1, height, width], align_corners=False)
    grid = still + field.permute(0, 2, 3, 1)
    return F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False)[0]


def perlin(size: tuple[int, int], cells: int, generator: torch.Generator) -> Tensor:
    """Gradient noise on ``cells`` x ``cells`` cells: [H, W] in [0, 1], 0.5 at every corner.

    Source: Perlin, Improving noise (2002), in two dimensions with unit gradients.
    """
    angle = 2 * math.pi * torch.rand(cells + 1, cells + 1, generator=generator)
    places = [(torch.arange(side) + 0.5) / side * cells for side in size]
    (y, x), (row, column) = places, [place.long() for place in places]
    y, x = (y - row)[:, None], (x - column)[None]

    def towards(down: int, right: int) -> Tensor:
        """The gradient of a corner times the way from it."""
        at = angle[row + down][:, column + right]
        return at.sin() * (y - down) + at.cos() * (x - right)

    fade_y, fade_x = (t**3 * (6 * t**2 - 15 * t + 10) for t in (y, x))
    top = torch.lerp(towards(0, 0), towards(0, 1), fade_x.expand(size))
    bottom = torch.lerp(towards(1, 0), towards(1, 1), fade_x.expand(size))
    return 0.5 + torch.lerp(top, bottom, fade_y.expand(size)) / math.sqrt(2)


def stripes(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Parallel stripes of any direction, 4 to 40 pixels apart: [H, W] in [0, 1]."""
    turn, period = uniform(generator, 0, math.pi), uniform(generator, 4, 40)
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    phase = (y * math.sin(turn) + x * math.cos(turn)) * (2 * math.pi / period)
    return 0.5 + 0.5 * torch.sin(phase + uniform(generator, 0, 2 * math.pi))


def texture(others: Tensor, generator: torch.Generator) -> Tensor:
    """Foreign content [3, H, W] in [0, 1]; ``others`` [M, 3, H, W] is what cut-paste takes from."""
    size = (others.shape[2], others.shape[3])
    kind = TEXTURES[whole_number(generator, len(TEXTURES))]
    if kind == "cut_paste":
        image = others[whole_number(generator, len(others))]
        shift = [int(uniform(generator, 0.2, 0.8) * side) for side in size]
        return image.roll(shift, dims=(1, 2))
    if kind == "perlin":
        pattern = perlin(size, 2 ** (2 + whole_number(generator, 4)), generator)
    else:
        pattern = stripes(size, generator)
    first, second = torch.rand(2, 3, 1, 1, generator=generator)
    return first + (second - first) * pattern


def cut(picture: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A piece [3, *size] of a picture [3, H, W], at any place."""
    rooms = (picture.shape[1] - size[0], picture.shape[2] - size[1])
    y, x = (whole_number(generator, room + 1) for room in rooms)
    return picture[:, y : y + size[0], x : x + size[1]]


@dataclass(frozen=True)
class Corruption:
    """Shares of images and shapes, and ranges; as in ``SSAESettings``."""

    clean: float
    strokes: float
    elastic: float
    extent: tuple[float, float]
    opacity: tuple[float, float]


def corrupt(
    images: Tensor, kind: Corruption, generator: torch.Generator, textures: Tensor = NO_IMAGES
) -> tuple[Tensor, Tensor]:
    """Images [N, 3, H, W] in [0, 1] with local corruption, and where it is: mask [N, 1, H, W].

    All but a share of the images get one to three shapes, each with its own content and opacity.
    Textures are cut from ``textures`` [M, 3, >= H, >= W] if there are any, else made up.
    """
    size = (images.shape[2], images.shape[3])
    corrupted, mask = images.clone(), images.new_zeros(len(images), 1, *size)
    low, high = kind.extent
    for row in range(len(images)):
        if uniform(generator, 0, 1) < kind.clean:
            continue
        for _ in range(1 + whole_number(generator, SHAPES)):
            thin = uniform(generator, 0, 1) < kind.strokes
            side = uniform(generator, low, high) * min(size)
            shape = (stroke if thin else blob)(size, side, generator)
            pulled = uniform(generator, 0, 1) < kind.elastic
            if pulled:
                content = elastic(corrupted[row], uniform(generator, 0.01, 0.05), generator)
            elif len(textures):
                content = cut(textures[whole_number(generator, len(textures))], size, generator)
            else:
                content = texture(images, generator)
            opacity = 1.0 if pulled else uniform(generator, *kind.opacity)
            corrupted[row] = torch.lerp(corrupted[row], content, opacity * shape)
            mask[row, 0] = torch.maximum(mask[row, 0], shape)
    return corrupted, mask
