"""Runs: the same seed, a stop and a resume, bounds, and what bad input gets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from edgead_training.checkpoint import Position
from edgead_training.checkpoint import load_checkpoint as load
from edgead_training.commands.train import _METHODS
from edgead_training.fit import Bounds, Interrupted, step_generator
from edgead_training.methods import METHODS
from edgead_training.progress import Bar, Reporter
from edgead_training.run import load_run, train
from edgead_training.run_record import TrainingOptions
from safetensors.torch import load_file, save_file

from edgead.errors import DataError, TrainingError

SETTINGS = {"recover": "image", "size": [64, 64], "bank_size": 3, "widths": [4, 4, 8, 8],
            "batch_size": 4, "variants": 2}  # fmt: skip
"""Of a method with two stages."""


def _train(data: Path, out: Path, *, resume=False, steps=12, seed=0, stop_at=None, minutes=None,
           **settings):  # fmt: skip
    """Train for a few steps; ``stop_at`` sends this process SIGTERM after so many updates."""
    seen = []

    def update(step, done, left, losses):
        seen.append((step, done, left, losses))
        if stop_at is not None and len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    bounds = Bounds(minutes=minutes) if minutes else Bounds(steps=steps)
    options = TrainingOptions("redi", data, out, SETTINGS | settings, seed, bounds)
    return train(options, resume=resume, reporter=Reporter(bar=Bar(update=update))), seen


def _model(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def trained(parts, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    _train(parts, out)
    return out


def test_same_seed_gives_the_same_model_and_another_seed_another(parts, trained, tmp_path):
    _train(parts, tmp_path / "again")
    _train(parts, tmp_path / "other", seed=1)
    assert _same(_model(trained), _model(tmp_path / "again"))
    assert not _same(_model(trained), _model(tmp_path / "other"))


@pytest.mark.parametrize("stop_at", [1, 4, 8])  # in the first stage (5 steps), in the second
def test_stopped_and_resumed_is_as_if_never_stopped(parts, trained, tmp_path, stop_at):
    out = tmp_path / "run"
    with pytest.raises(Interrupted) as stop:
        _train(parts, out, stop_at=stop_at)
    assert stop.value.exit_code == 128 + signal.SIGTERM
    assert not (out / "model.safetensors").exists()
    with pytest.raises(TrainingError, match="--resume"):
        load_run(out)
    _, seen = _train(parts, out, resume=True)
    assert len(seen) == 12 - stop_at
    assert _same(_model(trained), _model(out))
    assert not (out / "checkpoint.safetensors").exists()


def test_loaded_run_is_the_trained_one(parts, trained):
    run = load_run(trained)
    assert not run.method.training
    state = run.method.state_dict()
    assert _same({k: v.contiguous() for k, v in state.items()}, _model(trained))
    names = {s.name for s in run.train} | {s.name for s in run.calibration}
    assert len(run.train) == 10 and len(run.calibration) == 2 and len(names) == 12
    record = run.provenance
    assert record["orientation"] == "exif"
    assert record["seed"] == 0 and record["steps"] == 12 and record["train_seconds"] > 0
    assert record["data"]["n_train"] == 10 and len(record["data"]["digest"]) == 64
    assert str(parts.parent) not in json.dumps(record)  # no path of this machine travels


def test_training_lowers_both_losses(parts, tmp_path):
    _train(parts, tmp_path / "run", steps=120)
    history = json.loads((tmp_path / "run" / "run.json").read_text())["history"]
    for stage, loss in (("recover", "l1"), ("discriminate", "alignment")):
        values = [row[loss] for row in history if row["stage"] == stage]
        assert values[-1] < 0.9 * values[0]  # the second starts from what Y shows, so near its end


def test_minutes_bound_the_work_and_the_schedule_still_ends(parts, tmp_path):
    run, seen = _train(parts, tmp_path / "run", minutes=0.05)
    # Whole steps only, so it may end one late; the stages' own 3,500 steps would take far longer.
    assert run.provenance["train_seconds"] < 10
    assert max(done for _, done, *_ in seen) >= 1
    assert 2 <= run.provenance["steps"] < 3500


def test_stopped_before_the_first_step_resumes_from_the_start(parts, trained, tmp_path):
    out = tmp_path / "run"

    def stop_in(items, title):
        if title.startswith("features"):
            os.kill(os.getpid(), signal.SIGINT)
        return iter(items)

    options = TrainingOptions("redi", parts, out, SETTINGS, 0, Bounds(steps=12))
    with pytest.raises(Interrupted):
        train(options, reporter=Reporter(progress=stop_in))
    _train(parts, out, resume=True)
    assert _same(_model(trained), _model(out))


def test_recovered_picture_shows_image_prompt_and_recovery(trained):
    picture = cv2.imread(str(trained / "recovered.png"))
    assert picture.shape == (3 * 64, 2 * 64, 3)  # two calibration images
    assert picture.std() > 5


def test_generator_depends_on_seed_stage_and_step():
    draws = {torch.rand(1, generator=step_generator(*key)).item()
             for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))}  # fmt: skip
    assert len(draws) == 4


def test_killed_command_leaves_a_checkpoint_that_resume_takes_up(parts, tmp_path):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "edgead", "train", "redi", str(parts), "--out", str(out)]
    for key, value in SETTINGS.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    process = subprocess.Popen([*words, "--steps", "100000"], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in text.splitlines()[-1]
    words += ["--resume", "--minutes", "0.02"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").exists()
    assert "edgead export" in done.stdout.splitlines()[-1]


def _record(run: Path, **changed: object) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | changed))


def _of_another_method(run: Path) -> None:
    other = METHODS["arnet"].from_settings({"size": [64, 64], "width": 0.0625}, 10)
    save_file(other.state_dict(), run / "model.safetensors")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda run: shutil.rmtree(run), "not a training run"),
        (lambda run: (run / "run.json").write_text("{"), "damaged"),
        (lambda run: (run / "run.json").write_text('{"schema_version": 99}'), "upgrade"),
        (lambda run: (run / "run.json").write_text('{"schema_version": 1}'), "lacks method, sett"),
        (lambda run: _record(run, method="patchcore"), "run of patchcore.*agpnet.*train again"),
        (
            lambda run: _of_another_method(run),
            "tensors are not those of this method.*of another run",
        ),
        (lambda run: (run / "model.safetensors").write_bytes(b"short"), "does not fit"),
        (lambda run: (run / "model.safetensors").unlink(), "--resume"),
    ],
)
def test_damaged_runs_get_a_sentence(trained, tmp_path, prepare, words):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    prepare(run)
    with pytest.raises(TrainingError, match=words):
        load_run(run)


def test_changed_images_are_noticed(parts, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(parts, data)
    _train(data, tmp_path / "run", steps=2)
    shutil.copy(data / "000.png", data / "001.png")
    with pytest.raises(DataError, match="changed since"):
        load_run(tmp_path / "run")
    (data / "000.png").unlink()
    with pytest.raises(DataError, match=r"no longer in .*000\.png"):
        load_run(tmp_path / "run")


def test_moved_images_are_found_where_the_caller_says(parts, tmp_path):
    shutil.copytree(parts, tmp_path / "old")
    _train(tmp_path / "old", tmp_path / "run", steps=2)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match=r"no longer there.*--data"):
        load_run(tmp_path / "run")
    with pytest.raises(DataError, match=r"nowhere is not a folder"):
        load_run(tmp_path / "run", tmp_path / "nowhere")
    assert len(load_run(tmp_path / "run", tmp_path / "new").train) == 10


def test_bad_requests_get_a_sentence(parts, trained, tmp_path):
    for make, words in (
        (lambda: _train(parts, trained), "holds a run already"),
        (lambda: _train(parts, trained, resume=True), "trained already"),
        (lambda: _train(parts, tmp_path / "none", resume=True), "not a training run"),
        (lambda: _train(parts, tmp_path / "a", steps=0), "at least 1"),
        (lambda: _train(parts, tmp_path / "a", nonsense=1), "no setting 'nonsense'"),
        (lambda: train(TrainingOptions("reddi", parts, tmp_path / "a", {})), "reddi is not a meth"),
        (lambda: train(TrainingOptions("redi", parts, tmp_path / "a", {}, calibration_fraction=1)),
         "--calibration 1 is not a share"),
    ):  # fmt: skip
        with pytest.raises(TrainingError, match=words):
            make()
    assert not (tmp_path / "a").exists()  # refused at once: nothing half-written


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_an_edge_preset_of_defaults_and_a_larger_one_of_the_paper(name):
    method = METHODS[name]
    assert set(method.presets) >= {"edge", "paper"} and method.presets["edge"] == {}
    edge, paper = (method.from_settings(method.presets[key], 10) for key in ("edge", "paper"))
    assert edge.settings() == method.from_settings({}, 10).settings()

    def learnt(made):
        return sum(p.numel() for p in made.parameters() if p.requires_grad)

    assert learnt(paper) > 2 * learnt(edge)


def _preset(data, out, preset, settings, **how):
    bar = Bar(update=how.pop("update", lambda *_: None))
    options = TrainingOptions("arnet", data, out, settings, 0, Bounds(steps=3), preset=preset)
    return train(options, reporter=Reporter(bar=bar), **how)


def test_a_preset_is_kept_in_the_run_and_what_is_set_goes_over_it(parts, tmp_path):
    out, small = tmp_path / "run", {"size": [64, 64], "width": 0.0625, "batch_size": 2}
    kill = lambda *_: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    with pytest.raises(Interrupted):
        _preset(parts, out, "paper", small, resume=False, update=kill)
    record = json.loads((out / "run.json").read_text())
    assert record["preset"] == "paper"
    kept = record["settings"]  # all of them, so that no later default changes this run
    assert kept["blur_sigma"] == 0 and kept["width"] == 0.0625 and kept["steps"] == 1000
    assert "--preset paper --set 'size=[64,64]'" in record["command"]
    assert "blur_sigma" not in record["command"]
    for preset, settings in (("edge", small), (None, small), ("paper", {}), ("edge", {})):
        with pytest.raises(TrainingError, match=r"begun with: .*--preset paper.*remove --preset"):
            _preset(parts, out, preset, settings, resume=True)
    settings = _preset(parts, out, None, {}, resume=True).method.settings()
    assert settings["blur_sigma"] == 0 and settings["width"] == 0.0625
    assert load_run(out).method.settings() == settings


def test_a_preset_that_is_not_there_gets_a_sentence(parts, tmp_path):
    with pytest.raises(TrainingError, match=r"arnet has no preset 'papr'.*edge, paper"):
        _preset(parts, tmp_path / "run", "papr", {}, resume=False)
    assert not (tmp_path / "run").exists()


def test_resuming_for_fewer_steps_than_are_done_is_refused(parts, trained, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        _train(parts, out, stop_at=4)  # of the 5 that the first stage gets of 12
    before = (out / "checkpoint.safetensors").read_bytes()
    with pytest.raises(TrainingError, match=r"has done 4 steps.*--steps 7; give more"):
        _train(parts, out, resume=True, steps=7)  # 3 for the first stage
    assert (out / "checkpoint.safetensors").read_bytes() == before
    _, seen = _train(parts, out, resume=True, steps=9)  # 4 and 5
    assert len(seen) == 5


def test_command_names_the_methods_that_there_are():
    assert sorted(METHODS) == list(_METHODS)


def test_one_image_and_an_unreadable_one_get_a_sentence(parts, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(parts / "000.png", alone)
    with pytest.raises(DataError, match="one image"):
        _train(alone, tmp_path / "run")
    for index in range(3):
        shutil.copy(parts / "001.png", alone / f"more{index}.png")
    broken = (alone / "more1.png").read_bytes()
    (alone / "more1.png").write_bytes(broken[: len(broken) // 2])
    with pytest.raises(DataError, match=r"more1\.png"):
        _train(alone, tmp_path / "run")


def test_checkpoint_of_other_settings_is_refused(parts, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        _train(parts, out, stop_at=2)
    from edgead_training.methods import ReDi

    other = ReDi.from_settings(SETTINGS | {"frb": "heavy"}, 10)
    with pytest.raises(TrainingError, match=r"cannot be resumed \(its tensors are not those"):
        load(other, out)
    save_file(other.state_dict(), out / "checkpoint.safetensors")  # a model is not a checkpoint
    with pytest.raises(TrainingError, match=r"holds no position of a training.*train again"):
        load(other, out)
    assert Position().step == 0
