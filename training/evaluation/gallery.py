"""The most telling test images, kept as thumbnails while a test set is scored.

Memory stays bounded whatever the size of the test set: per outcome and label only the most telling
`limit` images are held, as compressed thumbnails, and only those are ever drawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.images import encode_jpeg, encode_png
from edgead.result import Result

from .scored_image import ScoredImage

THUMBNAIL = 320  # pixels of the longer side; sharp at 224 CSS pixels and when enlarged
JPEG_QUALITY = 82
MISTAKES = ("missed", "rejected")
OUTCOMES = (*MISTAKES, "caught", "passed")


@dataclass(frozen=True)
class Picture:
    """Three thumbnails of one image: frame and overlay as JPEG, mask as PNG or None."""

    image: ScoredImage
    frame: bytes
    overlay: bytes
    mask: bytes | None
    size: tuple[int, int]  # (height, width) of the thumbnails


class Gallery:
    """Offer every image; `selection` gives at most `limit` of them, mistakes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heaps: dict[tuple[str, str], list[tuple[float, int, Picture]]] = {}
        self._offered = 0

    def offer(
        self,
        image: ScoredImage,
        frame: NDArray[Any],
        result: Result,
        mask: NDArray[np.bool_] | None,
    ) -> None:
        """Keep the image if it is among the most telling of its outcome and label.

        Args:
            frame: [H, W] or [H, W, 3] BGR, uint8 or uint16
            result: the detector's, of this frame
            mask: [H, W] bool, or None
        """
        if not self._limit:
            return
        # A defect tells more the lower it scores, a good part the higher.
        telling = image.score if image.is_good else -image.score
        heap = self._heaps.setdefault((image.outcome, image.label), [])
        if len(heap) >= self._limit and telling <= heap[0][0]:
            return
        self._offered += 1
        heapq.heappush(heap, (telling, -self._offered, draw(image, frame, result, mask)))
        if len(heap) > self._limit:
            heapq.heappop(heap)

    def selection(self) -> tuple[Picture, ...]:
        """Missed defects (lowest score first), false rejects (highest first), then what went right.

        A third of the places is kept for images judged rightly, closest call first, drawn from all
        labels in turn, so that a bad detector's report still shows what it does catch.
        """
        right_keys = sorted(key for key in self._heaps if key[0] not in MISTAKES)
        right = in_turn([self._ranked(*key) for key in right_keys])
        wrong = in_turn([self._ranked(outcome) for outcome in MISTAKES])
        kept = wrong[: max(self._limit - len(right), self._limit - self._limit // 3)]
        kept += right[: self._limit - len(kept)]
        kept.sort(key=lambda item: (OUTCOMES.index(item[2].image.outcome), -item[0], -item[1]))
        return tuple(picture for _, _, picture in kept)

    def _ranked(self, outcome: str, label: str | None = None) -> list[tuple[float, int, Picture]]:
        heaps = (
            heap
            for (of, name), heap in self._heaps.items()
            if of == outcome and label in (None, name)
        )
        return sorted((item for heap in heaps for item in heap), key=lambda i: i[:2], reverse=True)


def in_turn(queues: Sequence[list[Any]]) -> list[Any]:
    """The first of each queue, then the second of each, …"""
    return [item for row in zip_longest(*queues) for item in row if item is not None]


def thumbnails(frame: NDArray[Any], result: Result) -> tuple[bytes, bytes]:
    """A frame and its overlay, small, as JPEG.

    Args:
        frame: [H, W] or [H, W, 3] BGR, uint8 or uint16
        result: of this frame
    """
    height, width = thumbnail_size(frame)
    if frame.dtype != np.uint8:  # for the eye only: from the darkest to the brightest value
        frame = cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    small = cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_AREA)
    overlay = replace(result, frame=small).overlay()
    return encode_jpeg(small, JPEG_QUALITY), encode_jpeg(overlay, JPEG_QUALITY)


def thumbnail_size(frame: NDArray[Any]) -> tuple[int, int]:
    """(height, width) of the thumbnails of a frame."""
    height, width = frame.shape[:2]
    shrink = min(1.0, THUMBNAIL / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def draw(
    image: ScoredImage, frame: NDArray[Any], result: Result, mask: NDArray[np.bool_] | None
) -> Picture:
    """The thumbnails of one image.

    Args:
        image: its verdict
        frame: [H, W] or [H, W, 3] BGR, uint8 or uint16
        result: the detector's, of this frame
        mask: [H, W] bool, or None
    """
    size, small_mask = thumbnail_size(frame), None
    if mask is not None:
        # Any defect pixel keeps its thumbnail pixel white: small defects must stay visible.
        rows, columns = np.nonzero(mask)
        covered = np.zeros(size, np.uint8)
        covered[rows * size[0] // mask.shape[0], columns * size[1] // mask.shape[1]] = 255
        small_mask = encode_png(covered, "picture")
    small, overlay = thumbnails(frame, result)
    return Picture(image=image, frame=small, overlay=overlay, mask=small_mask, size=size)
