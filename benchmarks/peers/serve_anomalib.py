"""anomalib's OpenVINO inferencer: MODEL.xml THREADS (0: the engine's choice)."""

from __future__ import annotations

import sys
from typing import Any

from protocol import Predict, serve

SIDE = 256


def load() -> tuple[Predict, Any]:
    """The inferencer on an RGB array, brought to the graph's size by OpenCV.

    The graph would resize by itself, without antialiasing, which costs more time and moves scores.
    """
    import cv2
    from anomalib.deploy import OpenVINOInferencer

    path, threads = sys.argv[1], int(sys.argv[2])
    config = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    inferencer = OpenVINOInferencer(path, device="CPU", config=config)

    def predict(frame: Any) -> float:
        small = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return float(inferencer.predict(small).pred_score.item())

    return predict, (lambda frame: frame[:, :, ::-1].copy())


if __name__ == "__main__":
    serve(load)
