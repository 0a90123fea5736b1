"""Score images with an edgead model of Triton, by the Open Inference Protocol over gRPC.

pip install "tritonclient[grpc]"; then python triton_client.py HOST:PORT NAME IMAGE…
With --file the server decodes the image; with --shared-memory, on the server's own machine, the
frame is not sent but lies where both can read it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import shared_memory


def main() -> None:
    """Print a line of JSON for each image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", metavar="HOST:PORT", help="of the gRPC service, as localhost:8001")
    parser.add_argument("name", help="of the model")
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    parser.add_argument("--file", action="store_true", help="send the file as it is")
    parser.add_argument("--shared-memory", action="store_true", help="on the server's own machine")
    args = parser.parse_args()
    client = triton.InferenceServerClient(args.url)
    for path in args.images:
        given = file_input(path) if args.file else frame_input(read(path))
        if args.shared_memory:
            verdict = ask_in_shared_memory(client, args.name, read(path))
        else:
            verdict = ask(client, args.name, given)
        print(json.dumps({"path": str(path), **verdict}))


def read(path: Path) -> np.ndarray:
    """[H, W, C], uint8 or uint16, channels as OpenCV gives them: blue, green, red."""
    frame = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if frame is None:
        raise SystemExit(f"{path} is not an image")
    return np.atleast_3d(frame)


def frame_input(frame: np.ndarray) -> Any:
    """The input of one frame: the first axis counts the frames of the request."""
    name = "FRAME" if frame.dtype == np.uint8 else "FRAME16"
    given = triton.InferInput(name, [1, *frame.shape], frame.dtype.name.upper())
    given.set_data_from_numpy(frame[None])
    return given


def file_input(path: Path) -> Any:
    """The input of one image file."""
    given = triton.InferInput("FILE", [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[path.read_bytes()]], np.object_))
    return given


def ask(client: Any, model: str, given: Any) -> dict[str, Any]:
    """The verdict: score, p_value, is_anomalous, threshold, regions. MAP is there too."""
    asked = [triton.InferRequestedOutput("VERDICT")]
    answer = client.infer(model, [given], outputs=asked)
    return dict(json.loads(answer.as_numpy("VERDICT").reshape(-1)[0]))


def ask_in_shared_memory(client: Any, model: str, frame: np.ndarray) -> dict[str, Any]:
    """As ``ask``; a camera loop makes the memory once and writes each frame into it."""
    region = shared_memory.create_shared_memory_region("frame", "/edgead_frame", frame.nbytes)
    try:
        client.register_system_shared_memory("frame", "/edgead_frame", frame.nbytes)
        shared_memory.set_shared_memory_region(region, [frame])
        name = "FRAME" if frame.dtype == np.uint8 else "FRAME16"
        given = triton.InferInput(name, [1, *frame.shape], frame.dtype.name.upper())
        given.set_shared_memory("frame", frame.nbytes)
        return ask(client, model, given)
    finally:
        client.unregister_system_shared_memory("frame")
        shared_memory.destroy_shared_memory_region(region)


if __name__ == "__main__":
    main()
