"""Whole ways from a folder to a verdict: several categories, few images, a video of one camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_export import ExportOptions, export_run
from edgead_training.data import open_dataset
from edgead_training.evaluation.evaluate import evaluate
from edgead_training.fit import Bounds
from edgead_training.run import Run, train
from edgead_training.run_record import TrainingOptions
from sklearn.metrics import roc_auc_score

import edgead
from edgead.bundle.storage import Bundle
from edgead.images import read_image

# A window of 3x3 would be most of the 4x4 positions of the last level.
AGPNET = {"size": [64, 64], "width": 16, "heads": 2, "blocks": 1, "batch_size": 2, "window": 1}
ARNET = {"size": [64, 64], "width": 0.125, "batch_size": 4}


def _run(method: str, data: Path, out: Path, settings: dict, steps: int, **choices) -> Run:
    return train(TrainingOptions(method, data, out, settings, 0, Bounds(steps=steps), **choices))


def _exported(run: Run) -> Bundle:
    """The bundle of ``run``; the exporter holds its graph against torch."""
    out = run.path.with_suffix(".edgead")
    return export_run(run.path, out, ExportOptions(float16=False), log=lambda _: None)


def _scores_of_good_and_marked(detector: edgead.Detector, path: Path) -> tuple[float, float]:
    good = read_image(path)
    marked, (height, width) = good.copy(), good.shape[:2]
    chess = np.indices((height // 4, width // 4)).sum(0) // 4 % 2 * np.iinfo(good.dtype).max
    chess = chess.astype(good.dtype).reshape(*chess.shape, *[1] * (good.ndim - 2))
    marked[height // 3 : height // 3 + height // 4, width // 3 : width // 3 + width // 4] = chess
    first, second = detector.score(good), detector.score(marked)
    assert all(np.isfinite(each.map).all() and 0 < each.p_value <= 1 for each in (first, second))
    return first.score, second.score


@pytest.fixture
def kinds(tmp_path) -> Path:
    """Three categories of six parts: other shapes, sizes, colours and depths."""
    root, rng = tmp_path / "kinds", np.random.default_rng(0)
    for name, shape, dtype in (("disc", (80, 72, 3), np.uint8), ("bar", (64, 96), np.uint8),
                               ("deep", (70, 70), np.uint16)):  # fmt: skip
        for number in range(6):
            unit = np.iinfo(dtype).max // 255
            image = np.full(shape, 90 * unit, dtype)
            light = int(rng.integers(150, 200)) * unit
            place = (36 + int(rng.integers(-2, 3)), 34)
            if name == "disc":
                cv2.circle(image, place, 20, (60, 120, light), -1)
            else:
                image[24:40, 10:-10] = light
            path = root / name / f"train/good/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image += rng.integers(0, 8, shape).astype(dtype) * dtype(unit)
            assert cv2.imwrite(str(path), image)
    return root


@pytest.mark.parametrize("position", [True, False])
def test_agpnet_learns_several_categories_into_one_bundle(kinds, tmp_path, position):
    settings = AGPNET | {"position": position}
    run = _run("agpnet", kinds, tmp_path / "run", settings, 20)
    assert {s.category for s in run.train} == {"bar", "deep", "disc"}
    bundle = _exported(run)
    assert bundle.manifest.provenance["data"]["categories"] == ["bar", "deep", "disc"]
    detector = edgead.Detector(bundle)
    for category in ("bar", "deep", "disc"):
        sample = next(s for s in run.calibration if s.category == category)
        good, marked = _scores_of_good_and_marked(detector, sample.path)
        assert marked > good, category


def test_agpnet_learns_from_two_images(parts, tmp_path):
    run = _run("agpnet", parts, tmp_path / "run", AGPNET, 20, shots=2)
    assert len(run.train) == 2 and len(run.calibration) == 2
    good, marked = _scores_of_good_and_marked(
        edgead.Detector(_exported(run)), run.calibration[0].path
    )
    assert marked > good


@pytest.fixture
def camera(tmp_path) -> Path:
    """ShanghaiTech's folders: a disc that crosses the scene, and in some test frames a square."""
    root = tmp_path / "camera"

    def write(folder: str, number: int, odd: bool) -> None:
        image = np.full((64, 64, 3), 90, np.uint8)
        image[40:] = (60, 90, 60)
        cv2.circle(image, (10 + 4 * (number % 12), 36), 6, (60, 120, 200), -1)
        if odd:
            image[8:24, 30:46] = (255, 255, 255)
        path = root / folder / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)

    for number in range(24):
        write("training/frames/01", number, False)
    masks = root / "testing/test_frame_mask"
    masks.mkdir(parents=True)
    for video, odd in (("01_01", range(4, 8)), ("01_02", range(0))):
        for number in range(12):
            write(f"testing/frames/{video}", number, number in odd)
        np.save(masks / f"{video}.npy", np.array([n in odd for n in range(12)], np.int8))
    return root


def test_arnet_learns_a_camera_and_tells_the_frames_that_differ(camera, tmp_path):
    """From the layout "frames" through bundle and evaluation to the frame-level AUROC."""
    run = _run("arnet", camera, tmp_path / "run", ARNET, 40)
    assert run.provenance["data"]["layout"] == "frames"
    dataset = open_dataset(camera, purpose="evaluate")
    detector = edgead.Detector(_exported(run))
    found = evaluate(detector, dataset)
    values, labels = [], []
    for video in ("01_01", "01_02"):
        samples = [s for s in dataset.test if f"/{video}/" in s.name]
        scores = np.array([detector.score(read_image(s.path)).score for s in samples])
        values += list((scores - scores.min()) / np.ptp(scores))
        labels += [not s.is_good for s in samples]
    assert sum(labels) == 4 and len(labels) == 24
    area = roc_auc_score(labels, values)
    assert found.metrics["frame_auroc"] == pytest.approx(area, abs=1e-12)
    assert found.metrics["frame_auroc"] > 0.8  # a white square where nothing ever was
