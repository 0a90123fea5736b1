"""Learnt bundles in float16 and int8: the graphs, what they cost, and what is refused."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from edgead_export import learn_command
from edgead_export.census import take_census
from edgead_export.half_graph import halved
from edgead_export.int8.features import int8_of
from edgead_export.int8.graph import quantise
from good_parts import (  # type: ignore[import-not-found]
    scratched,
    varied,
    write_separable_backbone,
)
from onnx import TensorProto, helper, numpy_helper
from steps import run  # type: ignore[import-not-found]

import edgead
from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import ExportError, QualificationError
from edgead.learning.backbone import Backbone, read_backbone
from edgead.learning.good_image import GoodImage
from edgead.learning.int8_cost import INT8_BOUNDS, Cost, faults
from edgead.learning.learn import LearnOptions, learn

OPTIONS = LearnOptions(size=(64, 64), memory=200)


@pytest.fixture(scope="module")
def separable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "separable.onnx"
    write_separable_backbone(path)
    return path


@pytest.fixture(scope="module")
def backbone(separable: Path) -> Backbone:
    return read_backbone(separable)


@pytest.fixture(scope="module")
def images() -> list[GoodImage]:
    return [GoodImage(f"{seed}.png", lambda seed=seed: varied(seed)) for seed in range(24)]


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("varied")
    for seed in range(24):
        cv2.imwrite(str(folder / f"{seed:02}.png"), varied(seed))
    return folder


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, images: list[Any], backbone: Backbone
) -> Bundle:
    """A bundle with all three graphs."""
    graphs = {
        "float16": lambda ranges: halved(backbone.model, ranges),
        "int8": lambda ranges: int8_of(backbone.model, ranges),
    }
    out = tmp_path_factory.mktemp("whole") / "disc.edgead"
    return learn(images[:18], images[18:], backbone, out, OPTIONS, graphs=graphs)


def noise(count: int, side: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.normal(size=(1, 3, side, side)).astype(np.float32) for _ in range(count)]


def features(model: bytes, image: np.ndarray) -> np.ndarray:
    (found,) = onnxruntime.InferenceSession(model).run(None, {"image": image})
    return np.asarray(found)


# Graphs ------------------------------------------------------------------------------------------


def test_grouped_layers_are_int8_too_and_features_stay_close(backbone: Backbone) -> None:
    images = noise(6)
    made = int8_of(backbone.model, images)
    names = [node.name for node in onnx.load_model_from_string(made).graph.node
             if node.op_type == "Conv"]  # fmt: skip
    left = set(take_census(made).float32_products)
    assert {name for name in names if "stem" in name} <= left
    assert any("depthwise" in name and name not in left for name in names)
    exact, coarse = (features(model, images[0]) for model in (backbone.model, made))
    # seven bits of each weight and value: about 1 % of the range, of which the spread is a tenth
    assert np.square(coarse - exact).mean() < 0.02 * exact.var()


def test_a_grouped_layer_that_costs_most_stays_float32(backbone: Backbone) -> None:
    """One channel that the first depthwise reads is a thousand times the others, which share its
    range and round to nothing; what it gives is as before."""
    model = onnx.load_model_from_string(backbone.model)
    nodes = {node.name.strip("/"): node for node in model.graph.node if node.op_type == "Conv"}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer, index, factor in (("stem", 1, 1e3), ("stem", 2, 1e3), ("depthwise", 1, 1e-3)):
        tensor = stored[nodes[f"{layer}/Conv"].input[index]]
        values = numpy_helper.to_array(tensor).copy()
        values[0] *= factor
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    changed, images = model.SerializeToString(), noise(4)
    np.testing.assert_allclose(
        features(changed, images[0]), features(backbone.model, images[0]), rtol=1e-3, atol=1e-4
    )
    assert "/depthwise/Conv" in take_census(int8_of(changed, images)).float32_products
    assert take_census(int8_of(backbone.model, images)).float32_products == ("/stem/Conv",)


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (8, 8), (8, 4), (6, 2)])
def test_corrected_biases_keep_the_mean_of_each_channel(channels: int, groups: int) -> None:
    """Whatever rounding weights takes on average, the bias gives back: also within groups."""
    rng = np.random.default_rng(groups)
    outputs = 12 // groups * groups
    weight = rng.normal(size=(outputs, channels // groups, 1, 1)).astype(np.float32)
    first = rng.normal(size=(channels, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["mid"], name="first"),
        helper.make_node("Conv", ["mid", "weight"], ["out"], name="second", group=groups),
    ]
    stored = [numpy_helper.from_array(v, n) for v, n in ((first, "first"), (weight, "weight"))]
    ports = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "h", "w"])]
    ends = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", outputs, "h", "w"])]
    graph = helper.make_graph(nodes, "edgead", ports, ends, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    source, images = model.SerializeToString(), [1 + image for image in noise(3, 16)]
    made = onnx.load_model_from_string(quantise(source, images, ["second"]))
    rounded = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    node = next(n for n in made.graph.node if n.name == "second")
    codes = next(n.input for n in made.graph.node if n.output[0] == node.input[1])
    coarse = rounded[codes[0]].astype(np.float64) * rounded[codes[1]].reshape(-1, 1, 1, 1)
    mid = np.concatenate([np.einsum("oc,nchw->nohw", first[..., 0, 0], i) for i in images])
    for output in range(outputs):
        group = output // (outputs // groups)
        inside = slice(group * (channels // groups), (group + 1) * (channels // groups))
        means = mid[:, inside].mean((0, 2, 3), dtype=np.float64)
        exact = float(weight[output, :, 0, 0] @ means)
        found = float(coarse[output, :, 0, 0] @ means) + float(rounded[node.input[2]][output])
        assert found == pytest.approx(exact, abs=1e-5)


def test_half_features_are_those_of_float32_to_eleven_bits(backbone: Backbone) -> None:
    images = noise(2)
    made = halved(backbone.model, images)
    assert take_census(made).share("float16") == 1.0
    exact, coarse = (features(model, images[0]) for model in (backbone.model, made))
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, exact, atol=2e-2 * np.abs(exact).max())
    assert (coarse != exact).any()


@pytest.mark.parametrize("what", ["weight", "value"])
def test_what_float16_cannot_hold_is_refused(backbone: Backbone, what: str) -> None:
    model = onnx.load_model_from_string(backbone.model)
    kernel = next(t for t in model.graph.initializer if len(t.dims) == 4)
    factor = 1e6 if what == "weight" else 3e5
    values = numpy_helper.to_array(kernel) * np.float32(factor)
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    images = [image * np.float32(1e-9 if what == "weight" else 1) for image in noise(2)]
    with pytest.raises(ExportError, match="float16"):
        halved(model.SerializeToString(), images)


# Bundles -----------------------------------------------------------------------------------------


def test_a_bundle_serves_in_int8_by_a_calibration_of_its_own(whole: Bundle) -> None:
    manifest = whole.manifest
    assert set(manifest.models) == {"float32", "float16", "int8"} == set(manifest.tolerance)
    own, held = manifest.calibration.own["int8"], manifest.calibration
    assert len(own.scores) == 6 and own.scores != held.scores
    cost = manifest.provenance["learn"]["int8"]
    assert (cost["images"], cost["painted"]) == (6, 6)
    with (
        edgead.Detector(whole, device="cpu") as exact,
        edgead.Detector(whole, device="cpu", precision="int8") as coarse,
    ):
        assert coarse.info()["precision"] == "int8"
        for frame in (varied(31), scratched(32)):
            a, b = exact.score(frame), coarse.score(frame)
            assert a.score != b.score and a.is_anomalous == b.is_anomalous
        scores = [
            np.array([one.score(varied(seed)).score for seed in range(18, 24)])
            for one in (exact, coarse)
        ]
    raised, same = (
        np.array(one.scores) / found for one, found in zip((held, own), scores, strict=True)
    )
    assert same == pytest.approx(raised, rel=1e-6)  # the one with the highest level alike
    assert raised.min() == pytest.approx(1, rel=1e-6)
    assert np.sort(raised)[:-1] == pytest.approx(1, rel=1e-6)


def test_float16_shares_the_limits_of_float32_and_widens_the_ties(whole: Bundle) -> None:
    manifest = whole.manifest
    own, shared = manifest.calibration_of("float16"), manifest.calibration_of("float32")
    assert own == shared and own.scores == manifest.calibration.scores
    exact, half = manifest.tolerance["float32"], manifest.tolerance["float16"]
    assert exact.score <= own.ties.score <= half.score and exact.map <= own.ties.map <= half.map
    assert own.ties != exact  # rounding to eleven bits was seen


def test_a_wrong_graph_in_float16_is_refused(images, backbone: Backbone, tmp_path: Path) -> None:
    def wrong(ranges: Any) -> bytes:
        model = onnx.load_model_from_string(halved(backbone.model, ranges))
        for tensor in model.graph.initializer:
            if tensor.name == "project.bias":
                values = numpy_helper.to_array(tensor) + np.float16(0.3)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return bytes(model.SerializeToString())

    out = tmp_path / "x.edgead"
    with pytest.raises(QualificationError, match="float16 is not what float32 is"):
        learn(images[:18], images[18:], backbone, out, OPTIONS, graphs={"float16": wrong})
    assert not out.exists()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of x86")
def test_int8_is_the_same_without_vnni(whole: Bundle, tmp_path: Path) -> None:
    """OpenVINO's kernels for AVX2 multiply bytes in other instructions."""
    cv2.imwrite(str(tmp_path / "part.png"), scratched(9))
    command = [sys.executable, "-m", "edgead", "score", str(whole.path), str(tmp_path / "part.png")]
    found = []
    for limit in ({}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}):
        words = [*command, "--device", "cpu", "--precision", "int8", "--json"]
        done = subprocess.run(words, env={**os.environ, **limit}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["frames"][0]["score"])
    # the sums of bytes are equal; float32 layers and scales add up in another order
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_int8_that_costs_too_much_is_refused(images, backbone: Backbone, tmp_path: Path) -> None:
    """A graph whose last biases are off, as ranges of other parts would leave it."""

    def wrong(ranges: Any) -> bytes:
        model = onnx.load_model_from_string(int8_of(backbone.model, ranges))
        for tensor in model.graph.initializer:
            if tensor.name.endswith("/bias"):
                values = numpy_helper.to_array(tensor) + np.float32(0.5)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return bytes(model.SerializeToString())

    out = tmp_path / "x.edgead"
    with pytest.raises(QualificationError, match=r"int8 costs too much: .*allowed"):
        learn(images[:18], images[18:], backbone, out, OPTIONS, graphs={"int8": wrong})
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({}, None),
        ({"found": (19, 16)}, "3 synthetic defects of 20 are no longer found, allowed 2"),
        ({"verdicts_changed": 3}, "3 of 40 verdicts on calibration images change, allowed 2"),
        ({"score_largest": 1.01}, "the score differs by 1.01, allowed 1 "),
        ({"score_largest": float("nan")}, "the score differs by nan"),
        ({"map_largest": 2.1, "map_spread": 2.0}, "the map differs by 2.1, allowed 2 "),
    ],
)
def test_faults(change: dict[str, Any], clause: str | None) -> None:
    fine = {"score_largest": 1.0, "map_largest": 1.0, "score_spread": 1.0, "map_spread": 1.0,
            "found": (19, 17), "painted": 20, "verdicts_changed": 2, "images": 40}  # fmt: skip
    found = faults(Cost(**(fine | change)), INT8_BOUNDS)
    assert len(found) == (clause is not None) and (clause is None or clause in found[0])


