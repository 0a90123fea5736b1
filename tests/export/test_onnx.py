"""The ONNX files: what torch gives, at any batch; half where half was asked; clean and the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgead_export import ExportOptions
from edgead_export.graph import half
from edgead_export.onnx import to_onnx
from export_toy import CHANNELS, GRIDS, SIZE, ToyMethod
from torch.nn import functional as F

from edgead.errors import ExportError

NAMES = ["reference_0", "restored_0", "reference_1", "restored_1"]


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(batch, 3, *SIZE)).astype(np.float32)


def run(model: bytes, batch: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(NAMES, {"image": batch})


@pytest.fixture(scope="module")
def toy() -> ToyMethod:
    return ToyMethod()


@pytest.fixture(scope="module")
def float32(toy: ToyMethod) -> bytes:
    return to_onnx(toy)


@pytest.fixture(scope="module")
def float16(toy: ToyMethod) -> bytes:
    return to_onnx(half(toy))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    # float32: sums in another order, some last bits of values up to 6. float16: half has 11 bits,
    # 5e-4 relative, over the five layers of the toy and values up to 6.
    ("precision", "tolerance"),
    [("float32", 1e-5), ("float16", 3e-2)],
)
def test_gives_what_torch_gives(
    toy: ToyMethod, batch: int, precision: str, tolerance: float, request: pytest.FixtureRequest
) -> None:
    image = images(batch)
    with torch.no_grad():
        expected = [t.numpy() for pair in toy(torch.from_numpy(image)) for t in pair]
    found = run(request.getfixturevalue(precision), image)
    shapes = [(batch, c, *grid) for c, grid in zip(CHANNELS, GRIDS, strict=True) for _ in "ab"]
    assert [f.shape for f in found] == shapes
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


def test_each_image_of_a_batch_gets_its_own_prompt(toy: ToyMethod, float32: bytes) -> None:
    """The gather from the bank must follow the image, not the first one of the batch."""
    image = images(16) * np.linspace(0, 2, 16, dtype=np.float32)[:, None, None, None] - 1
    with torch.no_grad():
        chosen = toy.choice(toy.features(torch.from_numpy(image))[1])
        expected = toy(torch.from_numpy(image))[1][1].numpy()
    assert len(set(chosen.tolist())) > 1, "the images must differ in their prompt"
    np.testing.assert_allclose(run(float32, image)[3], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_interface(precision: str, request: pytest.FixtureRequest) -> None:
    model = onnx.load_model_from_string(request.getfixturevalue(precision))
    ports = [*model.graph.input, *model.graph.output]
    assert [port.name for port in ports] == ["image", *NAMES]
    for port in ports:
        assert port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        first, *rest = port.type.tensor_type.shape.dim
        assert first.dim_param == "batch"
        assert all(dim.dim_value > 0 for dim in rest)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    # TensorRT 8.5 was built with ONNX 1.12, which wrote IR version 8.
    assert model.ir_version <= 8
    batch_norms = [n for n in model.graph.node if n.op_type == "BatchNormalization"]
    assert not batch_norms  # folded into the convolutions


def test_half_graph_holds_half_weights(float16: bytes, toy: ToyMethod) -> None:
    model = onnx.load_model_from_string(float16)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert tensors[node.input[1]].dtype == np.float16, node.name
    assert len(float16) < 0.6 * len(to_onnx(toy))


def test_half_leaves_the_method_as_it_is(toy: ToyMethod) -> None:
    copy = half(toy)
    assert copy.stem.weight.dtype == torch.float16
    assert toy.stem.weight.dtype == toy.bank.dtype == torch.float32


def test_no_path_and_no_doc_string(float32: bytes, float16: bytes) -> None:
    homes = {os.getcwd(), str(Path.home()), tempfile.gettempdir(), sys.prefix, sys.base_prefix}
    homes |= {sysconfig.get_paths()["purelib"], str(Path(__file__).parents[2])}
    for data in (float32, float16):
        for home in homes - {"/"}:
            assert home.encode() not in data
        assert b"site-packages" not in data
        # Node names such as /method/stem/Conv are no paths of files.
        assert not re.search(rb"\.py\b|[A-Z]:\\", data[: _graph_end(data)])
        model = onnx.load_model_from_string(data)
        assert not model.metadata_props
        assert not any(n.doc_string or n.metadata_props for n in model.graph.node)


def _graph_end(data: bytes) -> int:
    """Where the text of the graph ends; weights are random bytes and may look like anything."""
    model = onnx.load_model_from_string(data)
    del model.graph.initializer[:]
    text = model.SerializeToString()
    return min(len(text), len(data))


def test_same_bytes_every_time_and_everywhere(float32: bytes, tmp_path: Path) -> None:
    script = (
        f"import sys, hashlib; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from export_toy import ToyMethod\n"
        "from edgead_export.onnx import to_onnx\n"
        "from pathlib import Path\n"
        "Path('model.onnx').write_bytes(to_onnx(ToyMethod()))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env=env)
    assert (tmp_path / "model.onnx").read_bytes() == float32


@pytest.mark.parametrize("opset", [16, 18, 20])
def test_other_opsets(toy: ToyMethod, opset: int) -> None:
    model = onnx.load_model_from_string(to_onnx(toy, opset))
    assert model.opset_import[0].version == opset


@pytest.mark.parametrize("opset", [9, 25])
def test_opset_out_of_range(opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset {opset} .*choose 16 to 20"):
        ExportOptions(opset=opset)


def test_says_nothing(toy: ToyMethod, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(toy)
    assert capfd.readouterr() == ("", "")


class AntialiasedToy(ToyMethod):
    def forward(self, image):
        small = F.interpolate(image, scale_factor=0.5, mode="bilinear", antialias=True)
        return super().forward(F.interpolate(small, size=SIZE) + 0 * image)


class WrongShapeToy(ToyMethod):
    def forward(self, image):
        return [(a[..., 1:], b[..., 1:]) for a, b in super().forward(image)]


class HalfOutputToy(ToyMethod):
    def forward(self, image):
        return [(a.half(), b.half()) for a, b in super().forward(image)]


class OnePairToy(ToyMethod):
    def forward(self, image):
        return super().forward(image)[:1]


class NoOnnxToy(ToyMethod):
    def forward(self, image):
        shift = torch.linalg.svdvals(image[:, 0]).sum()
        return [(a + shift, b) for a, b in super().forward(image)]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (AntialiasedToy, "antialiased Resize|cannot be written as ONNX"),
        (WrongShapeToy, r"gives reference_0 as \(2, 8, 32, 47\).* promises \(2, 8, 32, 48\)"),
        (HalfOutputToy, "torch.float16, tensors.* promises .* torch.float32"),
        (OnePairToy, r"gives 2 tensors, tensors\(\) promises 4"),
        (NoOnnxToy, "cannot be written as ONNX opset 17.*svd"),
    ],
)
def test_methods_that_cannot_be_exported(method: type[ToyMethod], sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        to_onnx(method())
