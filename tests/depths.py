"""Frames and bundles of another bit depth; a plugin of the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def frame_at(frame: np.ndarray, bits: int) -> np.ndarray:
    """A frame of 8 bits as a camera of more bits would give it in uint16."""
    return np.rint(frame / 255 * ((1 << bits) - 1)).astype(np.uint16)


@pytest.fixture(scope="session")
def at() -> Callable[[np.ndarray, int], np.ndarray]:
    """``frame_at(frame, bits)``."""
    return frame_at


@pytest.fixture(scope="session")
def of_depth(
    tiny: Any, make_frame: Callable[..., np.ndarray], to_npy: Callable[[np.ndarray], bytes]
) -> Callable[[Path, int], Any]:
    """``of_depth(path, bits)``: the tiny bundle as if learnt from images of that bit depth."""
    from edgead.bundle.entries import Golden
    from edgead.bundle.storage import write_bundle
    from edgead.images import decode_image, encode_png

    def write(path: Path, bits: int) -> Any:
        manifest = tiny.manifest.declared(bits)
        truth = type(tiny.truth)(tiny.files["model.onnx"], manifest)
        files, golden = {"model.onnx": tiny.files["model.onnx"]}, []
        for one in tiny.manifest.golden:
            frame = decode_image(tiny.files[one.image], one.image)
            if frame.dtype == np.uint16:
                frame = frame_at(make_frame(902, (128, 96, 3)), bits)
            found, score = truth(frame)
            files |= {one.image: encode_png(frame), one.map: to_npy(found.astype(np.float32))}
            golden.append(Golden(one.image, one.map, score))
        return write_bundle(path, replace(manifest, golden=tuple(golden)), files)

    return write
