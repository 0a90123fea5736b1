"""int8 where places are used: what it is off by at a place is taken off in its graph."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from edgead_export.int8.features import int8_of
from good_parts import varied, write_separable_backbone  # type: ignore[import-not-found]
from onnx import TensorProto, helper
from steps import run  # type: ignore[import-not-found]

from edgead.bundle.storage import Bundle
from edgead.errors import BundleError
from edgead.learning import variants
from edgead.learning.backbone import Backbone, read_backbone
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions, learn
from edgead.learning.onnx_bytes import with_offsets
from edgead.preprocess import Preprocessor

SIZE = (64, 64)


def identity(names: tuple[str, ...] = ("image", "between", "features")) -> bytes:
    """A graph that gives back its input, in steps."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "h", "w"])
        for name in (names[0], names[-1])
    ]
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    graph = helper.make_graph(nodes, "edgead", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def computed(model: bytes, image: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    (found,) = onnxruntime.InferenceSession(model).run(None, {"image": image})
    return np.asarray(found)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (130, 127), (64, 64)])
def test_offsets_are_taken_off_exchanged_and_left_out(size: tuple[int, int]) -> None:
    """By the package onnx and by onnxruntime; lengths of one, two and three bytes."""
    rng, model = np.random.default_rng(size[1]), identity()
    image, *offsets = (rng.normal(size=(1, 3, *size)).astype(np.float32) for _ in range(3))
    first = with_offsets(model, "features", offsets[0])
    np.testing.assert_array_equal(computed(first, image), image - offsets[0])
    second = with_offsets(first, "features", offsets[1])
    np.testing.assert_array_equal(computed(second, image), image - offsets[1])
    assert len(second) == len(first)
    for given in (model, second):
        assert with_offsets(given, "features", None) == model
    batch = np.concatenate([image, 2 * image])
    np.testing.assert_array_equal(computed(second, batch), batch - offsets[1])


def test_a_real_graph_keeps_what_else_is_in_it(backbone: Backbone) -> None:
    stored = onnx.load_model_from_string(backbone.model)
    assert with_offsets(backbone.model, "features", None) == backbone.model
    zeros = with_offsets(backbone.model, "features", np.zeros((1, 64, 16, 16), np.float32))
    made = onnx.load_model_from_string(zeros)
    assert list(made.metadata_props) == list(stored.metadata_props)
    assert list(made.graph.initializer)[:-1] == list(stored.graph.initializer)
    assert [node.name for node in made.graph.node][:-1] == [n.name for n in stored.graph.node]


@pytest.mark.parametrize("data", [b"", b"\x3a\x7f", b"no graph", identity()[:-3]])
def test_what_is_no_onnx_file_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"truncated|wire type|no graph"):
        with_offsets(data, "features", None)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    path = tmp_path_factory.mktemp("backbone") / "separable.onnx"
    write_separable_backbone(path)
    return read_backbone(path)


def made(
    backbone: Backbone, folder: Path, placement: str, graph: Any = None, first: int = 0
) -> tuple[Bundle, list[GoodImage]]:
    images = [
        GoodImage(f"{seed}.png", lambda seed=seed: varied(seed))
        for seed in range(first, first + 24)
    ]
    graphs = {"int8": graph or (lambda ranges: int8_of(backbone.model, ranges))}
    options = LearnOptions(size=SIZE, memory=200, placement=placement)
    out = folder / f"{placement}.edgead"
    return learn(images[:18], images[18:], backbone, out, options, graphs=graphs), images[:18]


def gaps(bundle: Bundle, images: list[GoodImage]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over images of what int8 is off by at each place, and its spread, [C, H, W]."""
    preprocess = Preprocessor(bundle.manifest.preprocess)
    seen = [np.array(preprocess.run(image.read())[None]) for image in images]
    exact, coarse = (
        np.concatenate([computed(bundle.read(bundle.manifest.models[p]), image) for image in seen])
        for p in ("float32", "int8")
    )
    return (coarse - exact).mean(axis=0), (coarse - exact).std(axis=0)


def test_features_in_int8_are_those_of_float32_at_each_place_on_average(
    backbone: Backbone, tmp_path: Path
) -> None:
    """Where places are used; elsewhere the graph is as it was made. Another bundle's graph is
    corrected anew for the parts of this one."""
    (aligned, images), (loose, _) = (
        made(backbone, tmp_path, placement) for placement in ("aligned", "loose")
    )
    assert aligned.manifest.whitenings and not loose.manifest.whitenings
    plain, corrected = loose.read("model.int8.onnx"), aligned.read("model.int8.onnx")
    assert with_offsets(corrected, "features", None) == plain
    before, (after, spread) = gaps(loose, images)[0], gaps(aligned, images)
    assert np.square(after).mean() < 0.01 * np.square(before).mean()
    assert np.square(after).mean() < 0.01 * np.square(spread).mean()

    def taken(_: Any) -> bytes:
        return corrected

    (tmp_path / "b").mkdir()
    other, others = made(backbone, tmp_path / "b", "aligned", taken, first=100)
    assert other.read("model.int8.onnx") != corrected
    assert np.square(gaps(other, others)[0]).mean() < 0.01 * np.square(before).mean()
    without, _ = made(backbone, tmp_path / "b", "loose", taken)
    assert without.read("model.int8.onnx") == plain


def test_a_graph_that_is_no_onnx_file_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"the graph in int8 is not an ONNX file.*--precision"):
        made(backbone, tmp_path, "aligned", lambda _: b"nothing")
    assert not list(tmp_path.iterdir())


def test_what_is_added_keeps_the_offsets(
    backbone: Backbone, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "INT8_BOUNDS", replace(variants.INT8_BOUNDS, found=1.0))
    bundle, _ = made(backbone, tmp_path, "aligned")
    for folder, seeds in (("new", (100, 101)), ("sample", range(200, 212))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            cv2.imwrite(str(tmp_path / folder / f"{seed}.png"), varied(seed))
    words = ["learn", bundle.path, "--add", tmp_path / "new", "--calibrate", tmp_path / "sample"]
    assert run(*words, "--out", tmp_path / "more.edgead", "--force") == 0, capsys.readouterr().err
    more = (tmp_path / "more.edgead" / "model.int8.onnx").read_bytes()
    assert more == bundle.read("model.int8.onnx")
