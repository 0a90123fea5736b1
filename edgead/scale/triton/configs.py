"""The text of ``config.pbtxt`` for each model of a repository.

Source: github.com/triton-inference-server/server, its page on model configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgead.scale.triton.tensors import Tensor

MARK = "# written by edgead serve-repository"
BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}
"""Form of an ensemble -> the backend of Triton that runs its engine."""
FILES = {"onnx": "model.onnx", "openvino": "model.xml", "tensorrt": "model.plan"}

Shapes = Mapping[str, tuple[int, ...]]
"""Name -> dims, without the batch, of float32 tensors."""


def python_config(
    name: str,
    settings: Mapping[str, Any],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    batch: int,
    instances: int,
    on_gpu: bool = False,
    optional: bool = False,
) -> str:
    """Of a model that ``model.py`` runs.

    Args:
        name: of the model.
        settings: JSON that ``backend`` reads.
        inputs, outputs: of the model.
        batch: most frames that the dynamic batcher puts together.
        instances: processes; on GPUs of each.
        on_gpu: Triton deals the GPUs out.
        optional: a request gives one of the inputs.
    """
    more = "optional: true " if optional else ""
    kind = "KIND_GPU" if on_gpu else "KIND_CPU"
    told = json.dumps(json.dumps(settings))  # a string of JSON, quoted as protobuf's text is
    return "\n".join(
        [
            *_head(name, 'backend: "python"', batch),
            *_tensors("input", inputs, f"allow_ragged_batch: true {more}"),
            *_tensors("output", outputs),
            f"instance_group [{{ count: {instances} kind: {kind} }}]",
            f'parameters {{ key: "edgead" value: {{ string_value: {told} }} }}',
            "",
        ]
    )


def engine_config(name: str, form: str, inputs: Shapes, outputs: Shapes, batch: int) -> str:
    """Of the graph, run by a backend of Triton."""
    return "\n".join(
        [
            *_head(name, f'backend: "{BACKENDS[form]}"', batch),
            f'default_model_filename: "{FILES[form]}"',
            *_tensors("input", floats(inputs)),
            *_tensors("output", floats(outputs)),
            "",
        ]
    )


def ensemble_config(
    name: str, frame: Tensor, outputs: Sequence[Tensor], steps: Sequence[tuple[str, Shapes, Shapes]]
) -> str:
    """Of the models together.

    Args:
        name: of the ensemble; a client asks for it.
        frame: its input.
        outputs: its outputs.
        steps: model, and what it takes and gives.
    """
    text = [MARK, f'name: "{name}"', 'platform: "ensemble"', "max_batch_size: 1"]
    text += [*_tensors("input", [frame]), *_tensors("output", outputs), "ensemble_scheduling {"]
    for model, takes, gives in steps:
        maps = [("input_map", key) for key in takes] + [("output_map", key) for key in gives]
        lines = "\n".join(f'    {kind} {{ key: "{key}" value: "{key}" }}' for kind, key in maps)
        text.append(f'  step [{{\n    model_name: "{model}"\n    model_version: -1\n{lines}\n  }}]')
    return "\n".join([*text, "}", ""])


def floats(shapes: Shapes) -> list[Tensor]:
    """Tensors of float32."""
    return [Tensor(name, "TYPE_FP32", dims, None, "") for name, dims in shapes.items()]


def _head(name: str, backend: str, batch: int) -> list[str]:
    found = [MARK, f'name: "{name}"', backend, f"max_batch_size: {batch}"]
    # An empty message: what has arrived goes together, and nothing waits for more.
    return [*found, "dynamic_batching { }"]


def _tensors(kind: str, tensors: Sequence[Tensor], more: str = "") -> list[str]:
    return [
        f'{kind} [{{ name: "{one.name}" data_type: {one.kind} dims: '
        f"[{', '.join(map(str, one.dims))}] {more}}}]"
        for one in tensors
    ]
