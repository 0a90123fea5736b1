"""Dirty training sets: what is out of line is found, shown and left out, and good sets are not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from good_parts import part, scratched  # type: ignore[import-not-found]

from edgead.bundle.storage import open_bundle
from edgead.cli.main import main
from edgead.learning.backbone import read_backbone
from edgead.learning.cleaning import FOLDS, cross_fit
from edgead.learning.good_image import GoodImage
from edgead.learning.learn import LearnOptions
from edgead.learning.scoring import fence

OPTIONS = LearnOptions(size=(64, 64), memory=200)


def good(frames: dict[str, np.ndarray]) -> list[GoodImage]:
    return [GoodImage(name, lambda frame=frame: frame) for name, frame in frames.items()]


@pytest.fixture
def learn(backbone_file: Path, tmp_path: Path, capsys):
    def call(folder: Path, *words: object) -> dict:
        command = ["learn", folder, "--out", tmp_path / "x.edgead", "--backbone", backbone_file]
        command += ["--size", 64, "--memory", 150, "--json", *words]
        assert main([str(word) for word in command]) == 0
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """24 good parts, and 2 with a scratch."""
    folder = tmp_path / "dirty"
    folder.mkdir()
    frames = {f"{seed:02}.png": part(seed) for seed in range(24)}
    frames |= {"zz1.png": scratched(700), "zz2.png": scratched(701)}
    for name, frame in frames.items():
        cv2.imwrite(str(folder / name), frame)
    return folder


@pytest.mark.parametrize(
    ("scores", "limit"),
    [
        ([1.0, 1.0, 1.0, 1.0], 2.0),  # no spread: twice the upper quartile
        ([1.0, 1.0, 2.0, 2.0], 16.0),  # quartiles 1 and 2: 2 * (2 / 1) ** 3
        ([0.0, 0.0, 0.0, 4.0], 2.0),  # quartiles 0 and 1
        ([3.0], 6.0),
    ],
)
def test_the_fence_by_hand(scores: list[float], limit: float) -> None:
    assert fence(scores) == pytest.approx(limit)


def test_a_planted_defect_is_first_wherever_it_is(backbone_file: Path) -> None:
    backbone = read_backbone(backbone_file)
    for place in (0, 11, 23):
        frames = {f"{seed}": scratched(seed) if seed == place else part(seed) for seed in range(24)}
        found = cross_fit(good(frames), list(frames), backbone, OPTIONS)
        assert found is not None
        assert found.worst(1) == [place] and place in found.outlying()
        assert len(found.outlying()) <= 2


def test_a_defect_that_another_part_has_too_stands_out(backbone_file: Path) -> None:
    """The same scratch on two parts, whatever their places: in one fold, or in two."""
    backbone, seen = read_backbone(backbone_file), set()
    for first, second in ((0, 1), (3, 17), (8, 9), (22, 23)):
        frames = {f"{s}": scratched(s) if s in (first, second) else part(s) for s in range(24)}
        found = cross_fit(good(frames), list(frames), backbone, OPTIONS)
        assert found is not None and sorted(found.worst(2)) == [first, second]
        seen.add(found.folds[first] == found.folds[second])
    assert False in seen


def test_images_of_one_part_do_not_vouch_for_each_other(backbone_file: Path) -> None:
    """Six shots of one scratched part: known to be one part they stand out, else they do not."""
    frames = {f"{seed}": part(seed) for seed in range(18)}
    noise = np.random.default_rng(0).normal(0, 1, (6, *part(0).shape))
    shots = [np.clip(scratched(700) + one, 0, 255).astype(np.uint8) for one in noise]
    frames |= {f"shot{n}": shot for n, shot in enumerate(shots)}
    backbone, six = read_backbone(backbone_file), list(range(18, 24))
    parts = [name if not name.startswith("shot") else "one" for name in frames]
    found = cross_fit(good(frames), parts, backbone, OPTIONS)
    assert found is not None and sorted(found.worst(6)) == six
    assert len({found.folds[i] for i in six}) == 1
    apart = cross_fit(good(frames), list(frames), backbone, OPTIONS)
    assert apart is not None and len({apart.folds[i] for i in six}) > 1
    assert np.median(apart.scores[18:]) < 0.5 * np.median(found.scores[18:])


def test_every_fold_scores_what_it_has_not_seen(backbone_file: Path) -> None:
    """An image's own features in the memory would make its score nearly 0."""
    frames = {f"{seed}": part(seed) for seed in range(9)}
    images = good(frames)
    found = cross_fit(images, list(frames), read_backbone(backbone_file), OPTIONS)
    assert found is not None and sorted(set(found.folds)) == list(range(FOLDS))
    assert found.scores.min() > 0.2 * np.median(found.scores)
    for index in range(9):
        frame, fold = images[index].read(), found.folds[index]
        own, other = (found.others.run(frame, one)[1] for one in (fold, (fold + 1) % FOLDS))
        assert own == pytest.approx(found.scores[index]) and other < own
    assert cross_fit(images, ["one"] * 9, read_backbone(backbone_file), OPTIONS) is None
    assert cross_fit(images[:3], ["a", "b", "c"], read_backbone(backbone_file), OPTIONS) is None


