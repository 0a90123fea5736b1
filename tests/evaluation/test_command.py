"""`edgead evaluate`: what it prints, writes and refuses; at the end on a real bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import edgead.detector
from edgead.cli.main import main


@pytest.fixture
def bright(detector, monkeypatch):
    """Let the command open the detector of conftest, and say what it was opened with."""
    opened = []

    def open_detector(path, **options):
        opened.append((path, options))
        return detector

    monkeypatch.setattr(edgead.detector, "Detector", open_detector)
    return opened


def test_table_and_next_command(bright, mvtec, capsys):
    options = ["--false-reject-rate", "0.2", "--threads", "1"]
    assert main(["evaluate", "x.edgead", str(mvtec), *options]) == 0
    asked = {"device": "auto", "false_reject_rate": 0.2, "threads": 1, "precision": None}
    asked["bit_depth"] = None
    assert bright == [("x.edgead", asked)]
    captured = capsys.readouterr()
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    assert lines[0] == "read x.edgead, float32 on CPU: none"
    assert "3 good, 3 defective images (kinds: 2, masks: 2)" in lines[1]
    assert "image AUROC 0.8889 (0.4000 to 1.0000)" in lines
    assert "dent 1 100 % 1.0000 (1.0000 to 1.0000) - -" in lines  # no mask
    assert "false rejects promised 20 %" in lines
    assert "false rejects reached 33.3 % (1 of 3; 6.1 to 79.2 %)" in lines
    assert "false rejects expected 0 to 3 of 3, 19 times of 20" in lines
    assert "defects caught 66.7 % (2 of 3)" in lines
    options = "--report report --false-reject-rate 0.2 --threads 1"
    assert lines[-1] == f"next edgead evaluate x.edgead {mvtec} {options}"
    assert captured.err.splitlines()[-1] == "scoring 6/6"


def test_bare_json_is_one_object_and_nothing_else(bright, mvtec, capsys, metric_keys, json_keys):
    assert main(["evaluate", "x.edgead", str(mvtec), "--json"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert tuple(figures) == (*metric_keys, *json_keys, "left_out")
    assert figures["n_test"] == 6
    assert "image AUROC" in captured.err


def test_a_table_of_categories_and_their_json(
    bright, mvtec, tmp_path, capsys, metric_keys, json_keys
):
    for name in ("bottle", "cable"):
        shutil.copytree(mvtec, tmp_path / "several" / name)
    file = tmp_path / "metrics.json"
    argv = ["evaluate", "x.edgead", str(tmp_path / "several"), "--json", str(file)]
    assert main([*argv, "--layout", "mvtec"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    head = lines.index("category images image AUROC pixel AUROC AUPRO at 0.3 false rejects")
    assert [line.split()[:3] for line in lines[head + 1 : head + 3]] == [
        ["bottle", "6", "0.8889"], ["cable", "6", "0.8889"],
    ]  # fmt: skip
    assert lines[head + 3].startswith("mean 0.8889")
    assert lines[-1].endswith("--report report --layout mvtec")
    figures = json.loads(file.read_text())
    assert tuple(figures) == (*metric_keys, "categories", "categories_mean", *json_keys, "left_out")
    assert figures["n_test"] == 12 and figures["categories"]["cable"]["n_test"] == 6
    assert main([*argv, "--category", "cable"]) == 0
    assert tuple(json.loads(file.read_text())) == (*metric_keys, *json_keys, "left_out")


def test_all_unreadable_images_are_named_before_scoring(bright, mvtec, capsys):
    for name in ("good/0.png", "scratch/1.png"):
        (mvtec / "test" / name).write_bytes(b"broken")
    assert main(["evaluate", "x.edgead", str(mvtec)]) == 1
    said = capsys.readouterr().err
    assert "2 of 6 images cannot be used" in said
    assert "good/0.png" in said and "scratch/1.png" in said
    assert not bright  # the detector was not even opened


def test_json_file_and_report(bright, mvtec, tmp_path, capsys, metric_keys, json_keys):
    file, folder = tmp_path / "metrics.json", tmp_path / "new" / "report"
    argv = ["evaluate", "x.edgead", str(mvtec), "--json", str(file), "--report", str(folder)]
    argv += ["--device", "cpu"]
    assert main(argv) == 0
    assert tuple(json.loads(file.read_text())) == (*metric_keys, *json_keys, "left_out")
    assert (folder / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    out = capsys.readouterr().out
    assert f"wrote  {folder / 'index.html'}" in out
    assert f"wrote  {file}" in out
    assert "next   edgead score x.edgead IMAGE --heatmap heatmaps --device cpu\n" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "."], "is a folder"),
        (["--json", "nowhere/metrics.json"], "there is no folder nowhere"),
        (["--report", "file.txt"], "is a file"),
    ],
)
def test_targets_are_refused_before_scoring(
    bright, mvtec, tmp_path, monkeypatch, capsys, options, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("kept")
    assert main(["evaluate", "x.edgead", str(mvtec), *options]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert bright == []
    assert (tmp_path / "file.txt").read_text() == "kept"


def test_data_without_test_set(bright, tmp_path, save_image, make_part, capsys):
    for index in range(2):
        save_image(tmp_path / f"{index}.png", make_part(1))
    assert main(["evaluate", "x.edgead", str(tmp_path)]) == 1
    assert "has no test set; a test set has the MVTec layout" in capsys.readouterr().err
    assert bright == []


def test_a_bad_image_writes_nothing(bright, mvtec, tmp_path, capsys):
    (mvtec / "test/scratch/1.png").write_bytes(b"")
    argv = ["evaluate", "x.edgead", str(mvtec), "--report", str(tmp_path / "report"), "--json"]
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert "scratch/1.png" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "report").exists()


def test_evaluating_needs_no_torch():
    code = (
        "import sys, edgead_training.commands.evaluate\n"
        "print([m for m in ('torch', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decoding_videos_needs_no_extra():
    code = (
        "import sys, edgead_training.commands.frames, edgead_training.data.video\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'jinja2', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_real_bundle(bundle_dir, make_frame, save_image, tmp_path, tiny, capsys):
    """The figures are those of scores computed by onnxruntime and float64 NumPy."""
    frames = {f"good/{seed}": make_frame(seed, (40 + seed % 7, 50, 3)) for seed in range(200, 206)}
    for seed in range(3):
        odd = make_frame(300 + seed, (60, 44), np.uint16)
        odd[20:30, 10:30] = 65535
        frames[f"burnt/{seed}"] = odd
        save_image(
            tmp_path / f"data/ground_truth/burnt/{seed}_mask.png",
            (odd == 65535).astype(np.uint8) * 255,
        )
    for name, frame in frames.items():
        save_image(tmp_path / f"data/test/{name}.png", frame)
    argv = ["evaluate", str(bundle_dir), str(tmp_path / "data"), "--json"]
    assert main([*argv, "--report", str(tmp_path / "report")]) == 0
    figures = json.loads(capsys.readouterr().out)
    scores = [tiny.truth(frame)[1] for frame in frames.values()]
    good, burnt = scores[:6], scores[6:]
    area = np.mean([(b > g) + (b == g) / 2 for b in burnt for g in good])
    assert figures["image_auroc"] == pytest.approx(area, abs=1e-12)
    assert 0.0 <= figures["aupro"] <= 1.0
    assert figures["false_reject_promised"] == 0.05
    assert figures["train_seconds"] is None
    assert (tmp_path / "report/index.html").stat().st_size > 10_000
