"""The cases of preprocess: frames of cameras beside OpenCV and NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from turns import Case

from edgead import _cpu, reference
from edgead.preprocess import DTYPES, LAYOUTS, Preprocessor, PreprocessParams

SIZE = (256, 256)
FRAMES = {"512x512x3 uint8": (512, 512, 3), "1920x1080x3 uint8": (1080, 1920, 3)}


def cases() -> Iterator[Case]:
    """Each frame, dtype and layout of the image, path and peer."""
    cv2.setNumThreads(1)
    params = PreprocessParams(SIZE)
    for name, shape in FRAMES.items():
        frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for dtype in DTYPES:
            for layout in LAYOUTS:
                workload = f"{name} -> {dtype} {layout}"
                expected = reference.preprocess(frame, params, dtype=dtype, layout=layout)
                peers = {
                    "cv2.resize INTER_AREA alone": partial(_resize, frame),
                    "cv2.resize + NumPy normalise + transpose": partial(
                        _without_kernel, frame, params, dtype, layout
                    ),
                }
                for path in _cpu.simd_paths():
                    kernel = Preprocessor(params, dtype=dtype, layout=layout, simd=path)
                    out = np.empty(expected.shape, dtype)
                    error = float(np.abs(kernel.run(frame, out) - expected).max())
                    run = partial(kernel.run, frame, out)
                    for peer, work in peers.items():
                        yield Case("preprocess", workload, path, error, run, peer, work)


def _resize(frame: Any) -> Any:
    return cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_AREA)


def _without_kernel(frame: Any, params: PreprocessParams, dtype: str, layout: str) -> Any:
    mean, std = np.float32(params.mean), np.float32(params.std)
    image = _resize(frame)[:, :, ::-1].astype(np.float32) / np.float32(255)
    image = ((image - mean) / std).astype(dtype, copy=False)
    return image if layout == "NHWC" else np.ascontiguousarray(image.transpose(2, 0, 1))
