"""What is done to any ONNX graph, whoever made it: simplified, stripped, checked, run. No torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import onnxruntime
from onnx import AttributeProto, GraphProto, ModelProto

from edgead.errors import ExportError

INPUT = "image"
BATCH = "batch"


def simplify(model: ModelProto, what: str = "graph") -> ModelProto:
    """Fold constants and drop what does nothing; ``what`` the model is, for messages.

    Raises:
        ExportError: onnxsim fails, or changes what is computed.
    """
    import onnxsim

    try:
        with silence():
            simple, same = onnxsim.simplify(model)
    except Exception as error:  # onnxsim raises whatever its C++ part does
        raise ExportError(f"onnxsim cannot simplify the {what}: {error}") from error
    if not same:
        raise ExportError(f"onnxsim changed what the {what} computes; use another version of it")
    return simple


def strip(model: ModelProto) -> None:
    """Remove what varies between machines: doc strings, paths, the exporter's notes."""
    model.doc_string = ""
    model.producer_name, model.producer_version = "edgead", ""
    del model.metadata_props[:]
    model.graph.name = "edgead"
    for graph in _graphs(model.graph):
        for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
            item.doc_string = ""
            del item.metadata_props[:]
        for tensor in graph.initializer:
            tensor.doc_string = ""


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """``graph`` and those inside its If and Loop nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def check(model: ModelProto, names: tuple[str, ...]) -> None:
    """Hold a graph against ONNX, its interface, and what is known not to travel.

    Raises:
        ExportError: invalid ONNX, other outputs than ``names``, a batch axis that is fixed, an
            operator outside the standard or that TensorRT cannot parse.
    """
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
    for node in (node for graph in _graphs(model.graph) for node in graph.node):
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"operator {node.domain}::{node.op_type} at {node.name} is not standard ONNX; "
                "no engine reads it: write it with standard operators"
            )
        if node.op_type == "Resize" and any(a.name == "antialias" and a.i for a in node.attribute):
            raise ExportError(
                f"{node.name} is an antialiased Resize, which TensorRT cannot parse; shrink with "
                "average pooling, or before the graph in preprocess"
            )


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the exporters' warnings and log lines, which a user cannot follow, away.

    Errors still raise, and a value frozen while tracing, the one warning that matters, shows in
    ``compare.check_batch``.
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


def onnx_session(model: bytes) -> onnxruntime.InferenceSession:
    """An ONNX file in onnxruntime on the CPU; ExportError where it cannot be loaded."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # only what is fatal; errors raise anyhow
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its C++ part, one per status
        raise ExportError(f"onnxruntime cannot load the exported graph: {error}") from error
