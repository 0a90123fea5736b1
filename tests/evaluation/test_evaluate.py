"""The evaluation of a detector whose scores are plain to see: 20 30 60 good; 40 200 250 defects."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from edgead_training.data import Dataset, open_dataset
from edgead_training.evaluation.evaluate import evaluate
from edgead_training.evaluation.gallery import THUMBNAIL, Gallery
from edgead_training.evaluation.report import write_report
from sklearn import metrics as sk

from edgead.bundle.entries import Calibration
from edgead.errors import DataError, InputError
from edgead.images import read_image


@pytest.fixture
def dataset(mvtec):
    return open_dataset(mvtec)


def _only(dataset: Dataset, *labels: str) -> Dataset:
    return replace(dataset, test=tuple(s for s in dataset.test if s.label in labels))


def test_image_figures(detector, dataset, metric_keys):
    found = evaluate(detector, dataset)
    assert tuple(found.metrics) == metric_keys
    assert found.metrics["image_auroc"] == pytest.approx(8 / 9)  # 40 < 60 is the one pair lost
    # 250 and 200 come first with precision 1, then 60, then 40 as the third of four
    assert found.metrics["image_ap"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found.metrics["f1_max"] == pytest.approx(6 / 7)  # at 40: three caught, one rejected
    assert found.metrics["false_reject_promised"] == 0.2
    assert found.metrics["false_reject_reached"] == pytest.approx(1 / 3)
    assert found.metrics["train_seconds"] == 12.5
    assert found.metrics["n_test"] == 6
    assert json.loads(json.dumps(dict(found.metrics))) == found.metrics


def test_pixel_figures(detector, dataset):
    found = evaluate(detector, dataset)
    # Every map pixel is a block of 2 x 2 frame pixels, so AUROC over frames is the same figure.
    used = [s for s in dataset.test if s.label in ("good", "scratch")]
    frames = np.stack([read_image(s.path) for s in used])
    truth = np.stack([read_image(s.mask) if s.mask else np.zeros_like(frames[0]) for s in used])
    expected = sk.roc_auc_score(truth.ravel() > 0, frames.ravel())
    assert found.metrics["pixel_auroc"] == pytest.approx(expected, rel=1e-12)
    # 388 good pixels, 80 of them at 60; regions of 6 pixels at 200 and at 40:
    # PRO is 1/2 from FPR 0 on and 1 from FPR 80/388 on.
    step = 80 / 388
    assert found.metrics["aupro"] == pytest.approx((step / 2 + 0.3 - step) / 0.3)


def test_images_kinds_and_counts(detector, dataset):
    found = evaluate(detector, dataset)
    outcomes = {image.name: image.outcome for image in found.images}
    assert outcomes == {
        "test/good/0.png": "passed",
        "test/good/1.png": "passed",
        "test/good/2.png": "rejected",
        "test/scratch/0.png": "missed",
        "test/scratch/1.png": "caught",
        "test/dent/0.png": "caught",
    }
    kinds = [(k.label, k.n, k.anomalous, k.auroc, k.median_score) for k in found.kinds]
    assert kinds == [
        ("good", 3, 1, None, 30.0),
        ("dent", 1, 1, 1.0, 250.0),
        ("scratch", 2, 1, pytest.approx(5 / 6), 120.0),
    ]
    assert [found.count(o) for o in ("missed", "rejected", "caught", "passed")] == [1, 1, 2, 2]
    assert found.quantiles["good"][3] == 30.0
    assert (found.name, found.data_name, found.n_calibration) == ("bright", "parts", 4)
    assert found.latency_ms == {"median": 2.0, "p95": 2.0}
    assert {r.frame_size for r in found.images} == {(16, 20)}
    assert any("without mask" in note for note in found.notes)
    assert any("only 3" in note for note in found.notes)


def test_files_of_several_pages_are_noted(detector, dataset):
    path = dataset.test[0].path
    image = read_image(path)
    path.write_bytes(cv2.imencodemulti(".tiff", [image, image])[1].tobytes())  # content counts
    notes = evaluate(detector, dataset).notes
    said = f"1 of {len(dataset.test)} files have more than one page: the first was read."
    assert said in notes


def test_figures_of_each_category_beside_the_pooled_ones(detector, two):
    found = evaluate(detector, open_dataset(two, purpose="evaluate"))
    assert found.metrics["image_auroc"] == pytest.approx(5 / 6)  # 40 is above 20 and 30, not 60
    bottle, cable = found.categories
    assert (bottle.name, bottle.n, bottle.image_auroc) == ("bottle", 3, 1.0)
    assert (bottle.pixel_auroc, bottle.false_reject_reached) == (1.0, 0.0)
    assert (cable.name, cable.n, cable.image_auroc) == ("cable", 2, 0.0)
    assert (cable.pixel_auroc, cable.aupro, cable.false_reject_reached) == (None, None, 1.0)
    means = found.category_means()
    assert (means["image_auroc"], means["pixel_auroc"]) == (0.5, None)
    assert means["false_reject_reached"] == 0.5
    alone = evaluate(detector, open_dataset(two, purpose="evaluate", category="cable"))
    assert alone.categories == () and alone.metrics["image_auroc"] == 0.0


def test_more_false_rejects_than_chance_allows_are_noted(detector, dataset, save_image, make_part):
    said = "that 20 % promised lets be expected"
    assert not any(said in note for note in evaluate(detector, dataset).notes)  # 1 of 3: may be
    good = [sample for sample in dataset.test if sample.is_good]
    for brightness, sample in enumerate(good, 60):  # three contents: copies would count once
        save_image(sample.path, make_part(brightness))
    few = evaluate(detector, dataset)  # 3 of 3, by 4 images: 1 in 35 times (beta-binomial)
    assert few.within_chance == (0, 3)
    assert not any(said in note for note in few.notes)
    many = (20.0,) * 39 + (50.0,)
    detector.bundle.manifest.calibration = Calibration(many, many, 0.2)
    found = evaluate(detector, dataset)  # by 40 images: 1 in 103 times
    assert found.within_chance == (0, 2)
    (note,) = (note for note in found.notes if said in note)
    assert "3 of 3" in note and "edgead calibrate" in note
    detector.bundle.manifest.calibration = Calibration(many, many, 0.2, parts=(1, 2, 3, 4) * 10)
    of_parts = evaluate(detector, dataset)  # 40 images know as much as the 4 parts they show
    assert (of_parts.n_calibration, of_parts.within_chance) == (4, (0, 3))


def test_progress_is_told_of_every_image(detector, dataset):
    steps = []
    evaluate(detector, dataset, lambda done, total: steps.append((done, total)))
    assert steps == [(i, 6) for i in range(1, 7)]


def test_without_masks_there_are_no_pixel_figures(detector, dataset):
    found = evaluate(detector, _only(dataset, "good", "dent"))
    assert found.metrics["pixel_auroc"] is None
    assert found.metrics["aupro"] is None
    assert found.metrics["image_auroc"] == 1.0


def test_one_class_only(detector, dataset, tmp_path):
    good = evaluate(detector, _only(dataset, "good"), gallery=5)
    assert good.metrics["image_auroc"] is None
    assert good.metrics["f1_max"] is None
    assert good.metrics["false_reject_reached"] == pytest.approx(1 / 3)
    defects = evaluate(detector, _only(dataset, "scratch"), gallery=5)
    assert defects.metrics["image_auroc"] is None
    assert defects.metrics["false_reject_reached"] is None
    for found in (good, defects):  # and a page can be made of them
        assert write_report(found, tmp_path / "page").stat().st_size > 1000


def test_a_mask_too_small_for_the_map_is_told(detector, dataset, save_image):
    sample = next(s for s in dataset.test if s.mask is not None)
    mask = np.zeros((16, 20), np.uint8)
    mask[4, 6] = 255  # map pixels look at odd rows and columns: nearest neighbour misses this one
    save_image(sample.mask, mask)
    assert any("without a pixel left" in note for note in evaluate(detector, dataset).notes)


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda mask: mask * 0, "mark no pixel: 1"),
        (lambda mask: mask * 0 + 255, "mark the whole image: 1"),
        (lambda mask: 255 - mask, "look inverted"),
        (lambda mask: mask, None),
        (lambda mask: np.pad(mask[2:-2, 2:-2] * 0 + 255, 2), None),  # large, amid the image
    ],
)
def test_masks_that_say_nothing_are_counted(detector, dataset, save_image, fill, said):
    sample = next(s for s in dataset.test if s.mask is not None)
    mask = np.zeros((16, 20), np.uint8)
    mask[4:8, 6:12] = 255
    save_image(sample.mask, fill(mask).astype(np.uint8))
    notes = [note for note in evaluate(detector, dataset).notes if note.startswith("Masks")]
    assert [said in note for note in notes] == ([] if said is None else [True])


def test_bad_input(detector, dataset, mvtec, save_image, make_part):
    with pytest.raises(DataError, match=r"no test set.*test/good"):
        evaluate(detector, replace(dataset, test=()))
    save_image(mvtec / "ground_truth/scratch/1_mask.png", make_part(0, 255, size=(20, 16)))
    with pytest.raises(DataError, match=r"1_mask\.png is 20x16"):
        evaluate(detector, dataset)
    (mvtec / "test/scratch/0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"scratch.0\.png"):
        evaluate(detector, dataset)


# ---------------------------------------------------------------------------------------- gallery


def test_gallery_shows_mistakes_first_then_close_calls(detector, dataset):
    names = [p.image.name for p in evaluate(detector, dataset, gallery=60).pictures]
    assert names == [
        "test/scratch/0.png",  # missed
        "test/good/2.png",  # rejected
        "test/scratch/1.png",  # caught, closest call first
        "test/dent/0.png",
        "test/good/1.png",  # passed, closest call first
        "test/good/0.png",
    ]


def test_gallery_thumbnails_are_the_images(detector, dataset):
    first = evaluate(detector, dataset, gallery=1).pictures[0]
    frame, overlay, mask = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        for data in (first.frame, first.overlay, first.mask)
    )
    original = read_image(dataset.root / first.image.name)
    assert first.size == original.shape == frame.shape == overlay.shape[:2]
    assert np.abs(frame.astype(int) - original).mean() < 3  # JPEG
    np.testing.assert_array_equal(mask > 0, read_image(dataset.root / MASK_0) > 0)


MASK_0 = "ground_truth/scratch/0_mask.png"


@dataclass
class _Drawable:
    """What a gallery asks of a Result."""

    frame: np.ndarray

    def overlay(self) -> np.ndarray:
        return self.frame


def _offer(gallery: Gallery, outcome: str, score: float, label: str = "dent", **given) -> None:
    label = label if outcome in ("missed", "caught") else "good"
    name = f"{outcome} {label} {score:g}"
    image = SimpleNamespace(
        name=name, label=label, is_good=label == "good", outcome=outcome, score=score
    )
    frame = given.get("frame", np.zeros((4, 4), np.uint8))
    gallery.offer(image, frame, _Drawable(frame), given.get("mask"))


def _names(gallery: Gallery) -> list[str]:
    return [picture.image.name for picture in gallery.selection()]


def test_gallery_keeps_the_most_telling_whatever_their_order():
    gallery = Gallery(4)
    for score in np.random.default_rng(0).permutation(50):
        _offer(gallery, "missed", float(score))
        _offer(gallery, "rejected", float(score))
    assert _names(gallery) == [
        "missed dent 0",
        "missed dent 1",
        "rejected good 49",
        "rejected good 48",
    ]


def test_gallery_keeps_a_third_for_what_went_right_from_all_kinds():
    gallery = Gallery(9)
    for score in range(30):
        _offer(gallery, "missed", score)
        for label in ("dent", "hole"):
            _offer(gallery, "caught", 100 + score, label)
        _offer(gallery, "passed", score)
    names = _names(gallery)
    assert names[:6] == [f"missed dent {i}" for i in range(6)]
    assert names[6:] == ["caught dent 100", "caught hole 100", "passed good 29"]


def test_gallery_without_mistakes_is_full_of_the_rest():
    gallery = Gallery(3)
    for score in range(5):
        _offer(gallery, "caught", score)
    assert _names(gallery) == [f"caught dent {i}" for i in range(3)]
    assert Gallery(0).selection() == ()


def test_gallery_draws_only_what_it_keeps():
    gallery = Gallery(2)
    for score in range(2):
        _offer(gallery, "missed", score)
    # Refused before anything is drawn: no array, no overlay is asked for.
    image = SimpleNamespace(name="x", label="dent", is_good=False, outcome="missed", score=5.0)
    gallery.offer(image, None, None, None)
    assert _names(gallery) == ["missed dent 0", "missed dent 1"]


def test_thumbnails_are_small_and_keep_single_defect_pixels():
    frame = np.zeros((3000, 1500, 3), np.uint16)
    frame[:, 700:] = 4095  # 12 bits of 16: stretched for the eye
    mask = np.zeros(frame.shape[:2], bool)
    mask[2999, 0] = True
    gallery = Gallery(1)
    _offer(gallery, "missed", 1.0, frame=frame, mask=mask)
    picture = gallery.selection()[0]
    assert picture.size == (THUMBNAIL, THUMBNAIL // 2)
    image = cv2.imdecode(np.frombuffer(picture.frame, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (THUMBNAIL, THUMBNAIL // 2, 3)
    assert image[:, :60].max() < 10  # JPEG
    assert image[:, 90:].min() > 245
    small = cv2.imdecode(np.frombuffer(picture.mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.argwhere(small).tolist() == [[THUMBNAIL - 1, 0]]
