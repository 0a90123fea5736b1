"""benchmarks/methods.py: what is measured, what is not measured twice, stops and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from edgead_training import run as training
from edgead_training.data import open_dataset
from edgead_training.fit import Bounds
from edgead_training.progress import Bar
from edgead_training.run_record import TrainingOptions
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import edgead
from edgead.errors import TrainingError
from edgead.images import read_image

SETTINGS = {"size": [64, 64], "width": 0.0625, "batch_size": 2}


def entries(folder: Path) -> list[dict]:
    return json.loads((folder / "m.json").read_text())


def run_folder(folder: Path, seed: int) -> Path:
    (found,) = (folder / "work").glob(f"discs-arnet-edge-*-seed{seed}")
    return found


@pytest.fixture(scope="module")
def elsewhere(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seed 5 that ``edgead train`` made."""
    out = tmp_path_factory.mktemp("elsewhere") / "run"
    options = TrainingOptions("arnet", data / "discs", out, SETTINGS, 5, Bounds(steps=3))
    training.train(options)
    return out


def test_an_entry_says_what_the_bundle_does_and_is_made_once(
    methods, script, data, tmp_path, monkeypatch, capsys
) -> None:
    assert methods("--seeds", 1, 0) == 0
    (entry,) = entries(tmp_path)
    assert [entry[key] for key in ("method", "preset", "dataset")] == ["arnet", "edge", "discs"]
    assert entry["seeds"] == [0, 1]
    assert entry["command"].startswith("edgead train arnet discs --out RUN --set batch_size=2")
    assert (
        "--steps 3" in entry["command"] and str(tmp_path) not in (tmp_path / "m.json").read_text()
    )
    samples = open_dataset(data / "discs").test
    for column, seed in enumerate(entry["seeds"]):
        bundle = next((tmp_path / "work").glob(f"*seed{seed}.edgead"))
        detector = edgead.Detector(bundle)
        results = [detector.score(read_image(s.path)) for s in samples]
        bad = [not s.is_good for s in samples]
        area = roc_auc_score(bad, [r.score for r in results])
        assert entry["image_auroc"][column] == pytest.approx(area, abs=1e-12)
        masks = [read_image(s.mask) > 0 if s.mask else np.zeros((64, 64), bool) for s in samples]
        pixels = roc_auc_score(np.ravel(masks), np.ravel([r.map for r in results]))
        assert entry["pixel_auroc"][column] == pytest.approx(pixels, abs=1e-9)
        assert entry["model_mb"] == round((bundle / "model.onnx").stat().st_size / 1e6, 3)
    assert entry["agreement"] == 0 and entry["changed_verdicts"] == 0
    assert entry["runs"][0]["calibration_images"] == 2 and entry["runs"][0]["steps"] == 3
    before = (tmp_path / "m.json").read_bytes()
    monkeypatch.setattr(script("runs"), "train_run", None)  # must not be called again
    assert methods("--seeds", 0, 1) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (tmp_path / "m.json").read_bytes() == before


def test_a_stopped_table_goes_on_from_the_checkpoint(
    methods, script, tmp_path, monkeypatch, capsys
) -> None:
    steps = []

    def bar() -> Bar:
        def update(*_):
            steps.append(None)
            if len(steps) == 4:  # the first of three steps of the second run
                os.kill(os.getpid(), signal.SIGINT)

        return Bar(update=update)

    monkeypatch.setattr(script("runs"), "training_bar", bar)
    assert methods("--seeds", 0, 5) == 130
    assert "the same command goes on" in capsys.readouterr().out
    assert entries(tmp_path)[0]["seeds"] == [0]
    assert (run_folder(tmp_path, 5) / "checkpoint.safetensors").is_file()
    assert methods("--seeds", 0, 5) == 0
    assert len(steps) == 6
    assert entries(tmp_path)[0]["seeds"] == [0, 5]


def test_a_run_made_elsewhere_counts_when_its_settings_agree(
    methods, elsewhere, tmp_path, capsys
) -> None:
    assert methods("--take", elsewhere, defaults=False) == 0
    assert entries(tmp_path)[0]["seeds"] == [5]
    assert methods("--seeds", 5) == 0
    assert "nothing to do" in capsys.readouterr().out
    model = load_file(elsewhere / "model.safetensors")
    assert methods("--seeds", 0) == 0 and entries(tmp_path)[0]["seeds"] == [0, 5]
    other = tmp_path / "other"
    shutil.copytree(elsewhere, other)
    record = json.loads((other / "run.json").read_text())
    record["bounds"]["steps"] = 4
    (other / "run.json").write_text(json.dumps(record))
    before = (tmp_path / "m.json").read_bytes()
    assert methods("--take", other, defaults=False) == 1
    assert "another command" in capsys.readouterr().err
    assert methods("--take", tmp_path / "nothing", defaults=False) == 1
    assert "not a training run" in capsys.readouterr().err
    assert (tmp_path / "m.json").read_bytes() == before and model


