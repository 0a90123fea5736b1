"""Bundles with a memory of good parts on a SIMULATED device; no GPU is involved."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from simulation import Device

from edgead import Detector, DeviceError
from edgead.bundle.storage import Bundle, npy, open_bundle, write_bundle
from edgead.engine.lazy_array import as_array
from edgead.errors import BundleError, QualificationError
from edgead.nvidia.distances import DeviceDistances
from edgead.serving.choice import choose
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline
from edgead.tiling import Tiling

pytest.importorskip("torch", reason="a backbone is made with the extra edgead[train]")
sys.path.insert(0, str(Path(__file__).parents[2] / "learning"))

from good_parts import (  # type: ignore[import-not-found]
    scratched,
    varied,
    write_separable_backbone,
)

SIZE = (64, 64)
PRECISIONS = ("float32", "float16", "int8")


def learnt_bundle(
    folder: Path,
    tiling: Tiling | None = None,
    precisions: tuple[str, ...] = PRECISIONS,
    placement: str | None = None,
) -> Bundle:
    """Of one part in varied light, with graphs in all precisions.

    Nothing tells how other parts lie, so a memory alone is learnt where none is given.
    """
    from edgead_export.half_graph import halved
    from edgead_export.int8.features import int8_of

    from edgead.learning.backbone import read_backbone
    from edgead.learning.good_image import GoodImage
    from edgead.learning.learn import LearnOptions, learn

    write_separable_backbone(folder / "separable.onnx")
    backbone = read_backbone(folder / "separable.onnx")
    images = [
        GoodImage(f"{s}.png", lambda s=s: varied(s), "one" if placement is None else f"{s}")
        for s in range(24)
    ]
    options = LearnOptions(size=SIZE, memory=150, tiling=tiling, placement=placement)
    makers = {"float16": halved, "int8": int8_of}
    graphs = {
        name: lambda ranges, make=make: make(backbone.model, ranges)
        for name, make in makers.items()
        if name in precisions
    }
    return learn(images[:18], images[18:], backbone, folder / "part.edgead", options, graphs=graphs)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return learnt_bundle(tmp_path_factory.mktemp("learnt"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_are_those_of_the_cpu(device: Device, learnt: Bundle, precision: str) -> None:
    """In float16 the CPU's float32 within the tolerance; else the same precision there."""
    theirs = "float32" if precision == "float16" else precision
    tolerance = learnt.manifest.tolerance[precision]
    with (
        Detector(learnt, device="cpu", precision=theirs) as cpu,
        Detector(learnt, device="cuda", precision=precision) as gpu,
    ):
        for frame in (varied(40), scratched(41)[:60, :70], varied(42)):
            found, expected = gpu.score(frame), cpu.score(frame)
            assert abs(found.score - expected.score) <= tolerance.score
            np.testing.assert_allclose(found.map, expected.map, atol=tolerance.map)
            assert found.is_anomalous == expected.is_anomalous
        assert gpu.info()["precision"] == precision


def test_frames_in_tiles(device: Device, tmp_path: Path) -> None:
    bundle = learnt_bundle(tmp_path, Tiling((48, 40), 8), ("float16",))
    tolerance = bundle.manifest.tolerance["float16"]
    with Detector(bundle, device="cpu") as cpu, Detector(bundle, device="cuda") as gpu:
        for seed in (40, 41, 42):  # the first run, and as a graph
            found, expected = gpu.score(varied(seed)), cpu.score(varied(seed))
            assert found.map.shape == expected.map.shape != SIZE
            np.testing.assert_allclose(found.map, expected.map, atol=tolerance.map)


def test_distances_come_between_the_plan_and_the_map(device: Device, learnt: Bundle) -> None:
    """On one stream, and a known frame is one launch that allocates nothing."""
    with Detector(learnt, device="cuda") as gpu:
        gpu.score(varied(1)[:50])
        device.log.clear()
        gpu.score(varied(1)[:40])
        kernels = ("preprocess", "execute_async_v3", "nearest", "anomaly_map")
        assert [n for n, _ in device.log if n in kernels] == 2 * list(kernels)  # run, and captured
        streams = {d[-1] for n, d in device.log if n in ("preprocess", "nearest", "anomaly_map")}
        assert len(streams) == 1
        gpu.score(varied(2)[:40])
        device.log.clear()
        gpu.score(varied(3)[:40])
        assert [name for name, _ in device.log] == [
            "enter", "launch", "copy", "synchronize", "intervals_ms", "leave"
        ]  # fmt: skip


