"""Bundles that are learnt from tiles and see frames in tiles: one memory serves them all."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from edgead_export.int8.features import int8_of
from good_parts import (  # type: ignore[import-not-found]
    part,
    scratched,
    varied,
    write_separable_backbone,
)

import edgead
from edgead import reference
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cli.main import main
from edgead.errors import InputError
from edgead.images import read_image
from edgead.learning import learn as learning
from edgead.learning.backbone import Backbone, read_backbone
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions, learn
from edgead.tiling import Tiling, plan_tiles

TILING = Tiling((48, 40), 8)
OPTIONS = LearnOptions(size=(64, 64), memory=300, tiling=TILING)


def large(seed: int, make: Any = part) -> np.ndarray:
    """Four parts side by side, [160, 192, 3]; the last one is of ``make``."""
    a, b, c = (part(4 * seed + i) for i in range(3))
    return np.vstack([np.hstack([a, b]), np.hstack([c, make(4 * seed + 3)])])


def good(seeds: range) -> list[GoodImage]:
    return [GoodImage(f"{seed}.png", lambda seed=seed: large(seed)) for seed in seeds]


@pytest.fixture(scope="module")
def backbone(backbone_file: Path) -> Backbone:
    return read_backbone(backbone_file)


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Bundle:
    out = tmp_path_factory.mktemp("tiled") / "disc.edgead"
    return learn(good(range(6)), good(range(6, 12)), backbone, out, OPTIONS)


def truth(bundle: Bundle, frame: np.ndarray) -> np.ndarray:
    """The stitched map in float64: each tile by itself, then their weighted mean."""
    manifest = bundle.manifest
    session = onnxruntime.InferenceSession(bundle.read("model.onnx"))
    kept, places = (np.load(io.BytesIO(bundle.read(n))) for n in ("memory.npy", "places.npy"))
    plan = plan_tiles(TILING, frame.shape[:2], manifest.map.size)
    stitched = np.zeros(plan.map_size)
    for tile in plan.tiles(None):
        piece = frame[tile.top : tile.top + 48, tile.left : tile.left + 40]
        image = reference.preprocess(piece, manifest.preprocess).astype(np.float32)
        (features,) = session.run(["features"], {"image": image[None]})
        distance = reference.nearest(features, kept.astype(np.float64)) / features.shape[1]
        distance = (distance * places)[:, None]
        maps, _ = reference.anomaly_map([(distance, 0 * distance)], manifest.map)
        stitched[tile.window] += maps[0] * tile.down[:, None] * tile.across
    return stitched


@pytest.mark.parametrize("shape", [(160, 192), (48, 40), (48, 77), (97, 41)])
def test_maps_are_those_of_float64(tiled: Bundle, shape: tuple[int, int]) -> None:
    frame = np.ascontiguousarray(large(70, scratched)[: shape[0], : shape[1]])
    expected = truth(tiled, frame)
    with edgead.Detector(tiled, device="cpu") as detector:
        result = detector.score(frame)
    np.testing.assert_allclose(result.map, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert result.score == pytest.approx(expected.max(), rel=1e-3)


def test_a_defect_is_found_where_it_is(tiled: Bundle) -> None:
    with edgead.Detector(tiled, device="cpu") as detector:
        found = detector.score(large(90, scratched))
        assert found.is_anomalous
        y, x = np.unravel_index(int(found.heatmap().argmax()), found.heatmap().shape)
    assert 80 + 25 <= y <= 80 + 57 and 96 + 33 <= x <= 96 + 65


def test_calibration_is_of_whole_frames_and_golden_frames_of_tiles(tiled: Bundle) -> None:
    measured = tiled.manifest.calibration
    with edgead.Detector(tiled, device="cpu") as detector:
        found = [detector.score(large(seed)) for seed in range(6, 12)]
    np.testing.assert_allclose([r.score for r in found], measured.scores, rtol=1e-6)
    np.testing.assert_allclose([r.map.max() for r in found], measured.peaks, rtol=1e-6)
    assert tiled.manifest.tiling == TILING and len(tiled.manifest.golden) == 4
    for golden in tiled.manifest.golden:
        assert read_image(tiled.path_of(golden.image)).shape == (2 * 48 - 8, 2 * 40 - 8, 3)


def test_what_was_learnt_whole_scores_nothing(backbone: Backbone, tmp_path: Path) -> None:
    """A memory that holds every feature of every tile of an image has no distance to it."""
    options = replace(OPTIONS, memory=100_000)
    out = tmp_path / "all.edgead"
    bundle = learn(good(range(1)), good(range(1, 3)), backbone, out, options)
    tiles = len(plan_tiles(TILING, (160, 192), (64, 64)))
    assert tiles > 4 and bundle.manifest.provenance["learn"]["kept"] == tiles * 16 * 16
    with edgead.Detector(bundle, device="cpu") as detector:
        known, other = (detector.score(large(seed)).score for seed in (0, 5))
    assert known < 1e-4 * other  # float16 keeps eleven bits of a feature


def test_of_many_tiles_some_of_each_image_are_learnt(backbone, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(learning, "MOST_TILES", 6)
    options = replace(OPTIONS, memory=100_000)
    bundle = learn(good(range(3)), good(range(3, 5)), backbone, tmp_path / "few.edgead", options)
    assert bundle.manifest.provenance["learn"]["kept"] == 3 * 2 * 16 * 16


def test_an_image_smaller_than_a_tile_is_named(backbone: Backbone, tmp_path: Path) -> None:
    small = GoodImage("small.png", lambda: part(1)[:47, :60])
    for images, calibration in (([small], good(range(2))), (good(range(2)), [small])):
        with pytest.raises(InputError, match=r"small\.png.*47 x 60.*tiles of 48 x 40"):
            learn(images, calibration, backbone, tmp_path / "x.edgead", OPTIONS)
    assert not (tmp_path / "x.edgead").exists()


def test_tiles_in_int8(tmp_path: Path) -> None:
    write_separable_backbone(tmp_path / "separable.onnx")
    network = read_backbone(tmp_path / "separable.onnx")
    lit = [GoodImage(f"{s}", lambda s=s: np.hstack([varied(s), varied(s + 50)])) for s in range(12)]
    bundle = learn(
        lit[:6], lit[6:], network, tmp_path / "x.edgead", OPTIONS,
        graphs={"int8": lambda ranges: int8_of(network.model, ranges)},
    )  # fmt: skip
    own = bundle.manifest.calibration.own["int8"]
    with edgead.Detector(bundle, device="cpu", precision="int8") as detector:
        assert detector.score(lit[6].read()).score == pytest.approx(own.scores[0], rel=1e-6)


def test_the_command(backbone_file: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(8):
        cv2.imwrite(str(folder / f"{seed}.png"), large(seed))
    out = tmp_path / "disc.edgead"
    words = ["learn", folder, "--out", out, "--backbone", backbone_file, "--size", 64]

    def run(*more: object) -> int:
        return main([str(word) for word in (*words, "--memory", 100, *more)])

    assert run("--tile", 48, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 6 and told["placement"] is None  # in tiles it does not count
    assert open_bundle(out).manifest.tiling == Tiling((48, 48), 6)
    before = open_bundle(out).sha256
    for more, sentence in (
        (["--tile-overlap", 8], "--tile-overlap without --tile"),
        (["--tile", 40, "--tile-overlap", 21], "from 2 to 20"),
        (["--tile", 0], "size of a tile"),
        (["--tile", 300], "tiles of 300 x 300"),
    ):
        assert run(*more) == 1
        assert sentence in capsys.readouterr().err
    assert open_bundle(out).sha256 == before
