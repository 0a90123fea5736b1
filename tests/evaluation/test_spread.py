"""Figures at frame size, by kind and by part, of the detector of conftest."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from edgead_training.data import open_dataset
from edgead_training.evaluation.beside import evaluate_beside
from edgead_training.evaluation.evaluate import evaluate
from edgead_training.evaluation.report import write_report
from sklearn.metrics import roc_auc_score
from slow_figures import aupro_slowly

from edgead.cli.main import main
from edgead.errors import DataError
from edgead.images import read_image


@pytest.fixture
def cracked(tmp_path, save_image, make_part):
    """3 good, 2 with a spot, 2 with a crack of one pixel that no map pixel's centre lies on."""
    root, rng = tmp_path / "cracked", np.random.default_rng(0)
    for index in range(3):
        save_image(root / f"test/good/{index}.png", rng.integers(10, 60, (16, 20)).astype(np.uint8))
    for index, spot in enumerate((90, 200)):
        save_image(root / f"test/spot/{index}.png", make_part(20, spot))
        save_image(root / f"ground_truth/spot/{index}_mask.png", make_part(0, 255))
    for index, shade in enumerate((45, 150)):
        image, mask = make_part(30 + index), np.zeros((16, 20), np.uint8)
        image[2:14, 4], mask[2:14, 4] = shade, 255
        save_image(root / f"test/crack/{index}.png", image)
        save_image(root / f"ground_truth/crack/{index}_mask.png", mask)
    return root


def _truth(detector, samples, limits=(0.3, 0.05)):
    """(pixel AUROC, AUPRO at each limit) of heatmaps and masks as they are."""
    heats = [detector.score(read_image(s.path)).heatmap() for s in samples]
    masks = [
        read_image(s.mask) > 0 if s.mask else np.zeros(h.shape, bool)
        for s, h in zip(samples, heats, strict=True)
    ]
    area = roc_auc_score(np.ravel(masks), np.ravel(heats))
    return [area, *(aupro_slowly(heats, masks, limit) for limit in limits)]


def test_figures_at_frame_size_are_those_of_heatmaps_and_masks_as_they_are(detector, cracked):
    dataset = open_dataset(cracked, purpose="evaluate")
    found = evaluate(detector, dataset)
    keys = [f"frame_size_{key}" for key in ("pixel_auroc", "aupro", "aupro_0_05")]
    truth = _truth(detector, dataset.test)
    assert [found.metrics[key] for key in keys] == pytest.approx(truth, abs=1e-5)
    assert any("Masks without a pixel left" in note and "2." in note for note in found.notes)
    assert abs(found.metrics["aupro"] - truth[1]) > 0.05  # without the cracks


def test_each_kind_is_measured_beside_the_good_ones(detector, cracked):
    dataset = open_dataset(cracked, purpose="evaluate")
    found = evaluate(detector, dataset)
    assert [kind.label for kind in found.kinds] == ["good", "crack", "spot"]
    for kind in found.kinds[1:]:
        labels = ("good", kind.label)
        own = replace(dataset, test=tuple(s for s in dataset.test if s.label in labels))
        assert list(kind.pixels.values()) == pytest.approx(_truth(detector, own.test), abs=1e-5)
        alone = evaluate(detector, own)
        assert kind.auroc == alone.metrics["image_auroc"]
    assert found.kinds[0].auroc is None and set(found.kinds[0].pixels.values()) == {None}


def _by_exposure(put):
    """4 good tiles and 4 with a spot, 5 exposures each; tiles differ more than exposures do."""
    for tile in range(8):
        for exposure in range(5):
            shade = 50 + 5 * (tile % 4) + exposure
            label, spot = ("good", None) if tile < 4 else ("stain", shade + 4)
            name = f"test/{label}/tile{tile}_{exposure}.png"
            root = put(name, brightness=shade, spot=spot)
    return open_dataset(root, purpose="evaluate")


def test_images_of_one_part_are_drawn_together(detector, put):
    dataset = _by_exposure(put)
    apart, together = (evaluate(detector, dataset, group=g) for g in (None, r"tile(\d)_"))
    assert (apart.metrics["parts"], together.metrics["parts"]) == (40, 8)
    widths = [high - low for low, high in (e.intervals()["image_auroc"] for e in (apart, together))]
    assert widths[1] > 1.5 * widths[0]  # 8 draws know less than 40
    assert apart.metrics["image_auroc"] == together.metrics["image_auroc"]
    assert any("from 40 parts drawn anew; each image is taken" in n for n in apart.notes)
    assert any("from 8 parts drawn anew; of so few" in n for n in together.notes)


def test_one_part_has_no_intervals(detector, put):
    root = put("test/good/tile1_a.png", "test/good/tile1_b.png", "test/dent/tile1_c.png")
    found = evaluate(detector, open_dataset(root, purpose="evaluate"), group="tile(.)_")
    assert found.intervals() == {} and found.metrics["parts"] == 1
    assert "No intervals: the test images show one part." in found.notes
    assert found.kinds[1].auroc_interval is None


def test_parts_that_are_learnt_from_too_are_refused_with_their_number(detector, put, capsys):
    put("train/good/tile1_a.png", "train/good/tile2_a.png", "train/good/tile3_a.png")
    root = put("test/good/tile1_b.png", "test/good/tile4_b.png", "test/dent/tile2_b.png")
    with pytest.raises(DataError, match=r"2 of 3 parts of the test set .* \(such as 1: train/"):
        evaluate(detector, open_dataset(root), group=r"tile(\d)_")
    assert main(["evaluate", "x.edgead", str(root), "--group", r"tile(\d)_"]) == 1  # not opened
    assert "2 of 3 parts of the test set" in capsys.readouterr().err
    assert main(["evaluate", "x.edgead", str(root), "--group", r"tale(\d)_"]) == 1
    assert "does not say which part test/dent/tile2_b.png shows" in capsys.readouterr().err
    found = evaluate(detector, open_dataset(root), group="(.+)")
    assert found.metrics["parts"] == 3


def test_a_bundle_beside_itself_is_not_ahead(detector, mvtec):
    dataset = open_dataset(mvtec)
    names = ["a.edgead", "b.edgead"]
    found = evaluate_beside(names, [detector, detector], dataset, lambda _: lambda *_: None)
    assert found.differences()["image_auroc"] == (0.0, (0.0, 0.0))
    assert "frame_size_aupro" in found.differences()


def test_intervals_and_kinds_are_on_the_page_and_in_json(detector, cracked, tmp_path, monkeypatch):
    monkeypatch.setattr("edgead.detector.Detector", lambda *_, **__: detector)
    file, folder = tmp_path / "m.json", tmp_path / "report"
    words = ["evaluate", "x.edgead", str(cracked), "--json", str(file), "--report", str(folder)]
    assert main(words) == 0
    figures = json.loads(file.read_text())
    found = evaluate(detector, open_dataset(cracked, purpose="evaluate"))
    assert figures["intervals"] == {k: list(v) for k, v in found.intervals().items()}
    low, high = figures["intervals"]["frame_size_aupro"]
    assert low <= figures["frame_size_aupro"] <= high
    crack = figures["kinds"]["crack"]
    assert list(crack) == [
        "n", "anomalous", "image_auroc", "image_auroc_interval",
        "frame_size_pixel_auroc", "frame_size_aupro", "frame_size_aupro_0_05",
    ]  # fmt: skip
    page = write_report(found, folder).read_text()
    assert "AUPRO at 0.05, frame size" in page and f"{low:.3f} to {high:.3f}" in page
