"""edgead calibrate: scores against onnxruntime and float64 NumPy, bad input, the old bundle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead import Detector, Health
from edgead.bundle.storage import open_bundle
from edgead.cli.calibrate import WIDEST, histogram

N = 24  # images of the folder: enough for the tiny bundle's 5 %
TOLERANCE = 1e-4  # the tiny bundle's own: float32 convolutions against onnxruntime's


@pytest.fixture
def folder(save, make_frame) -> Path:
    """N good images, and what a folder may hold besides."""
    for index in range(N):
        save(f"good/{index:02d}.png", make_frame(300 + index))
    path = save("good/00.png", make_frame(300)).parent
    (path / "notes.txt").write_text("no image")
    return path


def content(path: Path) -> dict[str, bytes]:
    """Every file below ``path``."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_the_new_scores_are_those_that_independent_code_gives(run, bundle_copy, tiny, folder):
    before = content(bundle_copy)
    code, _, err = run("calibrate", bundle_copy, folder)
    assert (code, err) == (0, "")
    assert content(bundle_copy) == before  # the old bundle is not touched
    new = open_bundle(bundle_copy.with_name("copy-calibrated.edgead"))
    found = [tiny.truth(cv2.imread(str(p))) for p in sorted(folder.glob("*.png"))]
    measured = new.manifest.calibration
    assert measured.scores == pytest.approx([score for _, score in found], abs=TOLERANCE)
    assert measured.peaks == pytest.approx([m.max() for m, _ in found], abs=TOLERANCE)
    assert measured.false_reject_rate == 0.05


def test_what_stays_and_what_the_new_bundle_says_of_itself(run, bundle_dir, folder, tmp_path):
    out = tmp_path / "line3.edgead"
    assert run("calibrate", bundle_dir, folder, "--out", out)[0] == 0
    old, new = open_bundle(bundle_dir), open_bundle(out)
    kept = new.manifest.files.keys() - {"health/reference.png"}
    assert {k: new.manifest.files[k] for k in kept} == old.manifest.files  # bit for bit
    before, after = old.manifest.to_json(), new.manifest.to_json()
    about = after["provenance"].pop("calibration")
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed == {"name", "created", "calibration", "health", "files", "provenance"}
    contents = after["provenance"].pop("contents")
    assert after["provenance"] == before["provenance"]
    assert contents.keys() == {"calibrated"} and contents["calibrated"]["images"] == N
    assert after["health"]["images"] == N
    assert after["name"] == "line3"
    assert about["images"] == N
    assert about["from_bundle_sha256"] == old.sha256
    assert about["created"] == after["created"] > before["created"]
    digests = [hashlib.sha256(p.read_bytes()).digest() for p in sorted(folder.glob("*.png"))]
    assert about["images_sha256"] == hashlib.sha256(b"".join(digests)).hexdigest()


def test_the_new_bundle_judges_by_the_new_scores(run, bundle_dir, folder, tmp_path, make_frame):
    out = tmp_path / "new.edgead"
    run("calibrate", bundle_dir, folder, "--out", out, "--false-reject-rate", 0.2)
    with Detector(out) as detector:
        assert detector.false_reject_rate == 0.2
        verdicts = [detector.score(make_frame(300 + i)) for i in range(N)]
    # 24 images and a rate of 5 in 25: the four highest are over, and they are no ties.
    assert sum(result.p_value <= 0.2 for result in verdicts) == 4
    assert {round(result.p_value * (N + 1)) for result in verdicts} == set(range(2, N + 2))


