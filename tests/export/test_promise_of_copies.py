"""Copies and the promise, from files to verdicts: 60 files of 6 parts, trained, exported, judged.

Whether the promise holds is asked of new parts, with the smallest training there is.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_export import ExportOptions, export_run
from edgead_training.data import check_images, digest, divide, open_dataset
from edgead_training.fit import Bounds
from edgead_training.progress import Reporter
from edgead_training.run import load_run, train
from edgead_training.run_record import TrainingOptions

from edgead.bundle.known_images import CALIBRATED, CONTENTS, LEARNT, Known
from edgead.cli.main import main
from edgead.detector import Detector
from edgead.errors import CalibrationError, DataError
from edgead.images import read_image
from edgead.images.content import digest_of

SETTINGS = {"size": [64, 64], "width": 0.0625, "batch_size": 2}


def part(seed: int) -> np.ndarray:
    """A disc on a ground of its own."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.uniform(60, 130, (5, 4, 3)), (72, 80))
    centre = (36 + int(rng.integers(-6, 7)), 40 + int(rng.integers(-6, 7)))
    cv2.circle(ground, centre, 20, (60, 120, int(rng.integers(160, 220))), -1)
    return np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8)


def folder(path: Path, seeds, suffixes=(".png",)) -> Path:
    path.mkdir(parents=True)
    for index, seed in enumerate(seeds):
        suffix = suffixes[index % len(suffixes)]
        assert cv2.imwrite(str(path / f"{index:03d}{suffix}"), part(seed))
    return path


def trained(data: Path, out: Path):
    lines: list[str] = []
    options = TrainingOptions("ssae", data, out, SETTINGS, 0, Bounds(steps=2))
    return train(options, reporter=Reporter(log=lines.append)), lines


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """60 files of 6 parts: (data, run folder, lines, bundle, lines of the export)."""
    root = tmp_path_factory.mktemp("six")
    data = folder(root / "data", [k % 6 for k in range(60)], (".png", ".bmp", ".tif", ".ppm"))
    _, lines = trained(data, root / "run")
    said: list[str] = []
    export_run(root / "run", root / "six.edgead", ExportOptions(float16=False), log=said.append)
    return data, root / "run", lines, root / "six.edgead", said


def test_copies_are_named_at_the_beginning_and_kept_in_the_record(six) -> None:
    data, run, lines, _, said = six
    assert "60 images are 6 different ones" in next(x for x in lines if x.startswith("warning"))
    assert any("60 images are 6 different ones" in line for line in said)
    record = json.loads((run / "run.json").read_text())
    assert (len(record["train"]), len(record["calibration"]), len(record["left_out"])) == (5, 1, 54)
    assert record["warnings"] and not set(record["train"]) & set(record["calibration"])
    for side in ("train", "calibration"):
        truth = [digest_of(cv2.imread(str(data / name))).hex() for name in record[side]]
        assert record["digests"][side] == truth


def test_the_promise_is_one_over_the_distinct(six) -> None:
    """The threshold is the score of the one image held out, which no copy of was learnt."""
    _, run, _, path, _ = six
    (held_out,) = load_run(run).calibration
    with Detector(path) as detector:
        assert detector.false_reject_rate == 0.5
        (score,) = detector.bundle.manifest.calibration.scores
        assert detector.score(read_image(held_out.path)).score == pytest.approx(score, rel=1e-5)
        with pytest.raises(CalibrationError, match=r"1 calibration images can promise.*is 0\.5"):
            detector.false_reject_rate = 1 / 13


def test_the_promise_is_kept_on_new_parts(tmp_path) -> None:
    """24 parts, five files each: 5 calibrate and promise 1/6, by whatever method.

    The rate that one calibration reaches has the distribution Beta(1, 5): over 0.6 once in a
    hundred. With copies on both sides and a method that knows what it has learnt by heart, all new
    parts were rejected; so what is learnt here is exactly that, the nearest image.
    """
    data = open_dataset(folder(tmp_path / "data", [k % 24 for k in range(120)], (".png", ".bmp")))
    found = divide(data, check_images(data.train), 0, 0.2)
    learnt, held_out = ([read_image(s.path).astype(float) for s in side] for side in found.parts)
    assert (len(learnt), len(held_out)) == (19, 5)

    def score(frame: np.ndarray) -> float:
        return min(float(np.abs(frame - known).mean()) for known in learnt)

    threshold = max(map(score, held_out))
    rejected = sum(score(part(1000 + k).astype(float)) > threshold for k in range(200))
    assert rejected / 200 <= 0.6
    assert min(map(score, held_out)) > 0  # by heart: a copy would have 0


