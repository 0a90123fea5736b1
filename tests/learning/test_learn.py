"""Bundles that are learnt: what they compute against float64, promise and refuse."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from good_parts import part, scratched  # type: ignore[import-not-found]
from learnt_truth import array_in, truth  # type: ignore[import-not-found]

import edgead
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, open_bundle, write_bundle
from edgead.errors import BundleError, CalibrationError, InputError
from edgead.learning.backbone import read_backbone
from edgead.learning.learn import GoodImage, LearnOptions, border_share, learn


def files_of(bundle: Bundle) -> dict[str, bytes]:
    return {name: bundle.read(name) for name in bundle.manifest.files}


@pytest.mark.parametrize("make", [part, scratched])
def test_scores_are_those_of_float64(learnt: Bundle, make: Any) -> None:
    frame = make(77)
    with edgead.Detector(learnt, device="cpu") as detector:
        result = detector.score(frame)
    expected, score = truth(learnt, frame)
    # Two engines in float32: 1e-6 of a feature, of which a distance is a difference of squares
    np.testing.assert_allclose(result.map, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert result.score == pytest.approx(score, rel=1e-3)


def test_a_scratch_is_found_and_good_parts_are_not_rejected(learnt: Bundle) -> None:
    with edgead.Detector(learnt, device="cpu") as detector:
        assert all(detector.score(scratched(seed)).is_anomalous for seed in range(100, 110))
        rejected = sum(detector.score(part(seed)).is_anomalous for seed in range(100, 140))
        result = detector.score(scratched(100))
    # promised: 1/7 of new parts on average; 15 of 40 would be chance once in 2000 such sets
    assert detector.false_reject_rate == pytest.approx(1 / 7) and rejected < 15
    y, x = np.unravel_index(int(result.heatmap().argmax()), result.heatmap().shape)
    assert 25 <= y <= 57 and 33 <= x <= 65


def test_the_manifest_tells_what_was_learnt(learnt: Bundle) -> None:
    manifest = learnt.manifest
    (memory,) = manifest.memories
    assert (manifest.schema_version, manifest.method, manifest.pairs) == (2, "instant", ())
    assert (memory.features, memory.channels, memory.size) == ("features", 14, (16, 16))
    kept = array_in(learnt, "memory.npy")
    assert kept.shape == (200, 14) and kept.dtype == np.float16 and kept.flags.c_contiguous
    assert manifest.provenance["learn"]["backbone"]["name"] == "small"
    assert manifest.provenance["learn"]["kept"] == 200
    assert len(manifest.calibration.scores) == 6 and len(manifest.golden) == 4
    assert Manifest.loads(manifest.dumps()) == manifest


def test_learning_again_keeps_the_same(learnt: Bundle, images, backbone_file, tmp_path) -> None:
    options = LearnOptions(size=(64, 64), memory=200)
    again = learn(
        images[:18], images[18:], read_backbone(backbone_file), tmp_path / "disc.edgead", options
    )
    assert again.manifest.files == learnt.manifest.files
    other = replace(options, seed=1)
    once = learn(
        images[:18], images[18:], read_backbone(backbone_file), tmp_path / "disc.edgead", other
    )
    assert once.manifest.files["memory.npy"] != learnt.manifest.files["memory.npy"]


def test_few_images_keep_what_they_have(images, backbone_file, tmp_path) -> None:
    backbone = read_backbone(backbone_file)
    bundle = learn(images[:1], images[1:2], backbone, tmp_path / "few.edgead",
                   LearnOptions(size=(64, 64)))  # fmt: skip
    assert array_in(bundle, "memory.npy").shape == (256, 14)  # every position of the one image
    assert bundle.manifest.calibration.false_reject_rate == 0.5


def test_tall_images(images, backbone_file, tmp_path) -> None:
    backbone = read_backbone(backbone_file)
    options = LearnOptions(size=(128, 32), memory=64)
    bundle = learn(images[:6], images[6:9], backbone, tmp_path / "tall.edgead", options)
    assert bundle.manifest.memories[0].size == (32, 8) and bundle.manifest.map.size == (128, 32)


def test_border_share_is_that_of_averaging_a_map_of_ones() -> None:
    import torch

    for size in ((1, 1), (1, 5), (2, 2), (3, 7), (16, 16)):
        ones = torch.ones(1, 1, *size, dtype=torch.float64)
        shares = torch.nn.functional.avg_pool2d(ones, 3, stride=1, padding=1)[0, 0].numpy()
        np.testing.assert_allclose(border_share(size), shares, rtol=1e-6)


def test_bad_input(images, backbone_file, tmp_path) -> None:
    backbone, out = read_backbone(backbone_file), tmp_path / "x.edgead"
    with pytest.raises(InputError, match="0 images to learn from and 3 to calibrate with"):
        learn([], images[:3], backbone, out)
    with pytest.raises(InputError, match="multiples of 8"):
        learn(images[:2], images[2:4], backbone, out, LearnOptions(size=(64, 60)))
    with pytest.raises(CalibrationError, match=r"1 in 3|0\.333"):
        options = LearnOptions(size=(64, 64), false_reject_rate=0.01)
        learn(images[:2], images[2:4], backbone, out, options)
    with pytest.raises(InputError, match=r"memory=0: expected .* at least 1"):
        LearnOptions(memory=0)
    with pytest.raises(InputError, match=r"seed=-1: expected .* at least 0"):
        LearnOptions(seed=-1)
    broken = GoodImage("broken", lambda: edgead.read_image(tmp_path / "none.png"))
    with pytest.raises(InputError, match=r"none\.png"):
        learn([images[0], broken], images[2:4], backbone, out, LearnOptions(size=(64, 64)))
    assert not out.exists()


@pytest.mark.parametrize("change", [{"channels": 13}, {"stride": 8}, {"name": "other"}])
def test_a_backbone_whose_facts_are_not_those_of_its_graph(
    images, backbone_file, tmp_path, change
) -> None:
    backbone = read_backbone(backbone_file)
    features = replace(backbone.facts.features, **change)
    wrong = replace(backbone, facts=replace(backbone.facts, features=features))
    with pytest.raises(InputError, match=r"backbone small: its graph is not what.*edgead backbone"):
        learn(images[:2], images[2:4], wrong, tmp_path / "x.edgead", LearnOptions(size=(64, 64)))


def test_a_failed_learn_leaves_the_old_bundle(learnt, images, backbone_file, tmp_path) -> None:
    out = tmp_path / "disc.edgead"
    shutil.copytree(learnt.path, out)
    broken = GoodImage("broken", lambda: edgead.read_image(tmp_path / "none.png"))
    with pytest.raises(InputError):
        learn(images[:4], [broken], read_backbone(backbone_file), out, LearnOptions(size=(64, 64)))
    assert open_bundle(out).sha256 == learnt.sha256


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("memory.npy", b"no array", "not a NumPy array"),
        ("memory.npy", npy(np.zeros((5, 13), np.float32)), r"\[5, 13\].*\[rows, 14\]"),
        ("memory.npy", npy(np.zeros((0, 14), np.float32)), "at least"),
        ("memory.npy", npy(np.full((5, 14), np.nan, np.float32)), "NaN"),
        ("memory.npy", npy(np.zeros((5, 14), np.int8)), "float32 or float16"),
        ("places.npy", npy(np.ones((16, 15), np.float32)), r"\[16, 16\]"),
        ("places.npy", npy(-np.ones((16, 16), np.float32)), "not negative"),
        ("places.npy", npy(np.full((16, 16), np.inf, np.float32)), "finite"),
        ("memory.npy", npy(np.zeros((5, 14), np.float32)), "does not reproduce"),
    ],
)
def test_changed_files_are_refused(learnt, tmp_path, name, content, sentence) -> None:
    files = files_of(learnt) | {name: content}
    bundle = write_bundle(tmp_path / "bad.edgead", learnt.manifest, files)
    with pytest.raises((BundleError, edgead.QualificationError), match=sentence):
        edgead.Detector(bundle, device="cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 1}, "schema version 2"),
        ({"memories": ()}, "pairs: none; expected at least one, or a memory"),
        ({"schema_version": 3}, "upgrade edgead"),
    ],
)
def test_manifests_that_contradict_themselves(learnt, change, sentence) -> None:
    with pytest.raises(BundleError, match=sentence):
        Manifest.loads(replace(learnt.manifest, **change).dumps())


def test_a_memory_that_is_no_file_of_the_bundle(learnt, tmp_path) -> None:
    files = files_of(learnt)
    del files["places.npy"]
    with pytest.raises(BundleError, match=r"places\.npy"):
        write_bundle(tmp_path / "bad.edgead", learnt.manifest, files)


def test_bundles_without_a_memory_are_of_the_first_schema(tiny: Any) -> None:
    value = json.loads(tiny.manifest.dumps())
    assert value["schema_version"] == 1 and "memories" not in value
