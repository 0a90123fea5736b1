"""The int8 graph: codes by hand, what is int8 and what is not, what it costs, what stops it."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from edgead_export import ExportOptions, export_method
from edgead_export.census import check_precision, take_census
from edgead_export.int8 import export as int8
from edgead_export.int8 import judge as int8_judge
from edgead_export.int8.graph import layers, part_concats, quantise, restore
from edgead_export.int8.images import range_images
from edgead_training.data import Sample
from export_toy import SIZE, ToyMethod, frame, frames
from onnx import TensorProto, helper, numpy_helper

from edgead import Detector
from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cpu.precision import computed_in
from edgead.errors import ExportError
from edgead.learning import int8_cost
from edgead.preprocess import preprocess
from edgead.serving.open_engine import open_engine

COUNT = 6
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(2, 6, 1, 1)).astype(np.float32)
KERNEL = RNG.normal(size=(6, 6, 3, 3)).astype(np.float32)
ROUGH = int8_cost.Int8Bounds(auroc=0.2, found=0.5, verdicts=0.5)
"""The toy is random and finds nothing: rounding shuffles its scores."""
BIAS = np.array([0.5, -0.25], np.float32)


def by_hand() -> bytes:
    """image [N, 6, 4, 4] -> Conv 1x1 with bias -> a grouped one -> one of few channels -> out."""
    weights = [
        numpy_helper.from_array(WEIGHT, "w"),
        numpy_helper.from_array(BIAS, "b"),
        numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "depthwise"),
        numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "narrow"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["y"], name="dense"),
        helper.make_node("Conv", ["y", "depthwise"], ["z"], name="grouped", group=2),
        helper.make_node("Conv", ["z", "narrow"], ["out"], name="few"),
    ]
    return _model(nodes, weights, 6, 2)


def joined() -> bytes:
    """image [N, 6, 4, 4] -> Relu and Neg, joined -> Conv 3x3 of 12 channels with bias -> out."""
    both = np.concatenate([KERNEL, 2 * KERNEL], axis=1)[:2]
    weights = [numpy_helper.from_array(both, "w"), numpy_helper.from_array(BIAS, "b")]
    nodes = [
        helper.make_node("Relu", ["image"], ["a"]),
        helper.make_node("Neg", ["image"], ["c"]),
        helper.make_node("Concat", ["a", "c"], ["ac"], axis=1),
        helper.make_node("Conv", ["ac", "w", "b"], ["out"], name="conv", pads=[1, 1, 1, 1]),
    ]
    return _model(nodes, weights, 6, 2)


def _model(nodes: list[Any], weights: list[Any], inputs: int, outputs: int) -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", inputs, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", outputs, 4, 4])
    graph = helper.make_graph(nodes, "g", [image], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def run(model: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


def noise(count: int, channels: int = 6) -> list[np.ndarray]:
    return [RNG.normal(size=(1, channels, 4, 4)).astype(np.float32) for _ in range(count)]


# The graph ---------------------------------------------------------------------------------------


def test_codes_and_scales_by_hand() -> None:
    images = noise(3)
    model = quantise(by_hand(), images, ["dense"])
    stored = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load_model_from_string(model).graph.initializer
    }
    scale = np.abs(WEIGHT).max((1, 2, 3)) / 64  # one for each output channel
    peak = max(float(np.abs(image).max()) for image in images)
    np.testing.assert_allclose(stored["w_scale"], scale, rtol=1e-6)
    np.testing.assert_array_equal(
        stored["w_quantized"], np.rint(WEIGHT / scale[:, None, None, None])
    )
    assert stored["image_scale"] == pytest.approx(peak / 127, rel=1e-6)
    for name, values in stored.items():
        if name.endswith("zero_point"):
            assert values.dtype == np.int8 and not values.any()  # symmetric
    # In float32, less what the rounded weights add for the mean of each channel.
    error = stored["w_quantized"] * scale[:, None, None, None] - WEIGHT
    mean = np.mean(images, axis=(0, 1, 3, 4))
    bias = BIAS - error[:, :, 0, 0] @ mean
    np.testing.assert_allclose(stored["dense/bias"], bias, atol=1e-6)
    assert np.abs(bias - BIAS).max() > 1e-4
    # What the codes give, in float64: sums of products of integers, times both scales.
    codes = np.clip(np.rint(images[0] / (peak / 127)), -128, 127)
    truth = np.einsum("oi,ihw->ohw", stored["w_quantized"][:, :, 0, 0].astype(float), codes[0])
    truth = truth * scale[:, None, None] * (peak / 127) + bias[:, None, None]
    assert run(model, images[0])[0] == pytest.approx(truth.sum(0)[None].repeat(2, 0), abs=1e-5)


def test_what_stays_float32_and_why() -> None:
    assert layers(by_hand()) == {
        "dense": "",
        "grouped": "grouped",
        "few": "reads an image",
    }


def test_a_convolution_of_joined_tensors_is_a_sum_of_convolutions() -> None:
    model = part_concats(joined())
    parsed = onnx.load_model_from_string(model).graph
    assert Counter(node.op_type for node in parsed.node)["Concat"] == 0
    weights = {one.name: numpy_helper.to_array(one) for one in parsed.initializer}
    np.testing.assert_array_equal(weights["conv/part_0/weight"], KERNEL[:2])
    np.testing.assert_array_equal(weights["conv/part_1/weight"], 2 * KERNEL[:2])
    assert list(layers(model)) == ["conv/part_0", "conv/part_1"]
    image = np.concatenate(noise(3))
    # The same 108 products in another order: a few roundings of sums around 10.
    np.testing.assert_allclose(run(model, image), run(joined(), image), atol=1e-4)


def test_restored_layers_compute_in_float32_again() -> None:
    source = part_concats(joined())
    images = noise(2)
    coded = quantise(source, images, ["conv/part_0", "conv/part_1"])
    one = take_census(restore(coded, source, ["conv/part_1"]))
    assert one.weights == {"float32": 108, "int8": 110}  # the bias counts with the first
    assert one.float32_products == ("conv/part_1",)
    both = restore(coded, source, ["conv/part_0", "conv/part_1"])
    np.testing.assert_array_equal(run(both, images[0]), run(source, images[0]))
    assert (run(coded, images[0]) != run(source, images[0])).any()


def test_an_int8_that_is_none_is_refused() -> None:
    with pytest.raises(ExportError, match=r"int8 was asked for, and 0\.0% of the weights"):
        check_precision(take_census(by_hand()), "int8")


# The bundle --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranges() -> list[np.ndarray]:
    params = ToyMethod().preprocess_params()
    return [preprocess(frame(index), params)[None] for index in range(40, 48)]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[np.ndarray]
) -> tuple[Bundle, list[str]]:
    """The toy with an int8 graph, and what its export said."""
    lines: list[str] = []
    out = tmp_path_factory.mktemp("made") / "toy.edgead"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "INT8_BOUNDS", ROUGH)
        export_method(ToyMethod(), frames(COUNT), out, ranges=ranges, log=lines.append)
    return open_bundle(out), lines


def test_the_bundle_holds_a_portable_int8_graph(made: tuple[Bundle, list[str]]) -> None:
    bundle = made[0]
    assert bundle.manifest.models["int8"] == "model.int8.onnx"
    model = onnx.load_model_from_string(bundle.read("model.int8.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert {one.domain for one in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    both = np.random.default_rng(1).normal(size=(2, 3, *SIZE)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    together = session.run(None, {"image": both})[1]
    np.testing.assert_allclose(together[1:], session.run(None, {"image": both[1:]})[1], atol=1e-5)


def test_openvino_computes_every_int8_layer_in_int8(made: tuple[Bundle, list[str]]) -> None:
    bundle = made[0]
    about = bundle.manifest.provenance["export"]["int8"]
    expected = about["layers"] - len(about["float32_layers"])
    engine: Any = open_engine(bundle, precision="int8")
    assert computed_in(engine._compiled)["int8"] == expected == 4
    reasons = Counter(about["float32_layers"].values())
    assert reasons == {"reads an image": 3, "a lookup": 1}  # stem twice, Sobel; the prompt's keys
    census = bundle.manifest.provenance["export"]["census"]["int8"]
    assert census["weights"]["int8"] > census["weights"]["float32"]


def test_what_it_costs_is_what_detectors_find(made: tuple[Bundle, list[str]]) -> None:
    """AUROC, verdicts and differences again, from Detector and scikit-learn."""
    sklearn = pytest.importorskip("sklearn.metrics")
    bundle, lines = made
    judged = bundle.manifest.provenance["export"]["int8"]["judged"]
    shown = int8_judge.show(frames(COUNT))
    assert (~shown.synthetic).sum() == judged["images"] == COUNT
    assert shown.synthetic.sum() == judged["painted"] == 2 * COUNT
    results = {}
    for precision in ("float32", "int8"):
        detector = Detector(bundle, precision=precision)
        results[precision] = [detector.score(one) for one in shown.frames]
    scores = {key: np.array([r.score for r in found]) for key, found in results.items()}
    areas = [sklearn.roc_auc_score(shown.synthetic, scores[key]) for key in ("float32", "int8")]
    assert judged["image_auroc"] == pytest.approx(areas)
    verdicts = {k: np.array([r.is_anomalous for r in found]) for k, found in results.items()}
    good = ~shown.synthetic
    changed = (verdicts["float32"] != verdicts["int8"])[good].sum()
    assert judged["verdicts_changed"] == changed
    assert judged["found"] == [int(verdicts[k][~good].sum()) for k in ("float32", "int8")]
    held = bundle.manifest.calibration_of("int8")
    assert held.scores == tuple(scores["int8"][good])  # int8 is judged by int8's own scores
    assert held.peaks == tuple(float(r.map.max()) for r, g in zip(results["int8"], good) if g)  # noqa: B905
    assert held.ties.score == pytest.approx(0.3 * judged["score_largest"])
    gap = np.abs(scores["float32"] - scores["int8"])[good].max()
    assert gap <= judged["score_largest"]
    assert bundle.manifest.tolerance["int8"].score == pytest.approx(1.3 * judged["score_largest"])
    text = "\n".join(lines)
    assert f"image AUROC {areas[0]:.4f} -> {areas[1]:.4f}" in text
    assert "4 of 8 layers compute in int8" in text
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    tried = "qualified with AVX2 and without VNNI too, not tried on aarch64"
    assert (tried if x86 else "not tried on x86 without VNNI") in text


def test_the_same_bytes_at_the_second_export(
    made: tuple[Bundle, list[str]],
    ranges: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "INT8_BOUNDS", ROUGH)
    again = export_method(
        ToyMethod(), frames(COUNT), tmp_path / "b.edgead", ranges=ranges, log=lambda _: None
    )
    name = "model.int8.onnx"
    assert again.manifest.files[name] == made[0].manifest.files[name]


# What stops it -----------------------------------------------------------------------------------


def test_over_a_bound_nothing_is_written(
    ranges: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = replace(ROUGH, score=1e-9)
    monkeypatch.setattr(int8, "INT8_BOUNDS", tight)
    with pytest.raises(ExportError, match=r"int8 costs too much: the score differs.*in float32\."):
        export_method(
            ToyMethod(), frames(3), tmp_path / "x.edgead", ranges=ranges, log=lambda _: None
        )
    assert list(tmp_path.iterdir()) == []


def test_the_most_sensitive_layer_is_kept_when_all_cost_too_much(
    ranges: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str]] = [["planted"], []]
    monkeypatch.setattr(int8, "faults", lambda judged, bounds: found.pop(0))
    order: list[list[str]] = []
    ask = int8.by_sensitivity

    def remember(*arguments: Any) -> list[str]:
        order.append(ask(*arguments))
        return order[-1]

    monkeypatch.setattr(int8, "by_sensitivity", remember)
    out = tmp_path / "x.edgead"
    bundle = export_method(ToyMethod(), frames(3), out, ranges=ranges, log=lambda _: None)
    kept = bundle.manifest.provenance["export"]["int8"]["float32_layers"]
    assert [name for name, why in kept.items() if why == "sensitive"] == [order[0][0]]
    assert order[0][0] in take_census(bundle.read("model.int8.onnx")).float32_products
    assert sorted(order[0]) == sorted(set(order[0]))


def test_faults_are_named_with_both_numbers() -> None:
    fine = int8_judge.Judged(
        image_auroc=(0.99, 0.985),
        pixel_auroc=(0.9, 0.91),
        score_largest=1.0,
        map_largest=1.0,
        score_spread=1.0,
        map_spread=1.0,
        found=(19, 17),
        painted=20,
        verdicts_changed=2,
        images=40,
        tolerance=Tolerance(1, 1),
        ties=Tolerance(1, 1),
    )
    assert int8_judge.faults(fine, int8_cost.INT8_BOUNDS) == []
    for change, sentence in (
        ({"image_auroc": (0.99, 0.9849)}, "image AUROC falls from 0.9900 to 0.9849, allowed 0.005"),
        ({"pixel_auroc": (0.9, float("nan"))}, "pixel AUROC falls from 0.9000 to nan"),
        ({"found": (19, 16)}, "3 synthetic defects of 20 are no longer found, allowed 2"),
        ({"verdicts_changed": 3}, "3 of 40 verdicts on calibration images change, allowed 2"),
        ({"score_largest": 1.01}, "the score differs by 1.01, allowed 1"),
        ({"map_largest": float("nan")}, "the map differs by nan, allowed 1"),
    ):
        (found,) = int8_judge.faults(replace(fine, **change), int8_cost.INT8_BOUNDS)
        assert sentence in found


# Images for the ranges ---------------------------------------------------------------------------


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    """Four calibration images on disk, 20 x 30 in colour."""
    folder = tmp_path / "run"
    folder.mkdir()
    made = []
    for index in range(4):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), RNG.integers(0, 255, (20, 30, 3), np.uint8))
        made.append(Sample(path))
    return tuple(made)


def test_ranges_come_from_training_images_unless_given(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    params = ToyMethod().preprocess_params()
    own = range_images(samples[:3], samples[3:], params, None, None)
    assert [image.shape for image in own] == [(1, 3, *SIZE)] * 3
    folder = tmp_path / "given"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((20, 30, 3), 77, np.uint8))
    (given,) = range_images(samples[:3], samples[3:], params, None, folder)
    np.testing.assert_allclose(given, (77 / 255 - 0.5) / 0.25, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (None, r"holds no image; give a folder of images of good parts"),
        (np.zeros((20, 30), np.uint8), r"a\.png is grey with 8 bits, .* in colour with 8 bits"),
        (np.zeros((20, 30, 3), np.uint16), r"in colour with 16 bits, .* in colour with 8 bits"),
        (np.zeros((21, 30, 3), np.uint8), r"a\.png is 21 x 30 .*images of the run are 20 x 30"),
        ("copy", r"is 2\.png, one of the images that the thresholds come from"),
        ("broken", r"--calibration: .*a\.png"),
    ],
)
def test_a_folder_that_is_of_no_use(
    image: Any, sentence: str, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    if isinstance(image, np.ndarray):
        cv2.imwrite(str(folder / "a.png"), image)
    elif image == "copy":
        (folder / "a.png").write_bytes(samples[2].path.read_bytes())
    elif image == "broken":
        (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(ExportError, match=sentence):
        range_images((), samples, ToyMethod().preprocess_params(), None, folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, kind in (("absent", "does not exist"), ("file", "is a file")):
        with pytest.raises(ExportError, match=f"--calibration .*{name} {kind}"):
            range_images((), (), ToyMethod().preprocess_params(), None, tmp_path / name)
    with pytest.raises(ExportError, match="add --precision int8"):
        ExportOptions(calibration=tmp_path)
