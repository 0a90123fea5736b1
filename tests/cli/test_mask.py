"""edgead mask: the picture, the new bundle, and a sentence for every mask that does not fit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.bundle.storage import open_bundle
from edgead.images import read_image

TRIANGLE = "10,5 80,5 80,60"


@pytest.fixture
def good_folder(save, make_frame) -> Path:
    for seed in range(19):
        save(f"line/{seed:02}.png", make_frame(seed))
    return save("line/19.png", make_frame(19)).parent


def test_preview_shows_what_is_ignored(run, bundle_dir, good, tmp_path):
    picture = tmp_path / "look.png"
    code, out, err = run("mask", bundle_dir, "--polygon", TRIANGLE, "--preview", good, picture)
    assert (code, err) == (0, "")
    assert "drawn on 70 x 90" in out and "% of the map ignored" in out and "next " in out
    found, frame = read_image(picture).astype(int), read_image(good).astype(int)
    assert (found[60:, :10] == frame[60:, :10]).all()  # kept: as it was
    inside = found[15:25, 60:70]
    expected = np.rint(0.3 * frame[15:25, 60:70] + 0.7 * 128)
    np.testing.assert_allclose(inside, expected, atol=1)
    assert (found == [0, 0, 255]).all(axis=2).sum() > 100  # the outline


def test_polygons_and_png_make_a_bundle(run, bundle_dir, good_folder, save, tmp_path):
    drawn = np.zeros((70, 90), np.uint8)
    drawn[50:, :30] = 1  # not 0, though black to the eye
    png = save("drawn.png", drawn)
    out = tmp_path / "masked.edgead"
    words = ("--polygon", TRIANGLE, "--png", png, "--calibrate", good_folder, "--out", out)
    code, text, err = run("mask", bundle_dir, *words)
    assert (code, err) == (0, "")
    assert "20 images" in text and f"edgead score {out}" in text
    manifest = open_bundle(out).manifest
    assert manifest.name == "masked"
    assert manifest.ignore is not None
    assert manifest.ignore.polygons == (((10, 5), (80, 5), (80, 60)),)
    assert (read_image(out / "ignore.png") == 255 * drawn).all()
    assert len(manifest.calibration.scores) == 20
    code, text, _ = run("inspect", out)
    assert code == 0
    assert "1 polygon, ignore.png, drawn on 70 x 90" in text
    assert run("verify", out)[0] == 0
    code, _, err = run("mask", out, *words)
    assert code == 1 and "has an ignore mask already" in err


def broken_masks(save):
    return {
        "nothing drawn": ((), "nothing to ignore"),
        "two corners": (("--polygon", "1,1 5,5"), "has 2 corners; expected at least three"),
        "no number": (("--polygon", "1,1 5,x 9,9"), "'5,x' is not a corner"),
        "three numbers": (("--polygon", "1,1,1 5,5 9,9"), "'1,1,1' is not a corner"),
        "outside": (("--polygon", "1,1 91,5 9,9"), "91,5 of a polygon is outside the frame of 70"),
        "not finite": (("--polygon", "1,1 nan,5 9,9"), "outside the frame"),
        "no area": (("--polygon", "1,1 50,1 1,1"), "holds the centre of no pixel"),
        "all": (("--polygon", "0,0 90,0 90,70 0,70"), "leaves no pixel of the frame"),
        "too small": (("--polygon", "3,3 4,3 4,4 3,4"), "no pixel of the map"),
        "other size": (("--png", save("small.png", np.ones((35, 45), np.uint8))), "35 x 45"),
        "all of it": (("--png", save("ones.png", np.ones((70, 90), np.uint8))), "invert it"),
        "black": (
            ("--png", save("black.png", np.zeros((70, 90), np.uint8))),
            "no pixel of the map",
        ),
        "no file": (("--png", "absent.png"), "cannot read image absent.png"),
    }


def test_masks_that_do_not_fit(run, bundle_dir, good_folder, save, tmp_path):
    out = tmp_path / "new.edgead"
    for name, (words, sentence) in broken_masks(save).items():
        code, _, err = run("mask", bundle_dir, *words, "--calibrate", good_folder, "--out", out)
        assert code == 1, name
        assert sentence in err, (name, err)
        assert not out.exists(), name


def test_a_mask_without_calibration_is_not_written(run, bundle_dir, tmp_path, good, good_folder):
    out = tmp_path / "new.edgead"
    code, _, err = run("mask", bundle_dir, "--polygon", TRIANGLE, "--out", out)
    assert code == 1 and "--calibrate DIR" in err
    code, _, err = run("mask", bundle_dir, "--polygon", TRIANGLE)
    assert code == 1 and "--preview FRAME PICTURE.png" in err
    code, _, err = run("mask", bundle_dir, "--polygon", TRIANGLE, "--calibrate", good_folder)
    assert code == 1 and "--out NEW.edgead" in err
    assert not out.exists()


def test_calibration_frames_of_two_sizes(run, bundle_dir, good_folder, save, make_frame, tmp_path):
    save("line/zz.png", make_frame(7, (35, 45, 3)))
    words = ("--polygon", TRIANGLE, "--calibrate", good_folder, "--out", tmp_path / "new.edgead")
    code, _, err = run("mask", bundle_dir, *words)
    assert code == 1 and "zz.png" in err and "35 x 45" in err
    assert not (tmp_path / "new.edgead").exists()


def test_too_few_images_for_the_rate(run, bundle_dir, save, make_frame, tmp_path):
    folder = save("few/0.png", make_frame(0)).parent
    words = ("--polygon", TRIANGLE, "--calibrate", folder, "--out", tmp_path / "new.edgead")
    code, _, err = run("mask", bundle_dir, *words)
    assert code == 1 and "needs 19 images" in err
    assert not (tmp_path / "new.edgead").exists()


def test_overlays_grey_what_is_ignored(run, bundle_dir, good_folder, good, tmp_path):
    out = tmp_path / "masked.edgead"
    run("mask", bundle_dir, "--polygon", TRIANGLE, "--calibrate", good_folder, "--out", out)
    code, _, _ = run("score", out, good, "--heatmap", tmp_path / "heat")
    assert code == 0
    overlay = cv2.imread(str(tmp_path / "heat" / "good_heatmap.png")).astype(int)
    assert np.abs(overlay[15:25, 60:70] - 128).max() <= 0.3 * 128 + 1
