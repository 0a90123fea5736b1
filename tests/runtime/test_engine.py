"""The engine runs the graph that the manifest describes, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.bundle.storage import open_bundle
from edgead.errors import BundleError, DeviceError, InputError
from edgead.serving.open_engine import open_engine


def test_features_are_those_of_onnxruntime(bundle_dir: Path, tiny: Any) -> None:
    import onnxruntime

    engine = open_engine(open_bundle(bundle_dir), threads=1)
    session = engine.session()
    image = np.random.default_rng(0).normal(size=(1, 3, 64, 48)).astype(np.float32)
    assert session.image.shape == image.shape
    assert session.image.dtype == np.float32
    session.image[...] = image
    pairs = session.infer()
    names = ["reference_0", "restored_0", "reference_1", "restored_1"]
    truth = onnxruntime.InferenceSession(tiny.files["model.onnx"]).run(names, {"image": image})
    for found, expected in zip([f for pair in pairs for f in pair], truth, strict=True):
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        # Sums of 27 to 108 products in another order: a few float32 roundings of values around 1.
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_memory_every_time(bundle_dir: Path) -> None:
    session = open_engine(open_bundle(bundle_dir)).session()
    address = [f.ctypes.data for pair in session.infer() for f in pair]
    before = [f.copy() for pair in session.infer() for f in pair]
    session.image[...] = 1.0
    after = [f for pair in session.infer() for f in pair]
    assert [f.ctypes.data for f in after] == address
    assert all(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_sessions_do_not_share_buffers(bundle_dir: Path) -> None:
    engine = open_engine(open_bundle(bundle_dir))
    first, second = engine.session(), engine.session()
    first.image[...] = 1.0
    second.image[...] = 2.0
    kept = first.infer()[0][0].copy()
    second.infer()
    np.testing.assert_array_equal(first.infer()[0][0], kept)


def test_what_it_says_of_itself(bundle_dir: Path) -> None:
    engine = open_engine(open_bundle(bundle_dir), "CPU")
    assert engine.device.startswith("CPU: ")
    assert engine.precision == "float32"
    assert engine.version.startswith("OpenVINO 20")
    assert "OpenVINO" in repr(engine)


def test_devices_that_are_not_there(bundle_dir: Path, no_gpu: None) -> None:
    bundle = open_bundle(bundle_dir)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(DeviceError, match=r'kernels were not built.*device="cpu"'):
            open_engine(bundle, device)
    for device in ("tpu", "cuda:x", "", None):
        with pytest.raises(InputError, match='expected "auto"'):
            open_engine(bundle, device)  # type: ignore[arg-type]
    for threads in (0, -1, 1.5):
        with pytest.raises(InputError, match="threads"):
            open_engine(bundle, threads=threads)  # type: ignore[arg-type]


def test_no_cpu_plugin(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    class Empty:
        available_devices: tuple[str, ...] = ()

    monkeypatch.setattr(openvino, "Core", Empty)
    with pytest.raises(DeviceError, match="no CPU plugin"):
        open_engine(open_bundle(bundle_dir))


def test_no_openvino(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(DeviceError, match="pip install openvino"):
        open_engine(open_bundle(bundle_dir))


def test_a_failing_device(bundle_dir: Path) -> None:
    class Request:
        def infer(self, **_: object) -> None:
            raise RuntimeError("Exception from core.cpp:1:\nout of memory\n")

    session: Any = open_engine(open_bundle(bundle_dir)).session()
    session._request = Request()
    with pytest.raises(DeviceError, match="OpenVINO failed on a frame: out of memory"):
        session.infer()


NAMES = ("reference_0", "restored_0", "reference_1", "restored_1")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("a", *NAMES[1:]), r"outputs \['a'.*manifest names \['reference_0'"),
        ((*NAMES[:3], "other"), "has outputs"),
    ],
)
def test_graph_with_other_outputs(
    bundle_copy: Path,
    edit: Callable[..., None],
    make_graph: Callable[..., bytes],
    names: tuple[str, ...],
    match: str,
) -> None:
    edit(bundle_copy, files={"model.onnx": make_graph(names)})
    with pytest.raises(BundleError, match=match):
        open_engine(open_bundle(bundle_copy))


def test_graph_with_an_output_too_many(bundle_copy: Path, edit: Callable[..., None]) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        del manifest["pairs"][1]

    edit(bundle_copy, drop)
    with pytest.raises(BundleError, match="has outputs"):
        open_engine(open_bundle(bundle_copy))


def test_graph_of_other_shapes(
    bundle_copy: Path, edit: Callable[..., None], make_graph: Callable[..., bytes]
) -> None:
    edit(bundle_copy, files={"model.onnx": make_graph(channels=(8, 16))})
    with pytest.raises(BundleError, match=r"'reference_1' is \(1, 16, 16, 12\) f32.*\(1, 12, 16"):
        open_engine(open_bundle(bundle_copy))


def test_graph_for_images_of_another_size(bundle_copy: Path, edit: Callable[..., None]) -> None:
    edit(bundle_copy, lambda manifest: manifest["input"].update(size=[48, 64]))
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_engine(open_bundle(bundle_copy))


def test_graph_with_another_input(bundle_copy: Path, edit: Callable[..., None]) -> None:
    edit(bundle_copy, lambda manifest: manifest["input"].update(name="pixels"))
    with pytest.raises(BundleError, match=r"inputs \['image'\]; expected only 'pixels'"):
        open_engine(open_bundle(bundle_copy))


@pytest.mark.parametrize("data", [b"", b"no graph", bytes(1000)])
def test_what_is_no_graph(bundle_copy: Path, edit: Callable[..., None], data: bytes) -> None:
    edit(bundle_copy, files={"model.onnx": data})
    with pytest.raises(BundleError, match=r"cannot read model\.onnx"):
        open_engine(open_bundle(bundle_copy))


def test_half_a_graph(
    bundle_copy: Path, edit: Callable[..., None], make_graph: Callable[..., bytes]
) -> None:
    edit(bundle_copy, files={"model.onnx": make_graph()[:700]})
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_engine(open_bundle(bundle_copy))