def test_threads_share_one_memory(device: Device, learnt: Bundle) -> None:
    kept = learnt.read_array("memory.npy").nbytes
    engine = open_engine(learnt, "cuda")
    before = device.free_bytes
    pipelines = [open_pipeline(learnt, engine) for _ in range(3)]
    scores = [pipeline.run(varied(5)).score for pipeline in pipelines]
    assert len(set(scores)) == 1
    for pipeline in pipelines:
        pipeline.close()
    assert before == device.free_bytes  # the memory is still there
    sizes = [details for name, details in device.log if name == "allocate"]
    assert sizes.count(kept) == 1


def test_a_memory_that_is_too_large_says_what_fits(device: Device, learnt: Bundle) -> None:
    """The number it names is the largest: so many fit, and one more does not."""
    kept = learnt.read_array("memory.npy")
    codes = kept.shape[1]  # bytes of the simulated kernel, beside each feature
    each, counts = kept.itemsize * kept.shape[1] + codes, 4 * 16 * 16
    open_engine(learnt, "cuda")
    for left in (counts + 70 * each, counts + 71 * each - 1, counts - 1, 0):
        whole, device.free_bytes = device.free_bytes, left + 1024  # the plan takes 1024
        with pytest.raises(DeviceError, match=r"the memory of 150 features takes .* MB") as raised:
            open_engine(learnt, "cuda")
        fits = int(re.search(r"at most (\d+) features fit", str(raised.value)).group(1))
        assert fits == max(0, (left - counts) // each)
        assert "--memory" in str(raised.value) and 'device="cpu"' in str(raised.value)
        del raised
        device.free_bytes = whole


def test_features_of_a_session_are_those_of_the_graph(device: Device, learnt: Bundle) -> None:
    session = open_engine(learnt, "cuda", precision="float32").session()
    session.image[...] = np.random.default_rng(2).standard_normal(session.image.shape)
    assert session.infer() == []
    features = session.features[0].copy()  # the view would keep pinned memory
    graph = onnxruntime.InferenceSession(learnt.read("model.onnx"))
    (expected,) = graph.run(None, {"image": session.image.copy()})
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_digests_hold_the_distances(device: Device, learnt: Bundle) -> None:
    with Detector(learnt, device="cuda", digests=True) as gpu:
        first, again, other = (gpu.score(varied(seed)).digests for seed in (1, 1, 2))
    assert first == again and len(first.engine) == 1
    assert first.engine[0][0] != other.engine[0][0] and first.engine[0][1] == other.engine[0][1]


def test_what_golden_frames_find(
    lawless_device: Device, learnt: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that is compared with nothing, or with the features of another output."""
    original = DeviceDistances.enqueue
    for wrong in (
        lambda self, features: None,
        lambda self, features: original(self, self._held and [self._distances[0].address]),
    ):
        monkeypatch.setattr(DeviceDistances, "enqueue", wrong)
        with pytest.raises((QualificationError, DeviceError, AssertionError)):
            Detector(learnt, device="cuda")


@pytest.mark.parametrize("name", ["memory.npy", "places.npy"])
def test_changed_files_are_refused(
    device: Device, learnt: Bundle, tmp_path: Path, name: str
) -> None:
    files = {each: learnt.read(each) for each in learnt.manifest.files}
    array = learnt.read_array(name).copy()
    array.flat[3] = np.nan
    bundle = write_bundle(tmp_path / "bad.edgead", learnt.manifest, files | {name: npy(array)})
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        open_engine(bundle, "cuda")


def test_auto_takes_the_gpu_where_there_is_a_graph_for_it(
    device: Device, learnt: Bundle, tmp_path: Path, plans: dict[str, Any]
) -> None:
    assert choose("auto", learnt).index == 0
    assert choose("auto", open_bundle(learnt.path), "bfloat16").index is None
    pipeline = open_pipeline(learnt, open_engine(learnt, "cuda"))
    assert np.isfinite(as_array(pipeline.run(varied(3)).map)).all()
    pipeline.close()
    assert plans["asked"][0]["precision"] == "float16"
