"""--add to bundles with graphs in other precisions: the graphs stay, and are calibrated again."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_export.half_graph import halved
from edgead_export.int8.features import int8_of
from good_parts import (  # type: ignore[import-not-found]
    varied,
    with_label,
    write_separable_backbone,
)
from steps import digests, run  # type: ignore[import-not-found]

import edgead
from edgead.bundle.card import CARD
from edgead.bundle.storage import open_bundle
from edgead.learning import adding, variants
from edgead.learning.backbone import read_backbone
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions, learn

HALF, BYTES = "model.fp16.onnx", "model.int8.onnx"
ADDED = range(200, 204)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all three graphs."""
    folder = tmp_path_factory.mktemp("old")
    write_separable_backbone(folder / "separable.onnx")
    network = read_backbone(folder / "separable.onnx")
    images = [GoodImage(f"{seed}.png", lambda seed=seed: varied(seed)) for seed in range(24)]
    graphs = {
        "float16": lambda ranges: halved(network.model, ranges),
        "int8": lambda ranges: int8_of(network.model, ranges),
    }
    options = LearnOptions(size=(64, 64), memory=200)
    learn(images[:18], images[18:], network, folder / "disc.edgead", options, graphs=graphs)
    return folder / "disc.edgead"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("line")
    for name, images in (
        ("added", {seed: with_label(seed) for seed in ADDED}),
        ("sample", {seed: varied(seed) for seed in range(400, 412)}),
    ):
        (folder / name).mkdir()
        for seed, image in images.items():
            cv2.imwrite(str(folder / name / f"{seed}.png"), image)
    return ["--add", folder / "added", "--calibrate", folder / "sample", "--force"]


def test_graphs_stay_and_have_calibrations_of_the_new_bundle(old, line, tmp_path, capsys) -> None:
    out, back = tmp_path / "new.edgead", tmp_path / "back.edgead"
    assert run("learn", old, *line, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["precisions"] == ["float32", "float16", "int8"]
    assert not any("graph" in warning for warning in told["warnings"])
    before, after = open_bundle(old).manifest, open_bundle(out).manifest
    assert after.models == before.models and set(after.tolerance) == set(before.tolerance)
    for name in before.models.values():
        assert after.files[name] == before.files[name]
    own = after.calibration.own["int8"]
    assert len(own.scores) == 12 and own.scores != after.calibration.scores
    assert after.provenance["learn"]["int8"]["images"] == 12
    with edgead.Detector(out, device="cpu") as exact:
        known = np.array([exact.score(varied(seed)).score for seed in range(400, 412)])
    raised = np.array(after.calibration.scores) / known
    assert np.sort(raised)[:-1] == pytest.approx(1, rel=1e-6)  # but for the highest level
    with edgead.Detector(out, device="cpu", precision="int8") as detector:
        found = np.array([detector.score(varied(seed)).score for seed in range(400, 412)])
        assert found * raised == pytest.approx(own.scores, rel=1e-6)
        assert detector.score(255 - varied(9)).is_anomalous
        assert not any(detector.score(with_label(seed)).is_anomalous for seed in ADDED)
    assert run("learn", out, "--forget", "--out", back) == 0
    assert digests(back) == digests(old)


@pytest.mark.parametrize(
    ("kept", "left"),
    [(["float32"], set()), (["int8"], {BYTES}), (["float16"], {HALF}),
     (["int8", "float16"], {BYTES, HALF})],
)  # fmt: skip
def test_some_graphs_are_left_out_on_request_and_come_back(old, line, tmp_path, kept, left) -> None:
    """What is left out is nowhere but in the parent, also two generations on."""
    first, second = tmp_path / "first.edgead", tmp_path / "second.edgead"
    precisions = [word for name in kept for word in ("--precision", name)]
    assert run("learn", old, *line, "--out", first, *precisions) == 0
    manifest = open_bundle(first).manifest
    assert set(manifest.models) == {"float32", *kept} == set(manifest.tolerance)
    own = {name for name in manifest.files if not name.startswith("parent/")}
    assert own & {HALF, BYTES} == left
    more = tmp_path / "more"
    more.mkdir()
    cv2.imwrite(str(more / "one.png"), with_label(300))
    assert run("learn", first, "--add", more, *line[2:], "--out", second) == 0
    assert run("learn", second, "--forget", "--out", second) == 0
    assert digests(second) == digests(first)
    assert run("learn", second, "--forget", "--out", second) == 0
    assert digests(second) == digests(old)


def test_no_file_of_a_new_bundle_is_unused(old, line, tmp_path) -> None:
    out = tmp_path / "new.edgead"
    assert run("learn", old, *line, "--out", out, "--precision", "int8") == 0
    text = (out / "manifest.json").read_text()
    for name in open_bundle(out).manifest.files:
        if name != CARD and not name.startswith("parent/"):  # the card is for people
            assert text.count(f'"{name}"') >= 2, name  # its digest, and what it is used for


def test_a_precision_that_the_bundle_lacks_is_refused(old, line, tmp_path, capsys) -> None:
    plain = tmp_path / "plain.edgead"
    assert run("learn", old, *line, "--out", plain, "--precision", "float32") == 0
    out = tmp_path / "new.edgead"
    assert run("learn", plain, *line, "--out", out, "--precision", "int8") == 1
    assert run("learn", plain, "--forget", "--out", out, "--precision", "int8") == 1
    assert "--precision does not go with --forget" in capsys.readouterr().err and not out.exists()


def test_a_graph_that_costs_too_much_now_is_refused_with_the_cure(
    old, line, tmp_path, monkeypatch, capsys
) -> None:
    """The old bundle stays, and nothing falls back to float32 unasked."""
    monkeypatch.setattr(variants, "faults", lambda *_: ["the score differs by 9"])
    before, out = digests(old), tmp_path / "new.edgead"
    assert run("learn", old, *line, "--out", out) == 2
    error = capsys.readouterr().err
    assert "int8 costs too much" in error and "--precision" in error
    assert not out.exists() and digests(old) == before
    assert run("learn", old, *line, "--out", out, "--precision", "float16") == 0


def test_graphs_are_not_made_again(old, line, tmp_path, monkeypatch) -> None:
    seen: list[np.ndarray] = []
    original = adding.with_graphs

    def watching(draft, graphs, images, *rest):
        seen.extend(images)
        return original(draft, graphs, images, *rest)

    monkeypatch.setattr(adding, "with_graphs", watching)
    assert run("learn", old, *line, "--out", tmp_path / "new.edgead") == 0
    assert not seen  # no image is read to set ranges that are set already