# The command -------------------------------------------------------------------------------------


def words_for(folder: Path, out: Path, *words: object) -> list[str]:
    given = ["learn", folder, "--out", out, "--size", 64, "--memory", 150, *words]
    return [str(word) for word in given]


LOADED = (
    "import sys; from edgead.cli.main import main; code = main({words!r}); "
    "loaded = [n for n in {unwanted!r} if n in sys.modules]; "
    "sys.exit(code or repr(loaded) if loaded else code)"
)


def test_precisions_of_the_command_and_of_like(separable, good_folder, tmp_path, capsys) -> None:
    """int8 is made without torch; a device takes it from another bundle, without onnx too."""
    first, second = tmp_path / "first.edgead", tmp_path / "second.edgead"
    precisions = ["--precision", "int8", "--precision", "float16"]
    for out, network, unwanted in (
        (first, ["--backbone", separable], ("torch", "sklearn")),
        (second, ["--like", first], ("torch", "sklearn", "onnx", "onnxruntime")),
    ):
        words = words_for(good_folder, out, *network, *precisions)
        script = LOADED.format(words=words, unwanted=unwanted)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    models = [open_bundle(out).manifest for out in (first, second)]
    assert models[0].models == models[1].models
    for name in models[0].models.values():
        assert models[0].files[name] == models[1].files[name]
    assert run("inspect", first) == 0
    assert "in int8 by scores of its own" in capsys.readouterr().out


