"""What OpenVINO is asked to compute in, and what it really computes in.

OpenVINO takes a precision as a hint. Where the processor lacks it, another one serves silently:
asked for float16, a processor with bfloat16 computes in bfloat16. So the processor is asked first,
and the compiled graph is counted afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from edgead.errors import BundleError, DeviceError

HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "f32"}
"""INFERENCE_PRECISION_HINT. An int8 graph says itself which layers are int8; the rest is float32,
which the hint keeps from becoming bfloat16."""

_CAPABILITIES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "int8": "INT8"}
# u8: activations after a shift of their zero.
_NAMES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "int8"}
_WEIGHTED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "Deconvolution")
_PRODUCTS = ("MatMul", "FullyConnected")
_DECODED = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")  # of stored integers

MOST = 0.9
"""Least share of the layers asked for that must compute in the precision asked for, as in the
census of an export. The compiler may keep a few in float32; if more than a tenth, it did not
follow."""


def check_offered(capabilities: Iterable[str], precision: str, processor: str) -> None:
    """Raise DeviceError for a precision that is not in a processor's OPTIMIZATION_CAPABILITIES."""
    offered = set(capabilities)
    if _CAPABILITIES[precision] not in offered:
        there = [name for name, word in _CAPABILITIES.items() if word in offered]
        raise DeviceError(
            f"precision {precision}: OpenVINO does not offer it on {processor}; "
            f"choose one of: {', '.join(there)}"
        )


def layers_of(model: Any) -> Counter[str]:
    """Layers with stored weights in a graph that was read, by the dtype of the weights."""
    found: Counter[str] = Counter()
    for node in model.get_ordered_ops():
        if node.get_type_name() in (*_WEIGHTED, "MatMul"):
            for index in (1, 0):  # the weights; a product may have them before the activation
                source = node.input(index).get_source_output().get_node()
                while source.get_type_name() in _DECODED:
                    source = source.input(0).get_source_output().get_node()
                if source.get_type_name() == "Constant":
                    name = source.get_element_type().get_type_name()
                    found[_NAMES.get(name, name)] += 1
                    break
    return found


def computed_in(compiled: Any) -> Counter[str]:
    """Convolutions and matrix products of a compiled graph, by the precision they compute in."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        kind = about["layerType"].astype(str)
        if kind in _WEIGHTED or kind.startswith(_PRODUCTS):
            name = about["runtimePrecision"].astype(str)
            found[_NAMES.get(name, name)] += 1
    return found


def check_computed(layers: Counter[str], computed: Counter[str], precision: str) -> None:
    """Hold the layers of a graph against the precisions that its compiled form computes in.

    Args:
        layers: ``layers_of`` the graph; in int8 those stored so are asked for, else all.
        computed: ``computed_in`` of its compiled form.

    Raises:
        DeviceError: another precision than the one asked for would serve.
        BundleError: a graph without int8 layers.
    """
    if precision == "int8" and not layers["int8"]:
        raise BundleError("the graph in int8 has no layer stored in int8: export it again")
    expected = layers["int8"] if precision == "int8" else sum(computed.values())
    if not computed[precision] or computed[precision] < MOST * expected:
        listed = ", ".join(f"{number} in {name}" for name, number in sorted(computed.items()))
        raise DeviceError(
            f"precision {precision} was asked for {expected} layers, and OpenVINO computes "
            f"{listed or 'none'}: it would not be what serves, so ask for another precision"
        )
