"""torch to ONNX bytes: dynamic batch axis, simplified, portable, and the same at every export.

The TorchScript exporter (``dynamo=False``) is used on purpose, although torch calls it legacy: the
newer one cannot write opset 17 (it writes 18, which TensorRT 8.5 does not read), keeps batch norms
beside the convolutions, stores the paths of source files, and needs onnxscript as well.
"""

from __future__ import annotations

import inspect
import io

import onnx
import torch
from edgead_training.methods import Method
from onnx import ModelProto

from edgead.errors import ExportError

from .graph import ExportGraph, check_method, example_image
from .options import OPSET
from .portable import BATCH, INPUT, check, silence, simplify, strip


def to_onnx(method: Method, opset: int = OPSET) -> bytes:
    """Export ``method`` to ONNX bytes, the same ones every time.

    Args:
        method: as it stands: float32, or after ``graph.half``.
        opset: one of ``OPSETS``.

    Returns:
        A graph of ``image`` [batch, 3, H, W] float32 to the outputs that ``method.tensors()``
        names, float32; without doc strings and paths.

    Raises:
        ExportError: outputs other than ``tensors()`` says; an operator that ONNX lacks or that
            TensorRT cannot parse; an invalid graph.
    """
    check_method(method)
    model = simplify(_trace(method, opset))
    strip(model)
    check(model, ExportGraph(method).names)
    return bytes(model.SerializeToString(deterministic=True))


def _trace(method: Method, opset: int) -> ModelProto:
    graph, buffer = ExportGraph(method).eval(), io.BytesIO()
    try:
        with silence(), torch.no_grad():
            torch.onnx.export(
                graph,
                (example_image(method, 2),),
                buffer,
                input_names=[INPUT],
                output_names=list(graph.names),
                dynamic_axes={name: {0: BATCH} for name in (INPUT, *graph.names)},
                opset_version=opset,
                do_constant_folding=True,
                **exporter(),
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"{method.name} cannot be written as ONNX opset {opset}: {reason}; "
            "use an operator that ONNX has, or another --opset"
        ) from error
    return onnx.load_model_from_string(buffer.getvalue())


def exporter() -> dict[str, object]:
    """What asks torch for the TorchScript exporter; torch 2.4 has no other."""
    known = "dynamo" in inspect.signature(torch.onnx.export).parameters
    return {"dynamo": False} if known else {}
