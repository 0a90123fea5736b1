"""Learning from tiles: the same pieces as the runtime sees, at the same scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from edgead_training import training_set
from edgead_training.data import Sample, open_dataset
from edgead_training.fit import Bounds
from edgead_training.methods import METHODS
from edgead_training.run import Run, load_run, train
from edgead_training.run_record import TrainingOptions, begin, n_learnt, take_up, write_record

from edgead import reference
from edgead.cli.main import main
from edgead.errors import DataError, TrainingError
from edgead.images import read_image
from edgead.tiling import Tiling, plan_tiles

TILING = Tiling((40, 40), 8)
SETTINGS = {"size": [64, 64], "width": 0.0625, "batch_size": 2}


def quiet(items: Any, title: str) -> Any:
    return iter(items)


def corners(cut: list[training_set.Piece]) -> list[tuple[int, int]]:
    """(top, left) of each tile."""
    return [(rows.start, columns.start) for rows, columns in cut]


def run_tiled(parts: Path, out: Path, tiling: Tiling = TILING, **changes: Any) -> Run:
    settings = SETTINGS | changes
    return train(TrainingOptions("ssae", parts, out, settings, 0, Bounds(steps=2), tiling=tiling))


def test_the_tiles_are_the_runtime_s(parts: Path) -> None:
    """80 x 72 in tiles of 40: three rows of tiles, two columns, where plan_tiles has them."""
    samples = open_dataset(parts).train
    plan = plan_tiles(TILING, (80, 72), (64, 64))
    expected = [(y, x) for y in plan.rows.starts for x in plan.columns.starts]
    chosen = training_set.choose_tiles((samples, ()), TILING, (64, 64), 0, quiet)
    assert [corners(cut) for cut in chosen] == [expected] * len(samples)
    method = METHODS["ssae"].from_settings(SETTINGS, 12)
    params = method.preprocess_params()
    images = training_set.load_images(samples, chosen, params, parts, quiet, True)
    assert images.shape == (len(samples) * len(expected), 3, 64, 64)
    row = len(expected) * 3 + 4  # some tile of the fourth image
    y, x = expected[4]
    tile = read_image(samples[3].path)[y : y + 40, x : x + 40]
    truth = reference.preprocess(tile, params)
    np.testing.assert_array_equal(images[row].numpy(), truth)


def test_too_many_tiles_are_drawn_evenly(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = open_dataset(parts).train
    monkeypatch.setattr(training_set, "MOST_TILES", 2 * len(samples) + 3)
    chosen = training_set.choose_tiles((samples, ()), TILING, (64, 64), 0, quiet)
    assert [len(cut) for cut in chosen] == [2] * len(samples)
    assert chosen == training_set.choose_tiles((samples, ()), TILING, (64, 64), 0, quiet)
    assert chosen != training_set.choose_tiles((samples, ()), TILING, (64, 64), 1, quiet)
    assert len({corner for cut in chosen for corner in corners(cut)}) > 2  # not the same of each


def test_what_is_kept_of_good_images_is_kept_of_tiles(parts: Path, tmp_path: Path) -> None:
    """Few large frames have many tiles: prompts are not bounded by the frames."""
    small = {"width": 8, "bank_size": 9}
    settings = {"size": [64, 64], "batch_size": 2} | small
    options = TrainingOptions(
        "redi", parts, tmp_path / "run", settings, 0, Bounds(steps=2), shots=2, tiling=TILING
    )
    run = train(options)
    for method in (run.method, load_run(tmp_path / "run").method):
        assert len(method.bank) == 9  # of 12 tiles of two frames
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["tiles"] == 12
    assert n_learnt({"train": record["train"]}) == 2  # a run of before


def test_an_image_smaller_than_a_tile_is_named(parts: Path, tmp_path: Path) -> None:
    """Whether it would be learnt from or calibrated with; and nothing is written."""
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((39, 80), np.uint8))
    small, good = (Sample(tmp_path / "small.png"),), open_dataset(parts).train[:2]
    for divided in ((good + small, good), (good, small)):
        with pytest.raises(DataError, match=r"small\.png.*39 x 80.*tiles of 40 x 40"):
            training_set.choose_tiles(divided, TILING, (64, 64), 0, quiet)
    with pytest.raises(DataError, match=r"80 x 72.*tiles of 96 x 96"):
        run_tiled(parts, tmp_path / "run", Tiling((96, 96), 8))
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_tiles(parts: Path, tmp_path: Path) -> None:
    run = run_tiled(parts, tmp_path / "run")
    assert run.tiling == TILING
    again = load_run(tmp_path / "run")
    assert again.tiling == TILING
    assert again.method.config.position is False
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["tiling"] == {"size": [40, 40], "overlap": 8}
    assert "--tile 40 --tile-overlap 8" in record["command"]


def test_a_stopped_run_goes_on_with_its_tiles(parts: Path, tmp_path: Path) -> None:
    options = TrainingOptions("ssae", parts, tmp_path, SETTINGS, tiling=TILING)
    write_record(tmp_path, begin(options)[3])
    assert take_up(replace(options, tiling=None))[0].tiling == TILING  # nothing need be said again
    with pytest.raises(TrainingError, match="begun with other tiles"):
        take_up(replace(options, tiling=Tiling((40, 40), 12)))


def test_a_position_means_nothing_on_tiles(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"position=true.*--tile.*remove one of them"):
        run_tiled(parts, tmp_path / "run", position=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tile-overlap", "8"], "--tile-overlap without --tile"),
        (["--tile", "40", "--tile-overlap", "21"], "from 2 to 20"),
        (["--tile", "8"], "from 2 to 4"),
        (["--tile", "0"], "size of a tile"),
    ],
)
def test_tiles_that_cannot_be_cut(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    out = tmp_path / "run"
    assert main(["train", "ssae", str(parts), "--out", str(out), "--steps", "2", *words]) == 1
    assert sentence in capsys.readouterr().err
    assert not out.exists()