def test_a_run_that_fails_is_named_and_the_others_are_made(
    methods, script, elsewhere, tmp_path, monkeypatch, capsys
) -> None:
    def train_run(job, data, work):
        if job.seed == 0:
            raise TrainingError("the loss became nan")
        return elsewhere

    monkeypatch.setattr(script("runs"), "train_run", train_run)
    assert methods("--seeds", 0, 5) == 1
    text = capsys.readouterr().out
    assert "failed: the loss became nan" in text and "1 runs made, 1 failed" in text
    assert entries(tmp_path)[0]["seeds"] == [5]


def test_other_settings_are_not_mixed_in_but_can_replace(
    methods, script, elsewhere, tmp_path, monkeypatch, capsys
) -> None:
    assert methods("--take", elsewhere, defaults=False) == 0
    more = ("--seeds", 5, "--set", "arnet:pooling=max")
    assert methods(*more) == 1
    text = capsys.readouterr().err
    assert "holds arnet on discs with other settings (pooling)" in text and "--replace" in text
    assert methods(*more, "--replace") == 0
    (entry,) = entries(tmp_path)
    assert entry["settings"]["pooling"] == "max" and entry["seeds"] == [5]


def test_a_default_that_changed_since_is_noticed(methods, elsewhere, tmp_path, capsys) -> None:
    assert methods("--take", elsewhere, defaults=False) == 0
    old = entries(tmp_path)
    old[0]["settings"]["blur_sigma"] = 3.0
    (tmp_path / "m.json").write_text(json.dumps(old))
    assert methods("--seeds", 0) == 1
    assert "with other settings (blur_sigma)" in capsys.readouterr().err


def test_the_command_goes_on_with_the_figures_that_are_kept(script) -> None:
    """None of its jobs is refused for other settings or bounds, and no entry is left behind."""
    module, kept = script("methods"), script("entries")
    results = kept.Results(module.RESULTS, module.PLACE)
    jobs = module.make_jobs(module.arguments(["DATA"]))
    for job in jobs:
        results.check(job.head)
        assert (results.find(job.head) or {}).get("earlier") in (None, True)
    held = {id(results.find(job.head)) for job in jobs}
    assert results.entries and all(id(entry) in held for entry in results.entries)


def test_steps_of_the_table_hold_where_no_bound_is_given(script) -> None:
    module = script("methods")

    def bounds(*words: str) -> dict[tuple[str, str], Bounds]:
        options = ["DATA", "--seeds", "0", "--rows", "trained", *words]
        jobs = module.make_jobs(module.arguments(options))
        return {(job.method, job.dataset): job.bounds for job in jobs}

    usual = bounds()
    assert usual["redi", "mvtec_bottle"] == Bounds(steps=300)
    assert usual["arnet", "magnetic_tile"] == Bounds(steps=700)
    assert set(bounds("--steps", "5").values()) == {Bounds(steps=5)}
    assert set(bounds("--minutes", "2").values()) == {Bounds(minutes=2.0)}
    assert set(bounds("--preset", "paper").values()) == {Bounds(minutes=12.0)}
    assert bounds("--datasets", "other")["redi", "other"] == Bounds(steps=300)


def test_one_seed_everywhere_comes_first(script) -> None:
    runs = script("runs")
    args = type("Args", (), {"preset": "edge", "datasets": ["a", "b"]})
    jobs = runs.make_jobs(args, [("redi", {}), ("ssae", {})], [0, 1], Bounds(steps=1))
    assert [(job.seed, job.dataset, job.method) for job in jobs[:5]] == [
        (0, "a", "redi"), (0, "a", "ssae"), (0, "b", "redi"), (0, "b", "ssae"), (1, "a", "redi"),
    ]  # fmt: skip
    assert len({job.name for job in jobs}) == 8
    longer = runs.make_jobs(args, [("redi", {})], [0], Bounds(steps=2))
    assert longer[0].name != jobs[0].name  # never goes on in the folder of other bounds


