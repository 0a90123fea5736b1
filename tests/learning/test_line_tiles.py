"""The line on bundles that see tiles: add, forget, compare, trim, defects and both pages."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from good_parts import part, scratched, with_label  # type: ignore[import-not-found]
from steps import digests, run, save  # type: ignore[import-not-found]

import edgead
from edgead.bundle.storage import open_bundle
from edgead.images import read_image
from edgead.learning import cleaning
from edgead.learning.backbone import read_backbone
from edgead.learning.cleaning import cross_fit
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions
from edgead.tiling import Tiling, plan_tiles

TILE, OVERLAP = 48, 8
TILING = Tiling((TILE, TILE), OVERLAP)


def wide(seed: int, make=part) -> np.ndarray:
    """Two parts side by side, [80, 192, 3]; the right one is of ``make``."""
    return np.hstack([part(2 * seed), make(2 * seed + 1)])


def rejected(bundle: Path, frames: list[np.ndarray]) -> int:
    with edgead.Detector(bundle, device="cpu") as detector:
        return sum(bool(detector.score(frame).is_anomalous) for frame in frames)


@pytest.fixture(scope="module")
def words(backbone_file: Path) -> list[object]:
    tiles = ["--tile", TILE, "--tile-overlap", OVERLAP, "--memory", 150]
    return ["--backbone", backbone_file, "--size", 64, *tiles]


@pytest.fixture(scope="module")
def old(words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    photos = save(folder / "photos", {f"{seed:02}.png": wide(seed) for seed in range(16)})
    assert run("learn", photos, "--out", folder / "disc.edgead", *words, "--calibration", 0.4) == 0
    return folder / "disc.edgead"


def test_parts_are_added_tile_by_tile(old, tmp_path, capsys) -> None:
    seeds = [s for s in range(300, 330) if rejected(old, [wide(s, with_label)])][:6]
    assert len(seeds) == 6
    frames = [wide(seed, with_label) for seed in seeds]
    added = save(tmp_path / "added", {f"{s}.png": f for s, f in zip(seeds, frames, strict=True)})
    sample = save(tmp_path / "sample", {f"{s}.png": wide(s) for s in range(400, 412)})
    out = tmp_path / "new.edgead"
    command = ["learn", old, "--add", added, "--calibrate", sample, "--out", out, "--force"]
    assert run(*command, "--json", "--report", tmp_path / "page") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["added"]["rejected_before"] == 6 and told["added"]["rejected_now"] == 0
    assert rejected(out, frames) == 0
    assert rejected(out, [wide(seed, scratched) for seed in range(500, 506)]) == 6
    bundle = open_bundle(out)
    assert bundle.manifest.tiling == TILING
    side = 2 * TILE - OVERLAP  # golden frames of two by two tiles, as in learning
    for golden in bundle.manifest.golden:
        assert read_image(bundle.path_of(golden.image)).shape == (80, side, 3)
    assert (tmp_path / "page/index.html").read_text().count("no longer rejected") == 6
    assert run("learn", out, "--forget", "--out", out) == 0
    assert digests(out) == digests(old)


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    images = {f"{seed:02}.png": wide(seed) for seed in range(20)}
    return save(tmp_path / "dirty", images | {"zz.png": wide(700, scratched)})


def test_a_defect_among_the_good_images_is_trimmed(dirty, words, tmp_path, capsys) -> None:
    out = tmp_path / "x.edgead"
    command = ["learn", dirty, "--out", out, *words, "--json"]
    assert run(*command, "--trim", "--report", tmp_path / "page") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trimmed"] == ["zz.png"] and told["worst"][0]["name"] == "zz.png"
    assert told["images"] + told["calibration"] == 20
    assert (tmp_path / "page/index.html").read_text().count("left out</span>") == 1


def test_the_map_of_an_image_is_stitched_of_tiles_that_are_seen_as_they_are(backbone_file) -> None:
    """Each tile by itself gives what a bundle without tiles gives for that piece."""
    frames = [wide(seed, scratched if seed == 9 else part) for seed in range(10)]
    images = [GoodImage(f"{i}", lambda frame=frame: frame) for i, frame in enumerate(frames)]
    options = LearnOptions(size=(64, 64), memory=150, tiling=TILING)
    parts = [image.name for image in images]
    cross = cross_fit(images, parts, read_backbone(backbone_file), options)
    assert cross is not None and cross.worst(1) == [9]
    plan = plan_tiles(TILING, (80, 192), (64, 64))
    stitched = np.zeros(plan.map_size)
    for tile in plan.tiles(None):
        piece = frames[9][tile.top : tile.top + TILE, tile.left : tile.left + TILE]
        seen = cross.others._seen(np.ascontiguousarray(piece), cross.folds[9])[0]
        stitched[tile.window] += seen * tile.down[:, None].astype(float) * tile.across
    found = cross.map_of(9, frames[9])
    assert found.shape == plan.map_size
    np.testing.assert_allclose(found, stitched, rtol=1e-5)
    assert cross.scores[9] == pytest.approx(stitched.max(), rel=1e-5)
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    row, column = row * 80 / found.shape[0], column * 192 / found.shape[1]
    assert 25 <= row <= 57 and 96 + 33 <= column <= 96 + 65  # where the scratch is


def test_of_many_tiles_some_of_each_image_are_compared_with(backbone_file, monkeypatch) -> None:
    monkeypatch.setattr(cleaning, "MOST_TILES", 8)
    asked: list[int | None] = []
    original = cleaning.features_of

    def watching(images, draft, engine, progress, title, most, held):
        asked.append(most)
        return original(images, draft, engine, progress, title, most, held)

    monkeypatch.setattr(cleaning, "features_of", watching)
    images = [GoodImage(f"{i}", lambda i=i: wide(i)) for i in range(4)]
    options = LearnOptions(size=(64, 64), memory=150, tiling=TILING)
    names = [image.name for image in images]
    cross = cross_fit(images, names, read_backbone(backbone_file), options)
    assert asked == [2] and cross is not None and len(cross.scores) == 4


def test_known_defects_are_judged_with_their_masks(old, words, tmp_path, capsys) -> None:
    bad = save(tmp_path / "bad", {f"{seed}.png": wide(seed, scratched) for seed in (500, 501, 502)})
    for seed, left in ((500, 96 + 30), (501, 30)):  # at the scratch, and where there is none
        mask = np.zeros((80, 192), np.uint8)
        mask[22:60, left : left + 38] = 255
        cv2.imwrite(str(bad / f"{seed}_mask.png"), mask)
    photos, out = old.parent / "photos", tmp_path / "x.edgead"
    command = ["learn", photos, "--out", out, *words, "--calibration", 0.4, "--defects", bad]
    assert run(*command, "--json", "--report", tmp_path / "page") == 0
    found = json.loads(capsys.readouterr().out)["defects"]
    assert (found["images"], found["caught"]) == (3, 3)
    assert (found["with_mask"], found["located"]) == (2, 1)
    assert "highest outside its mask" in (tmp_path / "page/index.html").read_text()
