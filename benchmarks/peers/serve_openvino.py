"""OpenVINO alone, the floor: MODEL THREADS (0: the engine's choice) HEIGHT WIDTH.

The graph on an image that is there already, in float32: no preprocessing, no map, no score.
"""

from __future__ import annotations

import sys
from typing import Any

from protocol import Predict, serve


def load() -> tuple[Predict, Any]:
    """The compiled graph, as edgead compiles it, with a batch of one."""
    import cv2
    import numpy as np
    import openvino as ov

    path, threads, *size = sys.argv[1], *map(int, sys.argv[2:])
    core = ov.Core()
    model = core.read_model(path)
    model.reshape([1, 3, *size])
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(model, "CPU", config).create_infer_request()
    image = ov.Tensor(ov.Type.f32, ov.Shape([1, 3, *size]))
    request.set_input_tensor(image)

    def prepare(frame: Any) -> None:
        small = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        image.data[0] = (np.transpose(small, (2, 0, 1)).astype(np.float32) - 127) / 128

    def predict(_: None) -> None:
        request.infer(share_outputs=True)

    return predict, prepare


if __name__ == "__main__":
    serve(load)