def test_the_new_bundle_knows_the_camera(run, bundle_dir, folder, tmp_path):
    run("calibrate", bundle_dir, folder, "--out", tmp_path / "new.edgead")
    camera = Health(open_bundle(tmp_path / "new.edgead"))
    images = [cv2.imread(str(p)) for p in sorted(folder.glob("*.png"))]
    assert all(camera.check(image) == () for image in images)
    found = [camera.check(images[i] // 3) for i in range(camera.frames_in_a_row)][-1]
    assert "dark" in {finding.name for finding in found}


def test_in_place_replaces_the_old_bundle(run, bundle_copy, folder):
    old = open_bundle(bundle_copy)
    assert run("calibrate", bundle_copy, folder, "--in-place")[0] == 0
    new = open_bundle(bundle_copy)
    assert len(new.manifest.calibration.scores) == N
    assert new.manifest.provenance["calibration"]["from_bundle_sha256"] == old.sha256
    assert [p.name for p in bundle_copy.parent.iterdir() if p.name.startswith(".")] == []


def test_for_people(run, bundle_copy, folder):
    code, out, _ = run("calibrate", bundle_copy, folder)
    assert code == 0
    target = bundle_copy.with_name("copy-calibrated.edgead")
    assert f"read   {bundle_copy} and {N} images in {folder}; CPU" in out
    assert "new    24 images, anomalous above" in out
    assert "the lowest rate 24 can promise: 1/25 = 4 %" in out
    assert "the lowest rate 39 can promise: 1/40 = 2.5 %" in out
    assert f"wrote  {target}" in out
    assert out.splitlines()[-1] == f"next   edgead score {target} IMAGE --heatmap heatmaps"
    assert "warning" not in out


def test_json(run_json, bundle_dir, folder, tmp_path):
    code, report = run_json("calibrate", bundle_dir, folder, "--out", tmp_path / "new.edgead")
    assert code == 0
    assert report["path"] == str(tmp_path / "new.edgead")
    assert report["bundle_sha256"] == open_bundle(tmp_path / "new.edgead").sha256
    assert (report["calibration_images"], report["best_false_reject_rate"]) == (N, 1 / (N + 1))
    with Detector(bundle_dir) as old, Detector(tmp_path / "new.edgead") as new:
        assert report["threshold"] == {"old": old.threshold, "new": new.threshold}
    assert report["warnings"] == []
    assert report["learnt_images_told"] is False  # the tiny bundle is of no run


def test_a_defect_among_the_good_images_is_named(run_json, bundle_dir, folder, make_frame):
    frame = make_frame(100)
    stripes = np.arange(70) // 6 % 2 == 0  # the random graph feels vertical change
    frame[stripes], frame[~stripes] = (255, 255, 250), 0  # colour, as the others
    cv2.imwrite(str(folder / "99.png"), frame)
    out = folder.parent / "new.edgead"
    _, report = run_json("calibrate", bundle_dir, folder, "--out", out)
    (warning,) = report["warnings"]
    assert warning.startswith("1 image scores far above the others") and "99.png" in warning


def test_too_few_images_say_what_can_be_promised(run, bundle_copy, folder):
    for path in sorted(folder.glob("*.png"))[9:]:
        path.unlink()
    code, out, err = run("calibrate", bundle_copy, folder)
    assert (code, out) == (1, "")
    assert "more than 9 calibration images can promise" in err and "needs 19 images" in err
    assert "--false-reject-rate 0.1" in err
    assert run("calibrate", bundle_copy, folder, "--false-reject-rate", 0.1)[0] == 0


def test_every_image_that_cannot_be_used_is_named(run, bundle_copy, folder, edit, make_frame):
    keep = json.loads((bundle_copy / "manifest.json").read_bytes())["golden"][:1]
    edit(bundle_copy, lambda m: m.update(golden=keep))  # colour, 8 bits: no other kind is expected
    colour = make_frame(1)
    (folder / "a.png").write_bytes(b"no image")
    cv2.imwrite(str(folder / "b.png"), colour[:, :, 0])
    cv2.imwrite(str(folder / "c.png"), np.repeat(colour[:, :, :1], 3, axis=2))
    cv2.imwrite(str(folder / "d.png"), colour.astype(np.uint16) * 257)
    (folder / "e.png").write_bytes((folder / "03.png").read_bytes())
    before = content(bundle_copy.parent)
    code, _, err = run("calibrate", bundle_copy, folder)
    assert code == 1
    assert f"5 of {N + 5} images cannot be used" in err
    for name, reason in (
        ("a.png", "cannot be decoded"),
        ("b.png", "is grey, 8 bits; the bundle's golden frames are colour, 8 bits"),
        ("c.png", "is grey, 8 bits"),  # three channels that are all the same
        ("d.png", "is colour, 16 bits"),
        ("e.png", "is a copy of 03.png"),
    ):
        assert any(name in line and reason in line for line in err.splitlines()), (name, err)
    assert content(bundle_copy.parent) == before


def test_colour_where_the_user_says_grey(run, bundle_dir, folder, tmp_path):
    out = tmp_path / "x.edgead"
    code, _, err = run("calibrate", bundle_dir, folder, "--color", "gray", "--out", out)
    assert code == 1
    assert f"{folder / '00.png'}: the frame has shape" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "OLD"], "--in-place"),
        (["--out", "new.bundle"], "named NAME.edgead"),
        (["--out", "good"], "named NAME.edgead"),
        (["--in-place", "--out", "x.edgead"], "not allowed with"),
        (["--false-reject-rate", "2"], "between 0 and 1"),
    ],
)
def test_arguments_that_cannot_be(run, bundle_copy, folder, words, said):
    words = [str(bundle_copy) if word == "OLD" else word for word in words]
    before = content(bundle_copy)
    try:
        code, out, err = run("calibrate", bundle_copy, folder, *words)
    except SystemExit as stop:  # argparse's own
        assert stop.code == 1
        return
    assert (code, out) == (1, "")
    assert said in err
    assert content(bundle_copy) == before


