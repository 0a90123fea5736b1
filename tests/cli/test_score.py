"""edgead score: numbers held against onnxruntime and float64 NumPy, bad input against the issue."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.cli.score import overlay_paths
from edgead.errors import InputError

# The tiny bundle's own tolerance: float32 convolutions against onnxruntime's and float64 maps.
TOLERANCE = 1e-4
FRAME_KEYS = {"path", "score", "p_value", "threshold", "is_anomalous", "regions", "timings_ms"}


def test_json_has_the_scores_that_independent_code_gives(run_json, bundle_dir, tiny, scratched):
    code, report = run_json("score", bundle_dir, scratched)
    assert code == 0
    assert set(report) == {"frames", "engine", "left_out"}
    (frame,) = report["frames"]
    assert set(frame) == FRAME_KEYS
    assert frame["path"] == str(scratched)
    score = tiny.truth(cv2.imread(str(scratched), cv2.IMREAD_UNCHANGED))[1]
    assert frame["score"] == pytest.approx(score, abs=TOLERANCE)
    calibration = np.array(tiny.manifest.calibration.scores)
    p_value = (1 + np.sum(calibration + TOLERANCE >= score)) / (len(calibration) + 1)
    assert frame["p_value"] == pytest.approx(p_value)
    assert p_value <= 0.05  # the scratch is seen by the independent code, too
    assert frame["is_anomalous"] is True
    assert set(frame["timings_ms"]) == {"preprocess", "engine", "anomaly_map", "total"}
    assert all(isinstance(value, float) for value in frame["timings_ms"].values())


def test_json_regions_are_in_pixels_of_the_frame(run_json, bundle_dir, scratched):
    _, report = run_json("score", bundle_dir, scratched)
    regions = report["frames"][0]["regions"]
    assert regions
    for region in regions:
        assert set(region) == {"x", "y", "width", "height", "area", "peak"}
        assert 0 <= region["x"] < region["x"] + region["width"] <= 90
        assert 0 <= region["y"] < region["y"] + region["height"] <= 70
    highest = max(regions, key=lambda region: region["peak"])
    assert highest["y"] < 32 + 8  # near the scratch, whose rows end at 31
    assert highest["y"] + highest["height"] > 20 - 8


def test_json_names_the_engine(run_json, bundle_dir, good):
    _, report = run_json("score", bundle_dir, good)
    digest = hashlib.sha256((bundle_dir / "manifest.json").read_bytes()).hexdigest()
    assert set(report["engine"]) == {"device", "precision", "bundle_sha256"}
    assert report["engine"]["bundle_sha256"] == digest
    assert report["engine"]["precision"] == "float32"
    assert report["engine"]["device"].startswith("CPU")


def test_json_alone_is_on_stdout_and_the_rest_on_stderr(run, bundle_dir, good):
    code, out, err = run("score", bundle_dir, good, "--json")
    assert code == 0
    assert json.loads(out)["frames"][0]["path"] == str(good)
    assert "next   edgead score" in err


def test_json_of_a_whole_process_is_pure(bundle_dir, good, scratched, truncated, tmp_path):
    """Native libraries write past Python's sys.stdout: only a process shows what they do."""
    words = ["score", bundle_dir, good, truncated, scratched, "--json", "--heatmap", tmp_path / "h"]
    done = subprocess.run(
        [sys.executable, "-m", "edgead", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert [Path(f["path"]).name for f in json.loads(done.stdout)["frames"]] == [
        "good.png", "truncated.png", "scratched.png",
    ]  # fmt: skip
    assert "truncated" in done.stderr


def test_for_people_a_row_per_image_and_what_comes_next(run, bundle_dir, good, scratched):
    code, out, err = run("score", bundle_dir, good, scratched)
    assert code == 0
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"read   {bundle_dir} and 2 images; CPU")
    assert lines[2].startswith("good ") and lines[2].endswith(str(good))
    assert lines[3].startswith("ANOMALOUS ") and lines[3].endswith(str(scratched))
    assert lines[4].startswith("found  1 anomalous of 2 images: score above ")
    assert lines[4].endswith("for a false-reject rate of 5 %")
    assert lines[5].startswith("next   edgead score ")
    assert "\x1b" not in out


def test_what_comes_next_keeps_the_settings(run, bundle_dir, good):
    settings = "--false-reject-rate 0.1 --color rgb --device cpu --threads 1"
    last = run("score", bundle_dir, good, *settings.split())[1].splitlines()[-1]
    assert last == f"next   edgead score {bundle_dir} {good} {settings} --heatmap heatmaps"
    last = run("score", bundle_dir, good, "--color", "bgr")[1].splitlines()[-1]
    assert last == f"next   edgead score {bundle_dir} {good} --heatmap heatmaps"


@pytest.mark.parametrize(("name", "expected"), [("good", 0), ("scratched", 3)])
def test_exit_code_says_whether_a_frame_is_anomalous(run, request, bundle_dir, name, expected):
    image = request.getfixturevalue(name)
    assert run("score", bundle_dir, image, "--exit-code")[0] == expected
    assert run("score", bundle_dir, image)[0] == 0


def test_the_false_reject_rate_decides(run_json, bundle_dir, tiny, save, make_frame):
    scores = tiny.manifest.calibration.scores
    middle = int(np.argsort(scores)[len(scores) // 2])
    image = save("middle.png", make_frame(middle))  # a calibration frame of middling score
    for rate, expected in ((0.9, True), (0.1, False)):
        _, report = run_json("score", bundle_dir, image, "--false-reject-rate", rate)
        assert report["frames"][0]["is_anomalous"] is expected


@pytest.mark.parametrize("rate", [0.001, 0, 1, -0.1])
def test_an_impossible_false_reject_rate(run, bundle_dir, good, rate):
    code, out, err = run("score", bundle_dir, good, f"--false-reject-rate={rate}")
    assert (code, out) == (1, "")
    assert "false-reject rate" in err
    if rate == 0.001:
        assert "best possible is 0.025" in err  # 1 / (39 + 1)


def test_folders_and_files_in_the_order_given(run_json, bundle_dir, save, make_frame, good):
    folder = save("parts/b.png", make_frame(101)).parent
    save("parts/a.bmp", make_frame(102, (40, 40)))
    (folder / "notes.txt").write_text("no image")
    _, report = run_json("score", bundle_dir, good, folder)
    assert [Path(frame["path"]).name for frame in report["frames"]] == [
        "good.png",
        "a.bmp",
        "b.png",
    ]


def test_an_unreadable_image_is_named_and_the_others_are_scored(
    run, run_json, bundle_dir, good, truncated, scratched
):
    code, report = run_json("score", bundle_dir, good, truncated, scratched, "--exit-code")
    assert code == 1  # not 3: the answer is not whole
    first, second, third = report["frames"]
    assert set(second) == {"path", "error"}
    assert second["path"] == str(truncated) and str(truncated) in second["error"]
    assert first["score"] > 0 and third["is_anomalous"]
    code, out, err = run("score", bundle_dir, good, truncated, scratched)
    assert code == 1
    assert err.startswith("edgead: ") and str(truncated) in err
    assert "failed 1 image, named above" in out
    assert out.endswith(f"next   edgead score {bundle_dir} {good} {scratched} --heatmap heatmaps\n")
    code, out, _ = run("score", bundle_dir, truncated)
    assert code == 1 and "next " not in out  # nothing to look at


def test_float_images_and_colour_where_grey_is_expected(run_json, bundle_dir, save, make_frame):
    nan = save("nan.tiff", np.full((20, 20), np.nan, np.float32))
    code, report = run_json("score", bundle_dir, nan)
    assert code == 1
    assert "float32" in report["frames"][0]["error"] and "uint8" in report["frames"][0]["error"]
    colour = save("colour.png", make_frame(3))
    code, report = run_json("score", bundle_dir, colour, "--color", "gray")
    assert code == 1
    assert str(colour) in report["frames"][0]["error"]


def test_the_order_of_the_channels_counts(run_json, bundle_dir, save, make_frame):
    frame = make_frame(3)
    images = save("bgr.png", frame), save("rgb.png", frame[:, :, ::-1])
    scores = [
        run_json("score", bundle_dir, image, "--color", color)[1]["frames"][0]["score"]
        for image, color in zip(images, ("bgr", "rgb"), strict=True)
    ]
    assert scores[0] == scores[1]
    other = run_json("score", bundle_dir, images[0], "--color", "rgb")[1]["frames"][0]["score"]
    assert other != scores[0]


def test_what_is_not_there_stops_at_the_entry_point(run, bundle_dir, good, tmp_path):
    out_dir = tmp_path / "heat"
    code, out, err = run("score", bundle_dir, good, tmp_path / "no.png", "--heatmap", out_dir)
    assert (code, out) == (1, "")  # nothing scored, nothing printed
    assert f"{tmp_path / 'no.png'} does not exist" in err
    assert not out_dir.exists()


def test_an_empty_folder(run, bundle_dir, tmp_path):
    empty = tmp_path / "empty"
    (empty / "deeper").mkdir(parents=True)
    code, _, err = run("score", bundle_dir, empty)
    assert code == 1
    assert f"{empty} holds no image" in err


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: shutil.rmtree(path), "does not exist"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json"),
        (lambda path: (path / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda path: (path / "model.onnx").write_bytes(b"cut"), "model.onnx was truncated"),
        (lambda path: (path / "added.txt").write_text("x"), "added.txt is not in the manifest"),
    ],
)
@pytest.mark.parametrize("command", ["score", "inspect", "verify"])
def test_a_damaged_bundle_is_refused(run, bundle_copy, good, command, damage, said):
    damage(bundle_copy)
    words = [command, bundle_copy] + ([good] if command == "score" else [])
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert err.startswith("edgead: ") and said in err


@pytest.mark.parametrize(
    ("device", "code", "said"), [("cuda", 2, "kernels were not built"), ("toaster", 1, "toaster")]
)
def test_a_device_that_is_not_there(run, bundle_dir, good, no_gpu, device, code, said):
    found, _, err = run("score", bundle_dir, good, "--device", device)
    assert found == code
    assert said in err


def test_threads(run, bundle_dir, good):
    assert run("score", bundle_dir, good, "--threads", 1)[0] == 0
    code, _, err = run("score", bundle_dir, good, "--threads", 0)
    assert code == 1 and "threads=0" in err


def test_an_unqualified_engine_is_the_devices_mistake(run, bundle_copy, edit, good):
    edit(bundle_copy, lambda manifest: manifest["golden"][0].update(score=99.0))
    code, out, err = run("score", bundle_copy, good)
    assert (code, out) == (2, "")
    assert "golden/0.png" in err and "99" in err


def test_heatmaps_are_overlays_of_frame_size(run, run_json, bundle_dir, good, scratched, tmp_path):
    folder = tmp_path / "new" / "heatmaps"
    code, out, _ = run("score", bundle_dir, good, scratched, "--heatmap", folder)
    assert code == 0
    assert f"wrote  2 overlays to {folder}" in out
    assert sorted(p.name for p in folder.iterdir()) == [
        "good_heatmap.png", "scratched_heatmap.png",
    ]  # fmt: skip
    frame = cv2.imread(str(scratched)).astype(int)
    overlay = cv2.imread(str(folder / "scratched_heatmap.png")).astype(int)
    assert overlay.shape == frame.shape
    change = np.abs(overlay - frame).max(axis=2)
    assert change[20:32, 15:65].mean() > change[60:, :].mean()  # the heat is where the scratch is
    _, report = run_json("score", bundle_dir, scratched, "--heatmap", folder)
    assert report["frames"][0]["heatmap"] == str(folder / "scratched_heatmap.png")


def test_no_two_overlays_have_one_name(tmp_path):
    images = [Path(name) for name in ("a/x.png", "b/x.png", "b/X.jpg", "b/y.png", "c/b/x.png")]
    images = [tmp_path / image for image in images]
    names = [path.name for path in overlay_paths(tmp_path / "out", images)]
    assert names[0] == "a_x_heatmap.png"
    assert names[3] == "y_heatmap.png"
    assert len({name.casefold() for name in names}) == len(images)


def test_an_overlay_never_takes_the_place_of_an_image(tmp_path):
    with pytest.raises(InputError, match=r"x_heatmap\.png is one of the images"):
        overlay_paths(tmp_path, [tmp_path / "x.png", tmp_path / "x_heatmap.png"])


def test_a_heatmap_folder_that_is_a_file(run, bundle_dir, good, tmp_path):
    (tmp_path / "taken").write_text("a file")
    code, out, err = run("score", bundle_dir, good, "--heatmap", tmp_path / "taken")
    assert (code, out) == (1, "")
    assert "taken needs a folder where there is a file" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_heatmap_folder_without_permission(run, bundle_dir, good, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, _, err = run("score", bundle_dir, good, "--heatmap", closed)
    assert code == 1
    assert "no permission" in err and "closed" in err


def test_a_full_disk_while_writing_an_overlay(run, bundle_dir, good, tmp_path, monkeypatch):
    """ENOSPC at fsync, where a full disk shows at the latest; nothing half is left behind."""

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("score", bundle_dir, good, "--heatmap", tmp_path / "h")
    assert code == 1
    assert "no space left on the disk" in err
    assert list((tmp_path / "h").iterdir()) == []


def test_pages_and_orientations_are_counted(run, run_json, bundle_dir, good, tmp_path, edit):
    """Said once; a bundle that learnt with orientations applied is not warned of them."""
    image = cv2.imread(str(good))
    folder = tmp_path / "parts"
    folder.mkdir()
    cv2.imwritemulti(str(folder / "a.tif"), [image, image])
    cv2.imwrite(str(folder / "b.png"), image)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    (folder / "c.jpg").write_bytes(turned)
    code, out, _ = run("score", bundle_dir, folder)
    assert code == 0
    assert out.count("1 of 3 files have more than one page: the first was read") == 1
    assert out.count("1 of 3 files have an orientation tag, which is applied") == 1
    _, report = run_json("score", bundle_dir, folder)
    scores = {Path(frame["path"]).name: frame["score"] for frame in report["frames"]}
    assert scores["a.tif"] == scores["b.png"] != scores["c.jpg"]
    told = tmp_path / "told.edgead"
    shutil.copytree(bundle_dir, told)
    edit(told, lambda manifest: manifest["provenance"].update(orientation="exif"))
    _, out, _ = run("score", told, folder)
    assert "more than one page" in out
    assert "orientation tag" not in out