def test_what_was_learnt_is_told_by_the_bundle_and_by_evaluate(six, capsys) -> None:
    data, run, _, path, _ = six
    loaded = load_run(run)
    with Detector(path) as detector:
        known = Known(detector.bundle.manifest.provenance)
    for samples, kind in ((loaded.train, LEARNT), (loaded.calibration, CALIBRATED)):
        assert {known.kind_of(digest_of(read_image(s.path))) for s in samples} == {kind}
    test = data.parent / "test-set"
    folder(test / "test/good", [*range(6), 50, 51, 51])
    folder(test / "test/dent", [60, 61, 3])
    assert main(["evaluate", str(path), str(test), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["overlap"] == {
        "learnt": 6, "calibrated": 1, "good": 6, "copies": 1, "contradictions": 2,
    } or figures["overlap"] == {
        "learnt": 5, "calibrated": 2, "good": 6, "copies": 1, "contradictions": 2,
    }  # fmt: skip
    assert any("the bundle has learnt from" in each for each in figures["warnings"])
    assert any("have the content of one with another label" in each for each in figures["warnings"])
    main(["evaluate", str(path), str(test)])
    out = capsys.readouterr().out
    assert "6 of them no test: see the warning" in out
    assert "cannot be told" not in out


def test_calibrating_with_what_was_learnt_is_refused(six, capsys) -> None:
    data, _, _, path, _ = six
    learnt = data.parent / "learnt"
    folder(learnt, [*range(6), *range(70, 90)])
    assert main(["calibrate", str(path), str(learnt), "--out", str(data.parent / "n.edgead")]) == 1
    assert "5 of 26 images cannot be used" in capsys.readouterr().err


def test_a_run_of_before_is_put_right_by_export(tmp_path) -> None:
    """Without digests in the record, and with a copy of a learnt image among those held out."""
    data = folder(tmp_path / "data", range(12))
    run, _ = trained(data, tmp_path / "run")
    (data / run.calibration[0].name).write_bytes((data / run.train[0].name).read_bytes())
    record = json.loads((tmp_path / "run/run.json").read_text())
    for key in ("digests", "warnings", "left_out"):
        del record[key]
    record["data"]["digest"] = digest(run.train + run.calibration)
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    said: list[str] = []
    out = tmp_path / "x.edgead"
    bundle = export_run(tmp_path / "run", out, ExportOptions(float16=False), log=said.append)
    n = len(run.calibration) - 1
    assert len(bundle.manifest.calibration.scores) == n == 1
    assert any(f"1 of {n + 1} calibration images of this run are copies" in line for line in said)
    assert bundle.manifest.provenance[CONTENTS][LEARNT]["images"] == len(run.train)


@pytest.mark.parametrize("same", [True, False])
def test_sets_that_teach_nothing_are_refused_before_anything_is_written(tmp_path, same) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in range(12):
        image = part(1) if same else np.full((80, 72, 3), 20 * index, np.uint8)
        cv2.imwrite(str(data / f"{index}.png"), image)
    said = "copies of one picture" if same else "of one value, or nearly"
    with pytest.raises(DataError, match=f"all 12 images are {said}"):
        trained(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_test_set_is_compared_before_training(tmp_path) -> None:
    root = tmp_path / "data"
    folder(root / "train/good", range(10))
    folder(root / "test/good", [3, 200], (".bmp",))
    folder(root / "test/dent", [201])
    _, lines = trained(root, tmp_path / "run")
    (said,) = [line for line in lines if line.startswith("warning")]
    assert "1 of 3 test images, such as test/good/000.bmp, are copies of images to learn" in said
