"""Early figures, the run's page, and the precision of a training."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from edgead_training import precision, run
from edgead_training.data import open_dataset
from edgead_training.data.synthetic_defects import add_defect
from edgead_training.early import EarlyFigures
from edgead_training.fit import Bounds, Interrupted
from edgead_training.progress import Bar, Reporter
from edgead_training.run_page import write_page
from edgead_training.run_record import TrainingOptions
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from edgead.anomaly_map import MapParams
from edgead.errors import TrainingError
from edgead.images import read_image
from edgead.preprocess import PreprocessParams, preprocess


class Greyness(torch.nn.Module):
    """A method that finds bright red what it has not learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def preprocess_params(self) -> PreprocessParams:
        return PreprocessParams((64, 64), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), None)

    def map_params(self) -> MapParams:
        return MapParams((64, 64), "l1", (1.0,), blur_sigma=0.0, pooling="mean")

    def forward(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        red = images[:, :1] * self.weight
        return [(red, torch.zeros_like(red))]


def _train(parts: Path, out: Path, steps=16, stop_at=None, resume=False, asked=None):
    seen, told, lines = [], [], []

    def update(*_):
        seen.append(None)
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = {"size": [64, 64], "batch_size": 2}
    options = TrainingOptions(
        "arnet", parts, out, settings | {"width": 0.0625}, 0, Bounds(steps=steps), precision=asked
    )
    reporter = Reporter(log=lines.append, bar=Bar(update=update, early=told.append))
    run.train(options, resume=resume, reporter=reporter)
    return json.loads((out / "run.json").read_text()), told, lines


def _same(one: Path, two: Path) -> bool:
    a, b = (load_file(out / "model.safetensors") for out in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_figure_is_that_of_good_images_and_their_defective_copies(parts):
    samples = open_dataset(parts).train[:5]
    rng, scores, labels = np.random.default_rng(0), [], []
    for sample in samples:
        frame = read_image(sample.path)
        copies = [add_defect(frame, rng, at_border=reach)[0] for reach in (False, True)]
        for image in (frame, *copies):
            red = preprocess(image, Greyness().preprocess_params())[0]
            scores.append(np.abs(red.astype(np.float64)).mean())
        labels += [False, True, True]
    found = EarlyFigures(Greyness(), samples)(Greyness())
    assert found == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert 0.05 < found < 0.95  # neither is told apart by chance of the sign


def test_nothing_of_the_training_depends_on_them(parts, tmp_path, monkeypatch):
    record, told, _ = _train(parts, tmp_path / "with")
    assert [row["step"] for row in record["early"]] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert told == [row["image_auroc"] for row in record["early"]]
    assert all(0 <= value <= 1 for value in told)
    monkeypatch.setattr(run, "EarlyFigures", lambda *_: None)
    record, told, _ = _train(parts, tmp_path / "without")
    assert record["early"] == told == []
    assert _same(tmp_path / "with", tmp_path / "without")


@pytest.mark.parametrize("asked", ["bfloat16", "float32"])
def test_in_each_precision_a_resumed_run_is_as_if_never_stopped(parts, tmp_path, asked):
    whole, _, lines = _train(parts, tmp_path / "whole", asked=asked)
    assert whole["precision"] == asked
    assert ("device cpu, in bfloat16" in lines) == (asked == "bfloat16")
    with pytest.raises(Interrupted):
        _train(parts, tmp_path / "run", asked=asked, stop_at=7)
    other = "float32" if asked == "bfloat16" else "bfloat16"
    with pytest.raises(TrainingError, match=f"begun with --precision {asked}, not {other}"):
        _train(parts, tmp_path / "run", asked=other, resume=True)
    resumed, _, _ = _train(parts, tmp_path / "run", resume=True)
    assert resumed["early"] == whole["early"] and resumed["precision"] == asked
    assert _same(tmp_path / "whole", tmp_path / "run")


def test_the_precision_is_that_of_the_processor_unless_asked_for(parts, tmp_path, monkeypatch):
    models = []
    for fast in (True, False):
        monkeypatch.setattr(precision, "has_bfloat16", lambda fast=fast: fast)
        record, _, _ = _train(parts, tmp_path / str(fast), steps=2)
        assert record["precision"] == ("bfloat16" if fast else "float32")
        assert "--precision" not in record["command"]
        models.append(tmp_path / str(fast))
    assert not _same(*models)
    provenance = run.load_run(models[0]).provenance
    assert provenance["precision"] == "bfloat16"


def test_the_page_of_the_run_shows_figures_and_losses(parts, tmp_path):
    record, told, _ = _train(parts, tmp_path / "<run>")
    page = (tmp_path / "<run>" / "training.html").read_text(encoding="utf-8")
    assert f"image AUROC {told[-1]:.3f} on synthetic defects" in page
    assert page.count("<svg") == 2 and "&lt;run&gt;" in page and "<run>" not in page
    titles = re.findall(r"<title>step (\d+): ([\d.]+)</title>", page)
    shown = {(int(step), float(value)) for step, value in titles}
    assert {(row["step"], float(f"{row['image_auroc']:.4g}")) for row in record["early"]} <= shown
    write_page(tmp_path, record | {"early": []})
    assert (tmp_path / "training.html").read_text().count("<svg") == 1