def test_an_untrained_run_stands_beside_each_trained_one(script) -> None:
    module = script("methods")
    words = ["DATA", "--seeds", "3", "--methods", "redi", "--datasets", "magnetic_tile"]
    jobs = module.make_jobs(module.arguments(words))
    assert [(j.trained, j.with_instant, j.bounds.steps) for j in jobs] == [
        (False, False, 2), (True, False, 300), (False, True, 2), (True, True, 300),
    ]  # fmt: skip
    assert {job.seed for job in jobs} == {3}
    assert [jobs[i].name for i in (0, 1)] == [jobs[i].name for i in (2, 3)]  # trained once
    assert len({job.bundle for job in jobs}) == 4
    parts = " --group magnetic_tile_parts.csv"
    train, export, evaluate = jobs[3].head["command"].split(" && ")
    assert train.endswith(parts) and evaluate.endswith(parts)
    assert export.endswith("--float32-only --with instant")


def test_what_is_measured_beside_the_untrained_run(methods, data, tmp_path) -> None:
    rows = ("untrained", "trained", "trained+instant")
    assert methods("--seeds", 0, "--rows", *rows) == 0
    found = {(e["trained"], e["with_instant"]): e for e in entries(tmp_path)}
    assert sorted(found) == [(False, False), (True, False), (True, True)]
    bare, alone, joined = found[False, False], found[True, False], found[True, True]
    assert bare["runs"][0]["steps"] == 2 and bare["ahead_of_untrained"] is None
    for entry in found.values():
        low, high = entry["image_auroc_interval"]
        assert 0 <= low <= high <= 1 and entry["parts"] == 6
        assert entry["false_reject_promised"] == pytest.approx(1 / 3)  # 2 images to calibrate with
        assert len(entry["frame_size_aupro"]) == 1
    assert bare["cost_over_backbone"] is None  # its graph is that of the trained one
    assert alone["cost_over_backbone"] > 0 and joined["cost_over_backbone"] > 0
    ahead, low, high = alone["ahead_of_untrained"]
    assert ahead == pytest.approx(alone["image_auroc"][0] - bare["image_auroc"][0])
    assert low <= ahead <= high
    assert joined["ahead_of_untrained"] is None  # its untrained one was not measured
    assert joined["agreement"] is bare["agreement"] is None and alone["agreement"] == 0
    samples = open_dataset(data / "discs").test
    good = [s for s in samples if s.is_good]
    for seed, reached in enumerate(joined["false_reject_reached"]):
        bundle = next((tmp_path / "work").glob(f"*seed{seed}-with-instant.edgead"))
        detector = edgead.Detector(bundle)
        rejected = sum(detector.score(read_image(s.path)).is_anomalous for s in good)
        assert reached == rejected / len(good)


def test_an_earlier_entry_gives_way(methods, elsewhere, tmp_path) -> None:
    assert methods("--take", elsewhere, defaults=False) == 0
    (old,) = entries(tmp_path)
    settings = old["settings"] | {"blur_sigma": 3.0}
    (tmp_path / "m.json").write_text(json.dumps([old | {"earlier": True, "settings": settings}]))
    assert methods("--seeds", 0) == 0
    (new,) = entries(tmp_path)
    assert new["seeds"] == [0] and "earlier" not in new
    assert new["settings"]["blur_sigma"] != 3.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--datasets", "bottle"), "has no bottle; it holds discs"),
        (("--methods", "redy"), "redy is not a method; choose from"),
        (("--set", "arnet"), "write --set METHOD:KEY=VALUE"),
        (("--set", "redy:width=1"), "redy is not a method"),
        (("--set", "arnet:wide=1"), "no setting 'wide'"),
        (("--preset", "papr"), "no preset 'papr'"),
        (("--steps", "0"), "--steps 0 trains nothing"),
    ],
)
def test_bad_input_gets_a_sentence_before_anything_is_trained(
    methods, tmp_path, capsys, words, sentence
) -> None:
    assert methods(*words) == 1
    assert sentence in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_damaged_file_of_figures_is_left_alone(methods, elsewhere, tmp_path, capsys) -> None:
    file = tmp_path / "m.json"
    assert methods("--take", elsewhere, defaults=False) == 0
    whole = entries(tmp_path)
    edited = [whole[0] | {"image_auroc": [0.123]}]
    lost = [{k: v for k, v in whole[0].items() if k != "runs"}]
    for text in ("{", "[3]", "3", json.dumps(edited), json.dumps(lost), '[{"runs": []}]'):
        file.write_text(text)
        assert methods() == 1
        error = capsys.readouterr().err
        assert "restore it" in error and "m.json" in error
        assert file.read_text() == text