def test_folders_that_are_none(run, bundle_copy, good, tmp_path):
    assert "is a file" in run("calibrate", bundle_copy, good)[2]
    assert (
        "does not exist; expected a folder of images"
        in run("calibrate", bundle_copy, tmp_path / "no")[2]
    )
    (tmp_path / "empty").mkdir()
    code, _, err = run("calibrate", bundle_copy, tmp_path / "empty")
    assert code == 1 and "holds no image" in err


def test_an_engine_that_does_not_reproduce_the_golden_frames(run, bundle_copy, edit, folder):
    edit(bundle_copy, lambda m: m["golden"][1].update(score=99.0))
    code, _, err = run("calibrate", bundle_copy, folder)
    assert code == 2 and "golden/1.png" in err
    assert not bundle_copy.with_name("copy-calibrated.edgead").exists()


def test_a_full_disk_leaves_the_old_bundle(run, bundle_copy, folder, monkeypatch):
    before = content(bundle_copy)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("calibrate", bundle_copy, folder, "--in-place")
    assert code == 1 and "the old bundle is unchanged" in err
    assert content(bundle_copy) == before


def test_killed_while_scoring_it_leaves_the_old_bundle(bundle_copy, folder, tmp_path):
    """SIGKILL after the first image: a script in the place of the progress counter pulls it."""
    code = (
        "import os, signal\nfrom edgead.cli import calibrate\n"
        "calibrate.sys.stderr.isatty = lambda: True\n"
        "calibrate._progress = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from edgead.cli.main import main\n"
        f"main(['calibrate', {str(bundle_copy)!r}, {str(folder)!r}, '--in-place'])\n"
    )
    before = content(bundle_copy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert content(bundle_copy) == before


def test_histogram_counts_every_score_once_and_draws_bars_by_hand():
    old, new = [0.0, 0.1, 0.2, 10.0], [9.5, 10.0]
    lines = histogram(old, new)
    rows = [line.split() for line in lines[1:]]
    assert rows[0][:4] == ["0", "1", "3", "#" * WIDEST]
    assert rows[-1] == ["9", "10", "1", "#" * (WIDEST // 3), "2", "#" * WIDEST]
    assert rows[4] == ["4", "5", "0", "0"]


def test_histogram_of_scores_over_two_decades_has_bins_of_one_ratio():
    rows = [line.split() for line in histogram([1.0, 2.0], [1.0, 1024.0])[1:]]
    assert [row[0] for row in rows] == ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512"]
    assert rows[0][2] == "1" and rows[-1][-2] == "1"


def test_orientations_that_training_did_not_see_are_a_warning(run_json, bundle_copy, folder):
    image = cv2.imread(str(folder / "00.png"))
    exif = b"eXIfII*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0"
    data = cv2.imencode(".png", image[::-1, ::-1])[1].tobytes()
    check = zlib.crc32(exif).to_bytes(4, "big")
    chunk = (len(exif) - 4).to_bytes(4, "big") + exif + check
    (folder / "00.png").write_bytes(data[:33] + chunk + data[33:])
    code, report = run_json("calibrate", bundle_copy, folder)
    assert code == 0
    assert any(f"1 of {N} files have an orientation tag" in text for text in report["warnings"])
