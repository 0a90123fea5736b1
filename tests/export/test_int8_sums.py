"""Sums of int8 products: within 16 bits, and the same with VNNI and without it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgead_export.int8 import sums
from edgead_export.int8.graph import quantise
from edgead_export.int8.sums import MOST_SECOND, check_sums, qualify_without_vnni
from onnx import TensorProto, helper, numpy_helper

from edgead.bundle.storage import Draft, open_bundle
from edgead.errors import ExportError

SHAPES = {  # of the image and of the stored operand; channels that fill no vector
    "conv_1x1": ((1, 40, 5, 5), (24, 40, 1, 1)),
    "conv_3x3": ((1, 36, 7, 5), (20, 36, 3, 3)),
    "gemm": ((6, 44), (44, 20)),
    "gemm_of_one_row": ((1, 44), (44, 20)),
    "tokens": ((1, 10, 44), (44, 20)),
}
RUN = """
import sys, numpy as np, openvino
core, found = openvino.Core(), {}
for name, image in np.load(sys.argv[1] + "/images.npz").items():
    model = core.read_model(f"{sys.argv[1]}/{name}.onnx")
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    found[name] = core.compile_model(model, "CPU", hint)(image)[0]
np.savez(sys.argv[1] + "/found.npz", **found)
"""


def layer(name: str) -> bytes:
    """image -> one layer -> out; nearly all weights are 1, the largest of their channel."""
    rng = np.random.default_rng(len(name))
    image, stored = SHAPES[name]
    weight = np.where(rng.random(stored) < 0.9, 1, rng.uniform(-1, 1, stored)).astype(np.float32)
    kind = "Conv" if "conv" in name else "Gemm" if "gemm" in name else "MatMul"
    node = helper.make_node(kind, ["image", "w"], ["out"], name=name)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


@pytest.fixture(scope="module")
def coded() -> dict[str, bytes]:
    """Every layer as export quantises it, for activations in [-1, 1]."""
    return {
        name: quantise(
            layer(name),
            [np.linspace(-1, 1, np.prod(image), dtype=np.float32).reshape(image)],
            [name],
        )
        for name, (image, _) in SHAPES.items()
    }


def stored_in(model: bytes) -> dict[str, np.ndarray]:
    graph = onnx.load_model_from_string(model).graph
    return {one.name: numpy_helper.to_array(one) for one in graph.initializer}


def exactly(model: bytes, codes: np.ndarray) -> np.ndarray:
    """What a layer gives for an image of ``codes``: sums in int64, times both scales, and bias."""
    values = stored_in(model)
    weight, scale = values["w_quantized"].astype(np.int64), values["w_scale"].astype(np.float64)
    codes = codes.astype(np.int64)
    if weight.ndim == 4:
        size = weight.shape[2:]
        windows = np.lib.stride_tricks.sliding_window_view(codes, size, axis=(2, 3))
        sums = np.einsum("nchwij,ocij->nohw", windows, weight)
        scale = scale[:, None, None]
    else:
        sums = codes @ weight
    bias = sum(v[:, None, None] for n, v in values.items() if n.endswith("/bias"))
    return sums * scale * float(values["image_scale"]) + bias


def extreme(model: bytes, shape: tuple[int, ...], most: int) -> np.ndarray:
    """Codes of an image, nearly all as large as they get."""
    rng = np.random.default_rng(1)
    return np.where(rng.random(shape) < 0.9, most, rng.integers(-most, most + 1, shape))


def served(
    kind: str, models: dict[str, bytes], images: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """What OpenVINO makes of them in a process that is limited to the instructions ``kind``."""
    folder.mkdir()
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model)
    np.savez(folder / "images.npz", **images)
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": kind}
    subprocess.run([sys.executable, "-c", RUN, str(folder)], env=environment, check=True)
    return dict(np.load(folder / "found.npz"))


def eight_bits(model: bytes) -> bytes:
    """The planted bug: weights with codes up to 127, as before."""
    parsed = onnx.load_model_from_string(model)
    for one in parsed.graph.initializer:
        if one.name == "w_quantized":
            codes = np.rint(numpy_helper.to_array(one) * (127 / 64)).astype(np.int8)
            one.CopyFrom(numpy_helper.from_array(codes, one.name))
    return bytes(parsed.SerializeToString())


def images_for(models: dict[str, bytes], most: int) -> dict[str, np.ndarray]:
    return {
        name: (extreme(model, SHAPES[name][0], most) * stored_in(model)["image_scale"]).astype(
            np.float32
        )
        for name, model in models.items()
    }


def test_two_products_fit_16_bits_and_with_one_more_they_would_not() -> None:
    """Every product of an unsigned byte, and the same one beside it."""
    unsigned = np.arange(256)
    signed = np.arange(-MOST_SECOND, MOST_SECOND + 1)
    sums = 2 * np.multiply.outer(unsigned, signed)
    assert sums.min() >= -(2**15) and sums.max() < 2**15
    assert 2 * 255 * (MOST_SECOND + 1) >= 2**15


def test_codes_are_in_the_range(coded: dict[str, bytes]) -> None:
    for name, model in coded.items():
        codes = stored_in(model)["w_quantized"].astype(int)
        assert np.abs(codes).max() == 64, name  # the range is used
        check_sums(model)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_layers_are_exact_with_and_without_vnni(coded: dict[str, bytes], tmp_path: Path) -> None:
    """Activations far beyond the calibration images."""
    images = images_for(coded, 127)
    for kind in ("AVX2", "AVX512_CORE", "ALL"):
        found = served(kind, coded, images, tmp_path / kind)
        for name, model in coded.items():
            truth = exactly(model, extreme(model, SHAPES[name][0], 127))
            np.testing.assert_allclose(found[name], truth, atol=1e-6 * np.abs(truth).max())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_larger_codes_are_wrong_without_vnni_and_refused(
    coded: dict[str, bytes], tmp_path: Path
) -> None:
    planted = {name: eight_bits(model) for name, model in coded.items()}
    found = served("AVX2", planted, images_for(planted, 127), tmp_path / "limited")
    for name, model in planted.items():
        truth = exactly(model, extreme(model, SHAPES[name][0], 127))
        assert np.abs(found[name] - truth).max() > 0.1 * np.abs(truth).max(), name
        with pytest.raises(ExportError, match=rf"layer {name}: .* up to 127, expected 64"):
            check_sums(model)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_export_qualifies_as_a_processor_without_vnni(
    bundle_copy: Path, add_int8: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draft() -> Draft:
        bundle = open_bundle(bundle_copy)
        files = {name: bundle.read(name) for name in bundle.manifest.files}
        return Draft(bundle.path, bundle.manifest, "", files)

    add_int8(bundle_copy)
    assert qualify_without_vnni(draft())
    add_int8(bundle_copy, largest=127)
    with pytest.raises(ExportError, match=r"AVX2 and without VNNI .* in int8: the score is off by"):
        qualify_without_vnni(draft())
    monkeypatch.setattr(sums.platform, "machine", lambda: "aarch64")
    assert not qualify_without_vnni(draft())  # nothing to limit, and not said to be done
