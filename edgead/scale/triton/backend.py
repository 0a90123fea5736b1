"""What the Python backend of Triton runs. Only Triton imports this: it brings its own module.

Source: github.com/triton-inference-server/python_backend, README, for the methods of a model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, open_bundle
from edgead.detector import Detector
from edgead.errors import EdgeadError, InputError
from edgead.files import in_words
from edgead.preprocess import Preprocessor
from edgead.scale.triton.after import After
from edgead.scale.triton.tensors import frames_of, outputs_of

SIZE = "FRAME_SIZE"
"""(height, width) of the frame, which the last model of an ensemble needs for regions."""


class _Model:
    """A model that answers each request by itself; an error is the answer of its request alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle that lies beside ``model.py``."""
        self._triton = import_module("triton_python_backend_utils")
        config = json.loads(args["model_config"])
        told = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._settings: dict[str, Any] = json.loads(told["edgead"])
        self._device = args["model_instance_device_id"]
        self._on_gpu = args["model_instance_kind"] == "GPU"
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            self._open(open_bundle(folder / self._settings.pop("bundle")))
        except EdgeadError as error:  # its sentence alone, in the server's log and index
            raise self._triton.TritonModelException(str(error)) from error

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer what the dynamic batcher has put together."""
        return [self._answered(request) for request in requests]

    def _answered(self, request: Any) -> Any:
        tensor, response = self._triton.Tensor, self._triton.InferenceResponse
        try:
            given = {one.name(): one.as_numpy() for one in request.inputs()}
            found = self._run(given, list(request.requested_output_names()))
            return response([tensor(name, values) for name, values in found.items()])
        except Exception as error:  # of any kind: the other requests of the batch have answers
            kind = self._triton.TritonError
            code = kind.INVALID_ARG if isinstance(error, InputError) else kind.INTERNAL
            return response(error=kind(in_words(error), code))

    def _open(self, bundle: Bundle) -> None:
        raise NotImplementedError

    def _run(self, given: dict[str, NDArray[Any]], asked: list[str]) -> dict[str, NDArray[Any]]:
        raise NotImplementedError


class Whole(_Model):
    """A Detector: everything in one model, on any device that edgead knows."""

    def _open(self, bundle: Bundle) -> None:
        settings = dict(self._settings)
        if self._on_gpu:  # Triton has dealt the GPUs out
            settings["device"] = f"cuda:{self._device}"
        # A GPU that fails ends a process of its own, and the next frame starts it again.
        settings["isolate"] = settings["device"] != "cpu"
        self._detector = Detector(bundle, **settings)

    def _run(self, given: dict[str, NDArray[Any]], asked: list[str]) -> dict[str, NDArray[Any]]:
        frames = frames_of(given, self._detector.bit_depth)
        return outputs_of([self._detector.score(frame) for frame in frames], asked)

    def finalize(self) -> None:
        """Let go of the device."""
        self._detector.close()


class Before(_Model):
    """Of an ensemble: from frames to images, as the engine takes them."""

    def _open(self, bundle: Bundle) -> None:
        manifest = bundle.manifest.declared(self._settings["bit_depth"])
        self._name, size = manifest.input_name, manifest.preprocess.size
        self._size = size
        self._bit_depth = manifest.preprocess.bit_depth
        self._preprocess = Preprocessor(manifest.preprocess, self._settings["color"])

    def _run(self, given: dict[str, NDArray[Any]], asked: list[str]) -> dict[str, NDArray[Any]]:
        frames = frames_of(given, self._bit_depth)
        images = np.empty((len(frames), 3, *self._size), np.float32)
        for frame, image in zip(frames, images, strict=True):
            self._preprocess.run(frame, image)
        sizes = np.array([frame.shape[:2] for frame in frames], np.int32)
        return {self._name: images, SIZE: sizes}


class Behind(_Model):
    """Of an ensemble: from features to verdicts."""

    def _open(self, bundle: Bundle) -> None:
        self._after = After(bundle, **self._settings)

    def _run(self, given: dict[str, NDArray[Any]], asked: list[str]) -> dict[str, NDArray[Any]]:
        sizes = given.pop(SIZE)
        results = [
            self._after.judged({name: values[n : n + 1] for name, values in given.items()}, size)
            for n, size in enumerate(sizes.tolist())
        ]
        return outputs_of(results, asked)
