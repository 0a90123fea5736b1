"""torch to ONNX bytes: dynamic batch axis, simplified, portable, and the same at every export.

The TorchScript exporter (``dynamo=False``) is used on purpose, although torch calls it legacy:
on the same graph the newer one cannot write opset 17 (it asks for 17, warns, writes 18, which
TensorRT 8.5 does not read), keeps batch norms beside the convolutions, turns an index into the
prompt bank into GatherND, stores the paths of source files, and needs onnxscript as well.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from edgead_training.methods import Method
from onnx import AttributeProto, GraphProto, ModelProto

from edgead.errors import ExportError

from .graph import BATCH, INPUT, ExportGraph, check_method, example_image
from .options import OPSET

_STANDARD_DOMAINS = ("", "ai.onnx")


def to_onnx(method: Method, opset: int = OPSET) -> bytes:
    """Export ``method`` as it stands (float32, or after ``graph.half``) to ONNX bytes.

    Input ``image`` [batch, 3, H, W] float32; outputs named by ``method.pairs()``, float32. The
    same method gives the same bytes; no doc strings, no paths.

    opset: one of ``OPSETS``.

    Errors: ExportError: outputs other than ``pairs()`` says; an operator that ONNX lacks or that
    TensorRT cannot parse; an invalid graph.
    """
    check_method(method)
    model = _simplify(onnx.load_model_from_string(_trace(method, opset)))
    strip(model)
    check(model, ExportGraph(method).names)
    return bytes(model.SerializeToString(deterministic=True))


def _trace(method: Method, opset: int) -> bytes:
    """torch.onnx.export in silence."""
    graph = ExportGraph(method).eval()
    options: dict[str, object] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # not yet in torch 2.4
        options["dynamo"] = False
    buffer = io.BytesIO()
    try:
        with _silence(), torch.no_grad():
            torch.onnx.export(
                graph,
                (example_image(method, 2),),
                buffer,
                input_names=[INPUT],
                output_names=list(graph.names),
                dynamic_axes={name: {0: BATCH} for name in (INPUT, *graph.names)},
                opset_version=opset,
                do_constant_folding=True,
                **options,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"{method.name} cannot be written as ONNX opset {opset}: {reason}; "
            "use an operator that ONNX has, or another --opset"
        ) from error
    return buffer.getvalue()


def _simplify(model: ModelProto) -> ModelProto:
    """Fold constants and drop what does nothing. Errors: ExportError when that fails."""
    import onnxsim

    try:
        with _silence():
            simple, same = onnxsim.simplify(model)
    except Exception as error:  # onnxsim raises whatever its C++ part does
        raise ExportError(f"onnxsim cannot simplify the graph: {error}") from error
    if not same:
        raise ExportError("onnxsim changed what the graph computes; use another version of it")
    return simple


def strip(model: ModelProto) -> None:
    """Remove what varies between machines: doc strings, paths, the exporter's notes."""
    model.doc_string = ""
    model.producer_name, model.producer_version = "edgead", ""
    del model.metadata_props[:]
    model.graph.name = "edgead"
    for graph in _graphs(model.graph):
        graph.doc_string = ""
        for item in (*graph.node, *graph.input, *graph.output, *graph.value_info):
            item.doc_string = ""
            del item.metadata_props[:]
        for tensor in graph.initializer:
            tensor.doc_string = ""
        del graph.metadata_props[:]


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """``graph`` and those inside its If and Loop nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def check(model: ModelProto, names: tuple[str, ...]) -> None:
    """Validity, interface, and what is known not to travel. Errors: ExportError."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    if tuple(o.name for o in model.graph.output) != names:
        found = [o.name for o in model.graph.output]
        raise ExportError(f"the exported graph gives {found}; expected {list(names)}")
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        dims = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        if tensor.elem_type != onnx.TensorProto.FLOAT or dims[0] != BATCH:
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
            raise ExportError(
                f"the exported graph has {value.name} as {kind} {dims}; expected FLOAT with the "
                f"first axis {BATCH!r}: keep the batch size out of the method's shapes"
            )
    for graph in _graphs(model.graph):
        for node in graph.node:
            _check_node(node)


def _check_node(node: onnx.NodeProto) -> None:
    if node.domain not in _STANDARD_DOMAINS:
        raise ExportError(
            f"operator {node.domain}::{node.op_type} at {node.name} is not standard ONNX; "
            "no engine reads it: write it with standard operators"
        )
    antialias = any(a.name == "antialias" and a.i for a in node.attribute)
    if node.op_type == "Resize" and antialias:
        raise ExportError(
            f"{node.name} is an antialiased Resize, which TensorRT cannot parse; shrink with "
            "average pooling, or before the graph in preprocess"
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporters' warnings and log lines away from people; errors still raise.

    Nothing is lost: a value frozen while tracing, the one warning that matters, shows when the
    graph is compared with torch at batch 1 and batch 3.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