def test_what_is_added_keeps_the_graphs(whole: Bundle, tmp_path: Path, capsys) -> None:
    """The network is the same, so its graphs are; what they cost is measured on the sample."""
    old, out = whole.manifest, tmp_path / "more.edgead"
    for folder, seeds in (("new", (100, 101)), ("sample", range(200, 212))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            cv2.imwrite(str(tmp_path / folder / f"{seed}.png"), varied(seed))
    words = ["learn", whole.path, "--add", tmp_path / "new", "--calibrate", tmp_path / "sample"]
    assert run(*words, "--out", out, "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []
    manifest = open_bundle(out).manifest
    assert manifest.models == old.models and set(manifest.tolerance) == set(old.models)
    for name in old.models.values():
        assert manifest.files[name] == old.files[name]
    assert len(manifest.calibration.own["int8"].scores) == 12
    assert manifest.provenance["learn"]["int8"]["images"] == 12
    edgead.Detector(out, device="cpu", precision="int8").close()
    assert run("learn", out, "--forget", "--out", tmp_path / "back.edgead") == 0
    assert open_bundle(tmp_path / "back.edgead").sha256 == whole.sha256


def test_without_onnx_the_sentence_says_both_ways(
    separable, good_folder, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(
        learn_command, "find_spec", lambda name: None if name == "onnx" else find_spec(name)
    )
    out = tmp_path / "x.edgead"
    words = words_for(good_folder, out, "--backbone", separable, "--precision", "int8")
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert "pip install onnx" in error and "--like" in error and not out.exists()
