"""edgead calibrate on images that are no new parts: copies, near-copies, learnt, empty."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.bundle.known_images import CALIBRATED, CONTENTS, LEARNT, MOST, Known, note
from edgead.bundle.storage import open_bundle
from edgead.images.content import digest_of

N = 24


@pytest.fixture
def folder(save, make_frame) -> Path:
    """N good images of different parts."""
    for index in range(N):
        save(f"good/{index:02d}.png", make_frame(300 + index))
    return save("good/00.png", make_frame(300)).parent


@pytest.fixture
def learnt(bundle_copy, edit, make_frame):
    """``learnt(seeds)``: the bundle, as if it had learnt from these frames."""

    def write(seeds) -> Path:
        kept = note(digest_of(make_frame(seed)) for seed in seeds)
        edit(bundle_copy, lambda m: m["provenance"].update({CONTENTS: {LEARNT: kept}}))
        return bundle_copy

    return write


def test_a_copy_in_another_file_is_refused(run, bundle_copy, folder, make_frame) -> None:
    cv2.imwrite(str(folder / "x.bmp"), make_frame(305))
    code, _, err = run("calibrate", bundle_copy, folder)
    assert code == 1 and "x.bmp is a copy of 05.png and would count twice" in err


def test_sixty_files_of_six_images_promise_nothing(run, bundle_copy, save, make_frame) -> None:
    for index in range(60):
        path = save(f"six/{index:02d}.png", make_frame(300 + index % 6))
    code, _, err = run("calibrate", bundle_copy, path.parent, "--false-reject-rate", 0.2)
    assert code == 1 and "54 of 60 images cannot be used" in err


def test_near_copies_count_once(run, run_json, bundle_copy, save, make_frame) -> None:
    """Ten shots each of 24 parts: what is promised is 1/25, and one shot of each is scored."""
    for index in range(3 * N):
        part = make_frame(300 + index % N, (140, 180, 3)).astype(float)
        noise = np.random.default_rng(index).normal(0, 2, part.shape)
        path = save(f"shots/{index:02d}.png", np.clip(np.rint(part + noise), 0, 255).astype("u1"))
    out = path.parent.parent / "new.edgead"
    code, report = run_json("calibrate", bundle_copy, path.parent, "--out", out)
    assert code == 0
    assert report["calibration_images"] == N and report["best_false_reject_rate"] == 1 / (N + 1)
    assert f"{2 * N} of {3 * N} images (67%) nearly repeat others" in report["warnings"][0]
    assert len(open_bundle(out).manifest.calibration.scores) == N
    assert "--count-all" in report["warnings"][0]
    _, report = run_json("calibrate", bundle_copy, path.parent, "--out", out, "--count-all")
    assert report["calibration_images"] == 3 * N and report["warnings"] == []
    code, _, err = run("calibrate", bundle_copy, path.parent, "--false-reject-rate", 0.02)
    assert code == 1 and "more than 24 calibration images can promise" in err


def test_images_that_were_learnt_are_refused(run, learnt, folder) -> None:
    code, _, err = run("calibrate", learnt([303, 310, 999]), folder)
    assert code == 1 and f"2 of {N} images cannot be used" in err
    for name in ("03.png", "10.png"):
        assert any(name in line and "was learnt from" in line for line in err.splitlines())


def test_what_cannot_be_told_is_said(run, run_json, learnt, bundle_dir, folder, tmp_path) -> None:
    assert (
        "cannot be told" in run("calibrate", bundle_dir, folder, "--out", tmp_path / "a.edgead")[1]
    )
    bundle = learnt([1])
    assert "cannot be told" not in run("calibrate", bundle, folder)[1]
    _, report = run_json("calibrate", bundle, folder)
    assert report["learnt_images_told"] is True


def test_the_new_bundle_tells_what_it_has_learnt_and_is_calibrated_with(
    run, learnt, folder, make_frame
) -> None:
    bundle = learnt([1, 2])
    assert run("calibrate", bundle, folder, "--in-place")[0] == 0
    known = Known(open_bundle(bundle).manifest.provenance)
    assert known.kind_of(digest_of(make_frame(2))) == LEARNT
    assert known.kind_of(digest_of(make_frame(300))) == CALIBRATED
    assert known.kind_of(digest_of(make_frame(400))) is None
    # The same images again are no copies: they calibrate in place of themselves.
    assert run("calibrate", bundle, folder, "--in-place")[0] == 0


@pytest.mark.parametrize("value", [0, 255, "each its own"])
def test_empty_images_are_refused(run, bundle_copy, save, value) -> None:
    for index in range(N):
        level = 9 * index if value == "each its own" else value
        path = save(f"flat/{index}.png", np.full((70, 90, 3), level, np.uint8))
    before = sorted(p.name for p in bundle_copy.parent.iterdir())
    code, out, err = run("calibrate", bundle_copy, path.parent)
    assert (code, out) == (1, "")
    assert "copies of one picture" in err or "of one value, or nearly" in err or "grey" in err
    assert sorted(p.name for p in bundle_copy.parent.iterdir()) == before


def test_mask_refuses_and_counts_alike(run, learnt, folder) -> None:
    words = (
        "--polygon",
        "0,0 20,0 0,20",
        "--calibrate",
        folder,
        "--out",
        folder.parent / "m.edgead",
    )
    code, _, err = run("mask", learnt([303]), *words)
    assert code == 1 and "03.png was learnt from" in err


# -------------------------------------------------------------------------- what a bundle keeps


def test_digests_are_kept_bounded_and_the_rest_can_be_told_in_part() -> None:
    digests = [index.to_bytes(32, "big")[::-1] for index in range(MOST + 1000)]
    kept = note(digests * 2)
    assert kept["images"] == MOST + 1000 and len(kept["digests"]) == 2 * 8 * MOST
    known = Known({CONTENTS: {LEARNT: kept}})
    assert known.share == MOST / (MOST + 1000)
    assert sum(known.kind_of(digest) == LEARNT for digest in digests) == MOST


@pytest.mark.parametrize("contents", [None, 3, [], {LEARNT: 3}, {LEARNT: {"digests": "xy"}}])
def test_a_provenance_that_says_something_else_tells_nothing(contents) -> None:
    known = Known(json.loads(json.dumps({CONTENTS: contents})))
    assert not known.tells(LEARNT) and known.kind_of(bytes(32)) is None and known.share == 1.0
