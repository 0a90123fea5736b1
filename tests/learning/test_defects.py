"""Known defects: what is caught is said, and nothing that judges changes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from good_parts import part, scratched  # type: ignore[import-not-found]

from edgead.bundle.card import CARD
from edgead.bundle.storage import open_bundle
from edgead.cli.main import main


@pytest.fixture
def learn(backbone_file: Path, good_folder: Path, tmp_path: Path, capsys):
    def call(out: str, *words: object, code: int = 0) -> dict:
        command = ["learn", good_folder, "--out", tmp_path / out, "--backbone", backbone_file]
        command += ["--size", 64, "--memory", 150, "--json", *words]
        assert main([str(word) for word in command]) == code
        printed = capsys.readouterr()
        return json.loads(printed.out) if code == 0 else {"error": printed.err}

    return call


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Ten with a scratch, two of them with a mask, one of which lies elsewhere; two that are good
    for all that can be seen."""
    folder = tmp_path / "bad"
    for kind in ("scratch", "none"):
        (folder / kind).mkdir(parents=True)
    for seed in range(800, 810):
        cv2.imwrite(str(folder / f"scratch/{seed}.png"), scratched(seed))
    for seed in (810, 811):
        cv2.imwrite(str(folder / f"none/{seed}.png"), cv2.GaussianBlur(part(seed), (0, 0), 0.3))
    for seed, box in ((800, np.s_[24:58, 32:66]), (801, np.s_[70:80, 0:9])):
        mask = np.zeros((80, 96), np.uint8)
        mask[box] = 255
        cv2.imwrite(str(folder / f"scratch/{seed}_mask.png"), mask)
    return folder


def test_the_promise_is_the_same_with_and_without(learn, bad: Path) -> None:
    without = open_bundle(learn("a.edgead")["bundle"]).manifest
    with_them = open_bundle(learn("b.edgead", "--defects", bad)["bundle"]).manifest
    assert with_them.calibration == without.calibration
    assert with_them.tolerance == without.tolerance and with_them.map == without.map
    files = {**with_them.files, CARD: without.files[CARD]}  # which has date and figures
    assert files == without.files
    assert "defects" not in without.provenance


def test_the_share_is_that_of_edgead_score(learn, bad: Path, capsys) -> None:
    stats = pytest.importorskip("scipy.stats")
    told = learn("a.edgead", "--defects", bad)
    paths = sorted(p for p in bad.rglob("*.png") if "mask" not in p.name)
    assert main(["score", told["bundle"], *map(str, paths), "--json"]) == 0
    frames = json.loads(capsys.readouterr().out)["frames"]
    caught = sum(frame["is_anomalous"] for frame in frames)
    found = told["defects"]
    assert (found["images"], found["caught"], found["share"]) == (12, caught, caught / 12)
    truth = stats.binomtest(caught, 12).proportion_ci(0.95, method="wilson")
    assert found["interval"] == pytest.approx([truth.low, truth.high])
    assert found["threshold"] == frames[0]["threshold"]
    missed = {Path(f["path"]).name for f in frames if not f["is_anomalous"]}
    assert {Path(name).name for name in found["missed"]} == missed
    assert (found["with_mask"], found["located"]) == (2, 1)
    provenance = open_bundle(told["bundle"]).manifest.provenance
    assert provenance["defects"] == {k: v for k, v in found.items() if k != "missed"}


def test_defects_that_cannot_be_used(learn, bad: Path, good_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    error = learn("a.edgead", "--defects", tmp_path / "none", code=1)["error"]
    assert "holds no image" in error
    (bad / "copy.png").write_bytes((good_folder / "03.png").read_bytes())
    error = learn("a.edgead", "--defects", bad, code=1)["error"]
    assert "1 of 13 images of --defects are among the good images too (copy.png)" in error
    (bad / "copy.png").unlink()
    cv2.imwrite(str(bad / "scratch/800_mask.png"), np.zeros((8, 9), np.uint8))
    found = learn("a.edgead", "--defects", bad, code=1)
    assert "800_mask.png is 8 x 9 (height x width) and its image 80 x 96; expec" in found["error"]
    assert "checking the images" not in found["error"]  # nothing else was read yet
    assert not (tmp_path / "a.edgead").exists()
