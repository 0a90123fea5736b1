"""Runs on data of other shapes: several categories, tall images, few shots, parts, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_export.calibration_frames import images_of
from edgead_training.fit import Bounds, Interrupted
from edgead_training.methods import METHODS
from edgead_training.progress import Bar, Reporter
from edgead_training.run import load_run, train
from edgead_training.run_record import TrainingOptions

from edgead.errors import DataError, TrainingError

SETTINGS = {"size": [64, 64], "width": 0.0625, "batch_size": 2}


def _train(data: Path, out: Path, *, resume=False, steps=2, settings=None, stop_at=0, method="ssae",
           **choices):  # fmt: skip
    lines: list[str] = []

    def update(step, *_):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    options = TrainingOptions(
        method,
        data,
        out,
        SETTINGS if settings is None else settings,
        choices.pop("seed", 0),
        Bounds(steps=steps),
        **choices,
    )
    reporter = Reporter(log=lines.append, bar=Bar(update=update))
    return train(options, resume=resume, reporter=reporter), lines


def _write(path: Path, shape: tuple[int, ...], dtype=np.uint8, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Categories of other sizes, colours and depths: 4 images each."""
    root = tmp_path / "mixed"
    kinds = {"grey": ((40, 70), np.uint8), "colour": ((90, 50, 3), np.uint8),
             "deep": ((64, 64), np.uint16)}  # fmt: skip
    for name, (shape, dtype) in kinds.items():
        for i in range(4):
            _write(root / name / f"train/good/{i}.png", shape, dtype, i)
    return root


def test_one_model_for_categories_of_other_sizes_colours_and_depths(mixed, tmp_path):
    run, lines = _train(mixed, tmp_path / "run")
    assert "categories colour, deep, grey: 12 good images" in lines[0]
    for side, count in ((run.train, 3), (run.calibration, 1)):
        assert [s.category for s in side] == sorted(["colour", "deep", "grey"] * count)
    assert run.provenance["data"]["categories"] == ["colour", "deep", "grey"]
    assert [s.name for s in load_run(tmp_path / "run").calibration] == [
        s.name for s in run.calibration
    ]


def test_files_of_several_pages_are_counted_and_an_older_run_says_nothing_of_its_rule(
    mixed, tmp_path
):
    pages = [np.full((64, 64), value, np.uint8) for value in (10, 200)]
    assert cv2.imwritemulti(str(mixed / "grey/train/good/pages.tif"), pages)
    run, lines = _train(mixed, tmp_path / "run", category="grey")
    note = "warning: 1 of 5 files have more than one page: the first was read"
    assert lines.count(note) == 1
    assert run.provenance["orientation"] == "exif"
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    del record["orientation"]
    file.write_text(json.dumps(record))
    assert "orientation" not in load_run(tmp_path / "run").provenance


def test_one_category_is_recorded_and_found_again(mixed, tmp_path):
    run, _ = _train(mixed, tmp_path / "run", category="deep")
    assert {s.category for s in run.train + run.calibration} == {"deep"}
    assert run.provenance["command"].endswith("--category deep")
    assert run.provenance["data"]["category"] == "deep"
    assert len(load_run(tmp_path / "run").train) == 3


def test_tall_images_of_ksdd2_into_a_tall_input(tmp_path):
    data = tmp_path / "ksdd2"
    for n in range(4):
        _write(data / f"train/1000{n}.png", (630 + n, 230, 3), seed=n)
        mask = np.zeros((630 + n, 230), np.uint8)
        mask[300:330, 90:120] = 255 * (n == 3)
        cv2.imwrite(str(data / f"train/1000{n}_GT.png"), mask)
    settings = SETTINGS | {"size": [320, 128]}
    run, lines = _train(data, tmp_path / "run", settings=settings)
    assert "3 good images to learn from (1 that are not good left out)" in lines[0]
    assert run.method.preprocess_params().size == (320, 128)
    assert (run.provenance["steps"], run.provenance["data"]["layout"]) == (2, "ksdd2")
    picture = cv2.imread(str(tmp_path / "run/recovered.png"))
    assert picture.shape == (4 * 320, 128, 3)  # four rows of a tall image each, not turned


