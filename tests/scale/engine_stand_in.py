"""In place of Triton's ONNX Runtime backend, which nvidia-pytriton lacks: OpenVINO in Python.

It runs the same graph under the same configuration, so pre- and post-processing, the ensemble and
its tensors are Triton's own; the engine is a stand-in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openvino as ov
import triton_python_backend_utils as triton


class TritonPythonModel:
    """One image after the other, on the CPU in float32, as a Detector computes it."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        config = json.loads(args["model_config"])
        graph = ov.Core().read_model(str(folder / "model.onnx"))
        self._input = config["input"][0]["name"]
        self._outputs = [output["name"] for output in config["output"]]
        graph.reshape([1, *config["input"][0]["dims"]])
        options = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
        options["PERFORMANCE_HINT"] = "LATENCY"
        self._compiled = ov.Core().compile_model(graph, "CPU", options)

    def execute(self, requests: list[Any]) -> list[Any]:
        answers = []
        for request in requests:
            image = triton.get_input_tensor_by_name(request, self._input).as_numpy()
            found = self._compiled({self._input: image})
            tensors = [triton.Tensor(name, found[name]) for name in self._outputs]
            answers.append(triton.InferenceResponse(tensors))
        return answers
