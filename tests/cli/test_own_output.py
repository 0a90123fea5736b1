"""Whatever edgead writes into a folder of images is never input from there."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest
from house import ROOT, kept

from edgead import Detector
from edgead.images import list_images, look_below, read_image, write_png
from edgead.records.evidence import Evidence

TRIANGLE = "10,5 80,5 80,60"


@pytest.fixture
def folder(save, make_frame, tmp_path) -> Path:
    for seed in range(30):
        save(f"data/{seed:02d}.png", make_frame(seed))
    return tmp_path / "data"


def _write_everything(run, bundle, data: Path, out: Path) -> None:
    """All kinds of pictures and bundles that the commands without torch write, into ``out``."""
    first = data / "00.png"
    assert run("score", bundle, first, data / "01.png", "--heatmap", out)[0] == 0
    assert run("mask", bundle, "--polygon", TRIANGLE, "--preview", first, out / "look.png")[0] == 0
    assert run("calibrate", bundle, data, "--out", out / "new.edgead")[0] == 0
    with Detector(bundle, threads=1, false_reject_rate=0.9) as detector:
        frames = (read_image(path) for path in list_images(data))
        result = next(r for r in map(detector.score, frames) if r.is_anomalous)
    evidence = Evidence(out, 10, lambda *_: None)
    evidence.hear({"frame": 3, "captured": "2026-01-02T03:04:05.500Z", "score": 1.0}, result)
    evidence.close()
    assert evidence.saved == 1
    assert sum(path.is_file() for path in out.iterdir()) >= 6


@pytest.mark.parametrize("place", ["the same", "linked", "below", "moved in and renamed"])
def test_what_the_commands_write_is_not_read_again(
    run, run_json, bundle_dir, folder, place, tmp_path
):
    inputs = list_images(folder)
    out = tmp_path / "out"
    if place == "the same":
        out = folder
    elif place == "linked":
        out.symlink_to(folder)
    elif place == "below":
        out = folder / "results"
    out.mkdir(exist_ok=True)
    _write_everything(run, bundle_dir, folder, out)
    if place.startswith("moved"):
        for number, path in enumerate(sorted(out.iterdir())):
            shutil.move(path, folder / f"part-{number}{path.suffix}")
    assert look_below(folder).images == inputs
    assert list_images(folder) == inputs
    code, report = run_json("score", bundle_dir, folder)
    assert [frame["path"] for frame in report["frames"]] == list(map(str, inputs)) and code == 0
    left = look_below(folder).left_out
    assert (left["picture of edgead"], left["frame that edgead saved"]) == (4, 1)
    assert report["left_out"]
    code, out_text, _ = run("score", bundle_dir, folder)
    assert "left out:" in out_text
    assert run_json("calibrate", bundle_dir, folder, "--out", tmp_path / "x.edgead")[1][
        "calibration_images"
    ] == len(inputs)


def test_a_folder_of_saved_frames_alone_is_read_when_it_is_named(run_json, bundle_dir, tmp_path):
    shutil.copytree(bundle_dir / "golden", tmp_path / "golden")
    code, report = run_json("score", bundle_dir, tmp_path / "golden")
    assert code == 0 and len(report["frames"]) == len(list(tmp_path.glob("golden/*.png")))


INPUT_ON_PURPOSE = {  # writes images that are to be learnt from, or scored by another program
    "training/data/video.py", "benchmarks/tiling.py", "benchmarks/cell_pooling.py",
    "benchmarks/image_files.py",
    "examples/demo.py", "edgead/images/writing.py", "edgead/bench/native.py",
    "edgead/records/export.py", "edgead/live/relearning/job.py", "benchmarks/hall.py",
    "benchmarks/review_loop.py",
}  # fmt: skip


def _unmarked(source: str) -> list[int]:
    """Lines where an image is written without a mark, or past ``edgead.images``."""
    least = {"encode_png": 2, "write_png": 3}
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = (
            call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        )
        marked = len(call.args) >= least.get(name, 0) or any(k.arg == "mark" for k in call.keywords)
        if name in ("imwrite", "imencode", "savefig") or not marked:
            found.append(call.lineno)
    return found


def test_every_picture_is_written_with_a_mark():
    folders = ("edgead", "training", "export", "benchmarks", "examples")
    names = [name for name in kept() if name.endswith(".py") and name.split("/")[0] in folders]
    assert len(names) > 100
    found = {name: _unmarked((ROOT / name).read_text(encoding="utf-8")) for name in names}
    assert {n for n, lines in found.items() if lines and n not in INPUT_ON_PURPOSE} == set()
    planted = "write_png(path, image)\ncv2.imwrite(path, image)\nencode_png(image)"
    assert _unmarked(planted) == [1, 2, 3]


def test_calibrating_with_evidence_is_warned_of(run, bundle_dir, tmp_path):
    """A rejected part among them raises the threshold."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    for number in range(30):
        frame = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        write_png(folder / f"{number}_frame.png", frame, "frame")
    code, said, error = run("calibrate", bundle_dir, folder, "--out", tmp_path / "x.edgead")
    assert code == 0, error
    assert "30 of 30 images are frames that edgead saved" in said
