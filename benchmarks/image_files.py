"""What share of damaged image files is refused, and what reading costs beside OpenCV.

    python benchmarks/image_files.py [--damages 100] [--seed 3]

Prints the two tables of docs/notes/images.md.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import quantiles

import cv2
import numpy as np

from edgead.errors import InputError
from edgead.images import decode_image

FORMATS: dict[str, tuple[str, list[int]]] = {
    "PNG": (".png", []),
    "JPEG": (".jpg", []),
    "JPEG, restart markers": (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 8]),
    "JPEG, progressive": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "WebP, lossy": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "WebP, lossless": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "TIFF, deflate": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
    "TIFF, LZW": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
    "TIFF, PackBits": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 32773]),
    "TIFF": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
    "BMP": (".bmp", []),
    "PPM": (".ppm", []),
}
KINDS = ("truncated", "cut out", "zeros", "noise", "moved", "a byte", "a bit")
RUNS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=100, help="of each kind and format")
    parser.add_argument("--seed", type=int, default=3, help="of pictures and damages")
    args = parser.parse_args()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    rng = np.random.default_rng(args.seed)
    print("| | " + " | ".join(KINDS) + " |")
    print("|---" * (1 + len(KINDS)) + "|")
    small = picture(rng, (160, 200))
    for name, (suffix, options) in FORMATS.items():
        data = cv2.imencode(suffix, small, options)[1].tobytes()
        found = judge(data, rng, args.damages)
        share = (f"{found[k, 'refused']:.0f} / {found[k, 'wrong']:.0f}" for k in KINDS)
        print(f"| {name} | " + " | ".join(share) + " |")
    print("\n| | OpenCV, ms | edgead, ms | ratio |\n|---|---|---|---|")
    large = picture(rng, (512, 512))
    for name, (suffix, options) in FORMATS.items():
        print(f"| {name} | " + cost(cv2.imencode(suffix, large, options)[1].tobytes()) + " |")


def picture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Soft texture of full contrast, and noise as cameras have it."""
    soft = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), np.uint8), (0, 0), 2).astype(float)
    soft = 255 * (soft - soft.min()) / np.ptp(soft)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


def damaged(data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """One damage of each kind; pieces are 16 bytes to a quarter of the file."""
    n = len(data)
    start = int(rng.integers(n // 20, n - n // 10))
    end = min(start + int(rng.integers(16, n // 4)), n - 20)
    length = end - start
    earlier = data[max(0, start - length) : start].ljust(length, b"\0")[:length]
    yield "truncated", data[: int(rng.integers(1, n))]
    yield "cut out", data[:start] + data[end:]
    yield "zeros", data[:start] + bytes(length) + data[end:]
    yield "noise", data[:start] + rng.bytes(length) + data[end:]
    yield "moved", data[:start] + earlier + data[end:]
    for kind, change in (("a byte", int(rng.integers(1, 256))), ("a bit", 1 << rng.integers(8))):
        place = int(rng.integers(n))
        yield kind, data[:place] + bytes([data[place] ^ int(change)]) + data[place + 1 :]


def judge(data: bytes, rng: np.random.Generator, damages: int) -> Counter[tuple[str, str]]:
    """Percent of each kind that is refused, and that is accepted with other pixels."""
    whole, found = decode_image(data, "whole"), Counter[tuple[str, str]]()
    for _ in range(damages):
        for kind, bad in damaged(data, rng):
            try:
                frame = decode_image(bad, "damaged")
                found[kind, "wrong"] += not np.array_equal(frame, whole)
            except InputError:
                found[kind, "refused"] += 1
    return Counter({key: 100 * count // damages for key, count in found.items()})


def cost(data: bytes) -> str:
    """Lower quartiles, in turns, and their ratio."""
    stored = np.frombuffer(data, np.uint8)
    pairs = [
        (
            elapsed_ms(lambda: cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)),
            elapsed_ms(lambda: decode_image(data, "x")),
        )
        for _ in range(RUNS)
    ]
    first, second = (quantiles(times, n=4)[0] for times in zip(*pairs, strict=True))
    return f"{first:.2f} | {second:.2f} | {second / first:.2f}"


def elapsed_ms(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