def test_few_shots_are_recorded_and_resumed(parts, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        _train(parts, out, shots=4, stop_at=1)
    with pytest.raises(TrainingError, match="begun with --shots 4, not 5; remove --shots"):
        _train(parts, out, shots=5, resume=True)
    with pytest.raises(TrainingError, match="begun with --seed 0, not 3; remove --seed"):
        _train(parts, out, resume=True, seed=3)
    with pytest.raises(TrainingError, match=r"--calibration 0.2, not 0.5; remove --calibration"):
        _train(parts, out, resume=True, calibration_fraction=0.5)
    run, lines = _train(parts, out, resume=True)
    assert "split  4 to train on (--shots 4), 2 to calibrate with" in lines[1]
    assert (len(run.train), len(run.calibration)) == (4, 2)
    assert run.provenance["command"].endswith("--shots 4")
    assert run.provenance["data"]["shots"] == 4


def test_textures_of_a_folder_are_learnt_from_and_resumed(parts, tmp_path):
    pictures = tmp_path / "pictures"
    for i in range(3):
        _write(pictures / "deeper" / f"{i}.png", (50, 90, 3), seed=i)
    always = SETTINGS | {"elastic": 0.0, "clean": 0.0}
    made_up, _ = _train(parts, tmp_path / "made_up", settings=always)
    whole, _ = _train(parts, tmp_path / "whole", settings=always, textures=pictures)
    with pytest.raises(Interrupted):
        _train(parts, tmp_path / "run", settings=always, textures=pictures, stop_at=1)
    run, _ = _train(parts, tmp_path / "run", resume=True, settings={})
    weights, same, other = (
        r.method.state_dict()["autoencoder.out.weight"] for r in (run, whole, made_up)
    )
    assert weights.equal(same) and not weights.equal(other)
    assert run.provenance["command"].endswith("--textures pictures")
    assert str(tmp_path) not in json.dumps(run.provenance)


def test_other_textures_at_resume_are_refused_and_the_same_ones_elsewhere_are_not(parts, tmp_path):
    pictures, moved, other = (tmp_path / name for name in ("pictures", "moved", "other"))
    for i in range(3):
        _write(pictures / "deeper" / f"{i}.png", (50, 90, 3), seed=i)
    shutil.copytree(pictures, other)
    _write(
        other / "deeper" / "1.png", (50, 90, 3), seed=7
    )  # one of them, of the same name and size
    for name in ("run", "bare"):
        with pytest.raises(Interrupted):
            textures = pictures if name == "run" else None
            _train(parts, tmp_path / name, textures=textures, stop_at=1)
    with pytest.raises(DataError, match=r"pictures in .*other are not those.*--textures"):
        _train(parts, tmp_path / "run", resume=True, textures=other)
    shutil.move(pictures, moved)
    with pytest.raises(DataError, match="pictures holds no images"):
        _train(parts, tmp_path / "run", resume=True)
    _train(parts, tmp_path / "run", resume=True, textures=moved)
    with pytest.raises(TrainingError, match="bare was begun without --textures; remove the option"):
        _train(parts, tmp_path / "bare", resume=True, textures=moved)


def test_textures_that_cannot_be_had_are_refused(parts, tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "run"
    for folder in ("empty", "absent"):
        with pytest.raises(DataError, match=f"{folder} holds no images; give a folder of pictures"):
            _train(parts, out, textures=tmp_path / folder)
    with pytest.raises(TrainingError, match="arnet does not use --textures"):
        _train(parts, out, method="arnet", settings={}, textures=parts)
    assert not out.exists()


def test_parts_are_recorded_and_counted(parts, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for i, path in enumerate(sorted(parts.iterdir())):
        shutil.copy(path, data / f"exp{i % 3}_num_{i // 3}.png")
    run, lines = _train(data, tmp_path / "run", group="_num_([0-9]+)")
    assert (len(run.train), len(run.calibration)) == (9, 3)
    assert "parts  3 to train on, 1 to calibrate with" in lines[2]
    assert run.provenance["command"].endswith("--group '_num_([0-9]+)'")
    assert run.provenance["data"]["parts"] == {"train": 3, "calibration": 1}


def test_parts_that_are_tested_too_are_refused_and_untold_ones_noted(parts, tmp_path):
    data, group = tmp_path / "data", "_num_([0-9]+)"
    for i, path in enumerate(sorted(parts.iterdir())):
        half = "test" if i in (2, 3, 11) else "train"  # part 0 in both, 1 too, part 3 too
        (data / half / "good").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, data / half / "good" / f"exp{i % 3}_num_{i // 3}.png")
    (data / "test" / "dent").mkdir()
    with pytest.raises(DataError, match=r"^3 of 3 parts of the test set are among .*group hold"):
        _train(data, tmp_path / "run", group=group)
    assert not (tmp_path / "run").exists()
    for path in (data / "test" / "good").iterdir():
        path.rename(path.with_name(path.name.replace("_num_", "_part_")))
    _, lines = _train(data, tmp_path / "run", group=group)
    assert any("does not say which part 3 of 3 test images show" in line for line in lines)


def test_a_list_of_parts_is_recorded_by_its_path_and_told_by_its_name(parts, tmp_path, monkeypatch):
    """So that a run goes on from another folder, and its command names no machine."""
    lines = [f"{path.name},{i // 3}\n" for i, path in enumerate(sorted(parts.iterdir()))]
    (tmp_path / "tiles.csv").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Interrupted):
        _train(parts, tmp_path / "run", group="tiles.csv", steps=9, stop_at=3)
    monkeypatch.chdir("/")
    with pytest.raises(TrainingError, match=r"begun with --group /.*tiles\.csv, not x\(y\)"):
        _train(parts, tmp_path / "run", group="x(y)", resume=True, steps=9)
    (tmp_path / "tiles.csv").unlink()  # the run has a copy
    run, told = _train(parts, tmp_path / "run", resume=True, steps=9)
    assert "parts  3 to train on, 1 to calibrate with" in told[2]
    held_out = {int(sample.path.stem) // 3 for sample in run.calibration}
    assert len(held_out) == 1 and len(run.calibration) == 3
    assert run.provenance["command"].endswith("--group tiles.csv")
    (tmp_path / "run").rename(tmp_path / "moved")
    images = images_of(load_run(tmp_path / "moved", parts), run.calibration)
    assert {image.part for image in images} == {str(part) for part in held_out}


def test_what_is_refused_leaves_no_folder(parts, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(parts, data)
    (data / "003.png").write_bytes(b"broken")
    out = tmp_path / "deep" / "run"
    for choices, said in (
        ({}, r"003\.png"),
        ({"shots": 99}, "--shots 99 is more"),
        ({"layout": "visa"}, "does not look like"),
        ({"group": "x"}, "has no group"),
    ):
        with pytest.raises(DataError, match=said):
            _train(data, out, **choices)
    assert not out.parent.exists()


def test_fewer_steps_than_are_done_are_refused(parts, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        _train(parts, out, steps=9, stop_at=3)
    with pytest.raises(TrainingError, match=r"has done 3 steps.*--steps 2"):
        _train(parts, out, resume=True, steps=2)
    assert _train(parts, out, resume=True, steps=4)[0].provenance["steps"] == 4


def test_a_checkpoint_of_another_method(parts, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        _train(parts, out, stop_at=1)
    with pytest.raises(TrainingError, match="is a run of ssae, not of arnet"):
        _train(parts, out, resume=True, method="arnet", settings={})
    record = json.loads((out / "run.json").read_text())
    settings = METHODS["arnet"].presets["edge"] | {"size": [64, 64]}
    (out / "run.json").write_text(
        json.dumps(record | {"method": "arnet", "preset": "edge", "settings": settings})
    )
    with pytest.raises(TrainingError, match=r"cannot be resumed.*train again"):
        _train(parts, out, resume=True, method="arnet", settings={})


def test_a_run_inside_its_data_teaches_nothing_to_the_next(parts, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(parts, data)
    first, _ = _train(data, data / "run")
    shutil.copyfile(data / "run/recovered.png", data / "part-99.png")  # moved, renamed
    again, lines = _train(data, data / "again")
    for one, other in ((first.train, again.train), (first.calibration, again.calibration)):
        assert [sample.name for sample in one] == [sample.name for sample in other]
    assert again.left_out["picture of edgead"] == 2
    assert any(line.startswith("note") and "2 pictures of edgead" in line for line in lines)