def test_the_worst_are_named_shown_and_trimmed(learn, dirty: Path, tmp_path: Path) -> None:
    told = learn(dirty, "--report", tmp_path / "page")
    assert {one["name"] for one in told["worst"][:2]} == {"zz1.png", "zz2.png"}
    assert [one["score"] for one in told["worst"]] == sorted(
        (one["score"] for one in told["worst"]), reverse=True
    )
    (warning,) = told["warnings"]
    assert "2 of 26 good images are out of line" in warning and "--trim" in warning
    assert told["trimmed"] == [] and told["images"] + told["calibration"] == 26
    page = (tmp_path / "page/index.html").read_text()
    assert page.count("out of line</span>") == 2 and page.count("data:image/jpeg") == 2 * 24
    told = learn(dirty, "--trim", "--report", tmp_path / "page")
    assert sorted(told["trimmed"]) == ["zz1.png", "zz2.png"]
    assert (
        told["images"] + told["calibration"] == 24 and "--trim left them out" in told["warnings"][0]
    )
    assert "left out</span>" in (tmp_path / "page/index.html").read_text()
    provenance = open_bundle(told["bundle"]).manifest.provenance
    assert sorted(provenance["trimmed"]["images"]) == ["zz1.png", "zz2.png"]
    contents = provenance["contents"]
    assert contents["learnt"]["images"] + contents["calibrated"]["images"] == 24
    score = main(["score", told["bundle"], str(dirty / "zz1.png"), "--exit-code"])
    assert score == 3  # found now, though it lay among the good images


def test_a_good_set_is_left_as_it_is(learn, good_folder: Path) -> None:
    told = learn(good_folder, "--trim")
    assert told["trimmed"] == [] and told["warnings"] == []
    assert told["images"] + told["calibration"] == 24


def test_few_parts_are_learnt_without_comparison(learn, good_folder: Path, tmp_path: Path) -> None:
    for number in (2, 3):
        folder = tmp_path / f"few{number}"
        folder.mkdir()
        for path in sorted(good_folder.iterdir())[:number]:
            (folder / path.name).write_bytes(path.read_bytes())
        told = learn(folder, "--trim", "--report", tmp_path / "page")
        assert told["worst"] == [] and told["images"] + told["calibration"] == number


def test_blurred_images_are_named_before_anything_is_learnt(learn, tmp_path: Path) -> None:
    folder = tmp_path / "blurred"
    folder.mkdir()
    for seed in range(12):
        frame = part(seed, (80, 96))
        if seed in (3, 7):
            frame = cv2.GaussianBlur(frame, (0, 0), 3)
        cv2.imwrite(str(folder / f"{seed:02}.png"), frame)
    told = learn(folder)
    assert "2 of 12 images are blurred beside the others (03.png, 07.png)" in told["warnings"][0]


def test_a_hostile_name_stays_text_in_the_page(learn, dirty: Path, tmp_path: Path) -> None:
    name = "<script>alert(1)<&\u202e.png"
    (dirty / "zz1.png").rename(dirty / name)
    learn(dirty, "--report", tmp_path / "page")
    page = (tmp_path / "page/index.html").read_text()
    assert "<script>alert" not in page and "\u202e" not in page and "&lt;script&gt;" in page


def test_a_report_that_cannot_be_written_is_refused_first(
    good_folder: Path, backbone_file: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    words = ["learn", good_folder, "--out", tmp_path / "x.edgead", "--backbone", backbone_file]
    assert main([str(w) for w in [*words, "--report", tmp_path / "file"]]) == 1
    assert "is a file; give a folder" in capsys.readouterr().err
    assert not (tmp_path / "x.edgead").exists()
