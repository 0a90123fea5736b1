"""Which codes an int8 graph may hold so that every processor adds up their products alike.

x86 without VNNI multiplies bytes by ``vpmaddubsw``: unsigned times signed, and two such products
are added in 16 bits that saturate. OpenVINO makes the first operand of a layer, the activation, the
unsigned one, by adding 128 to its codes. With codes a of it and b of the second operand, at worst

    2 (128 + 127) |b| <= 32767, so |b| <= 64

whatever a is: seven bits for the second operand. With them no sum saturates, and sums of integers
are the same with AVX2, AVX-512, VNNI or NEON, which adds signed bytes (2 * 128 * 64 = 16384).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from edgead.bundle.storage import Draft, write_bundle
from edgead.errors import ExportError

from ..census import WEIGHTED

MOST_SECOND = 64
"""Largest code of a layer's second operand."""

LIMIT = "ONEDNN_MAX_CPU_ISA"
"""The environment variable by which OpenVINO's kernels for the CPU leave instructions unused."""

VERIFY = ("-m", "edgead", "verify", "--device", "cpu", "--precision", "int8", "--json")


def tables(graph: GraphProto) -> tuple[dict[str, TensorProto], dict[str, NodeProto]]:
    """Stored tensors by name, and nodes by the names of what they give."""
    stored = {one.name: one for one in graph.initializer}
    return stored, {name: node for node in graph.node for name in node.output}


def check_sums(model: bytes) -> None:
    """Hold the codes of every int8 layer of ``model`` against ``MOST_SECOND``.

    Raises:
        ExportError: names the first layer with larger ones.
    """
    graph = onnx.load_model_from_string(model).graph
    stored, made_by = tables(graph)
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        decoders = [made_by[name] for name in node.input[:2] if name in made_by]
        is_int8 = [one.op_type for one in decoders] == 2 * ["DequantizeLinear"]
        largest = _largest_code(decoders[1], stored) if is_int8 else 0
        if largest > MOST_SECOND:
            raise ExportError(
                f"layer {node.name or node.output[0]}: its second operand has int8 codes up to "
                f"{largest}, expected {MOST_SECOND} at most: a processor without VNNI adds two "
                "products in 16 bits, and would give other maps. Quantise that operand with seven "
                "bits, or keep the layer in float32"
            )


def qualify_without_vnni(draft: Draft) -> bool:
    """Qualify the int8 graph of ``draft`` in a process that may use AVX2 and not VNNI.

    Returns:
        Whether that was done: only on x86.

    Raises:
        ExportError: a golden frame is not reproduced; with what that process says.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / draft.path.name
        write_bundle(path, draft.manifest, draft.files)
        command = [sys.executable, *VERIFY, str(path)]
        limited = {**os.environ, LIMIT: "AVX2"}
        done = subprocess.run(command, env=limited, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip()
        if done.stdout:
            found = json.loads(done.stdout)
            said = ", ".join(
                f"the {what} is off by up to {found[f'max_{what}_error']:.3g} (allowed "
                f"{found['tolerance'][what]:.3g})"
                for what in ("score", "map")
            )
        raise ExportError(
            "a processor with AVX2 and without VNNI does not reproduce the golden frames in int8: "
            f"{said}. Nothing was written; leave --precision int8 out"
        )
    return True


def _largest_code(decoder: NodeProto, stored: dict[str, TensorProto]) -> int:
    """The largest magnitude of what ``decoder`` may read; 128 for an activation."""
    source = decoder.input[0]
    if source not in stored:
        return 128
    return int(np.abs(numpy_helper.to_array(stored[source]).astype(np.int32)).max(initial=0))
