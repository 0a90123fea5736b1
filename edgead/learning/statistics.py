"""What is usual at each place: means and covariances of features, that few images cannot spoil.

Source: Defard et al., PaDiM (arXiv 2011.08785), for a Gaussian at each place. Here the covariance
is that of a square of positions, and both are drawn towards those of the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LEAST_VARIANCE = np.float32(1e-5)  # added to that over the channels, as by the kernel
PRIOR_IMAGES = 20  # our choice: the whole image's mean and covariance count as so many images
FLOOR = 0.01  # our choice: of the mean variance, added to every channel's


@dataclass(frozen=True)
class Moments:
    """Sums over images: of features [C, H, W], and of their products [regions, C, C], float64."""

    images: int
    total: F64
    products: F64
    side: int

    @staticmethod
    def of(features: F32, side: int) -> Moments:
        """The moments of some images.

        Args:
            features: [N, C, H, W].
            side: of regions, in positions.
        """
        count, channels, height, width = features.shape
        products = np.empty((len(blocks((height, width), side)), channels, channels))
        for region, (rows, columns) in enumerate(blocks((height, width), side)):
            block = features[:, :, rows, columns].transpose(1, 0, 2, 3).reshape(channels, -1)
            products[region] = block @ block.T
        return Moments(count, features.sum(axis=0, dtype=np.float64), products, side)

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.images + other.images,
            self.total + other.total,
            self.products + other.products,
            self.side,
        )


def fit(moments: Moments, places: bool = True) -> tuple[F32, F32]:
    """The mean of each place, and the factor of each region.

    Args:
        moments: of good parts, at least one image.
        places: False: one mean and one covariance for all places.

    Returns:
        mean [C, H, W]; factors [regions, C, C], upper triangular, ``factor.T @ factor`` the inverse
        of the region's covariance around the mean.
    """
    images, side = moments.images, moments.side
    channels, height, width = moments.total.shape
    own = moments.total / images
    whole = own.mean(axis=(1, 2), keepdims=True)
    mean = _drawn(own, whole, images) if places else np.broadcast_to(whole, own.shape)
    regions = blocks((height, width), side)
    covariances, sizes = np.empty_like(moments.products), np.empty(len(regions))
    for region, (rows, columns) in enumerate(regions):
        at, bias = (x[:, rows, columns].reshape(channels, -1) for x in (own, mean))
        around = moments.products[region] / images - at @ bias.T - bias @ at.T + bias @ bias.T
        sizes[region] = at.shape[1]
        covariances[region] = around / at.shape[1]
    joint = np.average(covariances, axis=0, weights=sizes)
    scale = 1 / (np.sqrt(_variances(moments)) + 1e-6)  # shrunk alike in every channel
    joint = joint * np.outer(scale, scale)
    floored = joint + (FLOOR * np.trace(joint) / channels + 1e-6) * np.eye(channels)
    if places:
        shrunk = _drawn(covariances * np.outer(scale, scale), floored, images)
    else:
        shrunk = np.broadcast_to(_drawn(joint, floored, images), covariances.shape)
    factors = np.stack([_upper_root(each) for each in shrunk]) * scale
    return mean.astype(np.float32), factors.astype(np.float32)


def added_to(
    mean: F32, factors: F32, images: int, moments: Moments, weight: float
) -> tuple[F32, F32]:
    """Mean and factors with more images: those of the mixture of what was learnt and what is new.

    Args:
        mean: [C, H, W], of ``fit``.
        factors: [regions, C, C], of ``fit``.
        images: that they were learnt from; the prior counts besides.
        moments: of the differences from ``mean`` of at least one more image.
        weight: how many images each of these counts as.

    Returns:
        mean [C, H, W]; factors [regions, C, C], upper triangular.
    """
    channels, height, width = mean.shape
    before, fresh = images + PRIOR_IMAGES, weight * moments.images
    share = fresh / (before + fresh)
    shift = share * moments.total / moments.images
    found = np.empty(factors.shape)
    for region, (rows, columns) in enumerate(blocks((height, width), moments.side)):
        by = shift[:, rows, columns].reshape(channels, -1)
        positions = by.shape[1]
        root = np.linalg.inv(factors[region].astype(np.float64))
        new = moments.products[region] / (moments.images * positions)
        covariance = (1 - share) * (root @ root.T) + share * new - by @ by.T / positions
        found[region] = _upper_root(covariance)
    return (mean + shift).astype(np.float32), found.astype(np.float32)


def blocks(size: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """The squares of ``side`` positions of a map of ``size`` (height, width), row by row.

    The last of a row or a column may be smaller.

    Args:
        size: (height, width) in positions.
        side: of a square in positions.
    """
    rows, columns = ([slice(at, at + side) for at in range(0, n, side)] for n in size)
    return [(row, column) for row in rows for column in columns]


def channel_normal(values: F32) -> F32:
    """Each position's channels brought to mean 0 and variance 1, as the kernel whiten does it.

    Args:
        values: [N, C, H, W].

    Returns:
        A new array; a position whose channels are all one is 0.
    """
    values = values - values.mean(axis=1, keepdims=True)
    values /= np.sqrt(np.square(values).mean(axis=1, keepdims=True) + LEAST_VARIANCE)
    return values


def log_likelihood(distances: F32, factors: F32, channels: int) -> float:
    """Mean over positions and channels, in nats, up to a constant.

    Args:
        distances: mean squares of whitened features, of any shape.
        factors: [regions, channels, channels] they were whitened with, of regions of one size.
        channels: of the features.
    """
    diagonal = np.abs(np.diagonal(factors.astype(np.float64), axis1=1, axis2=2))
    return float(np.log(diagonal).sum(axis=1).mean() / channels - 0.5 * np.mean(distances))


def _drawn(own: F64, whole: F64, images: int) -> F64:
    return np.asarray((images * own + PRIOR_IMAGES * whole) / (images + PRIOR_IMAGES))


def _variances(moments: Moments) -> F64:
    """Of each channel over all places and images, [C]."""
    _, height, width = moments.total.shape
    count = moments.images * height * width
    squares = np.einsum("rcc->c", moments.products) / count
    return np.asarray(np.maximum(squares - np.square(moments.total.sum(axis=(1, 2)) / count), 0))


def _upper_root(covariance: F64) -> F64:
    """Upper triangular U with U.T @ U the inverse of ``covariance``."""
    lower = np.linalg.cholesky(covariance[::-1, ::-1])
    return np.triu(np.linalg.inv(lower)[::-1, ::-1])
