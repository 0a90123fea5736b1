"""PNG files as C reads them: the frame that Python reads, or a refusal where Python changes it."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgead import Detector, read_image
from edgead.images import encode_png


def by_pillow(mode: str, **options: Any) -> bytes:
    """Noise in a mode of Pillow; of few colours where the mode has few."""
    rng = np.random.default_rng(len(mode))
    samples = rng.integers(0, 256, (33, 45, 4), dtype=np.uint8)
    image = Image.fromarray(samples, "RGBA").convert("RGB" if mode in ("P", "1") else "RGBA")
    image = image.quantize(7) if mode == "P" else image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def by_opencv(shape: tuple[int, ...]) -> bytes:
    import cv2

    rng = np.random.default_rng(1)
    return cv2.imencode(".png", rng.integers(0, 65536, shape, dtype=np.uint16))[1].tobytes()


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A 16-bit PNG with one more chunk after its header."""
    data = by_opencv((33, 45, 3))
    block = kind + content
    piece = struct.pack(">I", len(content)) + block + struct.pack(">I", zlib.crc32(block))
    return data[:33] + piece + data[33:]


def turned(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return with_chunk(b"eXIf", b"II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0\0\0\0")


SAME: dict[str, Callable[[], bytes]] = {
    "grey": lambda: by_pillow("L"),
    "one bit": lambda: by_pillow("1"),
    "a palette": lambda: by_pillow("P"),
    "a palette with transparency": lambda: by_pillow("P", transparency=1),
    "alpha": lambda: by_pillow("RGBA"),
    "grey with alpha": lambda: by_pillow("LA"),
    "a transparent colour": lambda: by_pillow("RGB", transparency=(1, 2, 3)),
    "16 bits": lambda: by_opencv((33, 45)),
    "16 bits of colour": lambda: by_opencv((33, 45, 3)),
    "16 bits and alpha": lambda: by_opencv((33, 45, 4)),
    "a gamma": lambda: with_chunk(b"gAMA", struct.pack(">I", 100000)),
    "upright": lambda: turned(1),
    "all bits": lambda: with_chunk(b"sBIT", b"\x10\x10\x10"),
}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "on its side": (lambda: turned(6), "EXIF orientation 6"),
    "upside down": (lambda: turned(3), "EXIF orientation 3"),
    "12 bits": (lambda: with_chunk(b"sBIT", b"\x0c\x0c\x0c"), "12 significant bits"),
    "a wrong checksum": (lambda: with_chunk(b"gAMA", b"\0\0\0\1")[:48] + b"????", "damaged"),
    "empty": (lambda: b"", "is an empty file"),
    "a header alone": (lambda: encode_png(np.zeros((3, 3), np.uint8))[:33], "its end is missing"),
    "a picture of another kind": (lambda: b"\xff\xd8\xff\xe0" * 9, "expected PNG"),
}


@pytest.fixture(scope="module")
def scored(
    installed: Path, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What edgead-score says of each, in one run."""
    folder = tmp_path_factory.mktemp("png")
    every = {**SAME, **{kind: make for kind, (make, _) in REFUSED.items()}}
    for kind, make in every.items():
        (folder / f"{kind}.png").write_bytes(make())
    images = [str(folder / f"{kind}.png") for kind in every]
    command = [installed / "edgead-score", bundle_dir, *images, "--json", "--threads", "1"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    return dict(zip(every, json.loads(done.stdout)["frames"], strict=True))


@pytest.fixture(scope="module")
def detector(bundle_dir: Path) -> Detector:
    return Detector(bundle_dir, device="cpu", threads=1)


@pytest.mark.parametrize("kind", SAME)
def test_the_frame_is_pythons(
    scored: dict[str, dict[str, Any]], detector: Detector, kind: str
) -> None:
    expected = detector.score(read_image(scored[kind]["path"]))
    assert scored[kind].get("score") == expected.score, scored[kind]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read(scored: dict[str, dict[str, Any]], kind: str) -> None:
    assert REFUSED[kind][1] in scored[kind]["error"]
