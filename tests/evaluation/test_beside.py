"""`edgead evaluate --beside`: who is right where, which images are shown, and both heatmaps."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from edgead_training.data import open_dataset
from edgead_training.evaluation import report
from edgead_training.evaluation.beside import GROUPS, Beside, chosen, evaluate_beside, group_of
from edgead_training.evaluation.evaluate import evaluate
from html_page import Page

import edgead.detector
from edgead.cli.main import main


def silent(_what):
    return lambda done, total: None


@pytest.fixture
def strict(detector):
    """Another detector: anomalous above 25, and its map is that of the frame turned round."""
    other = type(detector)()
    other.threshold = 25.0
    score = other.score

    def turned(frame):
        return replace(score(np.ascontiguousarray(frame[::-1, ::-1])), frame=frame)

    other.score = turned
    other.bundle.manifest.name = "strict"
    other.bundle.manifest.method = "darkness"
    return other


@pytest.fixture
def beside(detector, strict, mvtec):
    return evaluate_beside(
        ("a.edgead", "b.edgead"), (detector, strict), open_dataset(mvtec), silent, pictures=60
    )


def test_who_is_right_by_hand(beside):
    """Above 50 and above 25; good parts of 20, 30 and 60, defects of 40, 200 and 250."""
    found = {
        group: sorted(first.name for first, _ in pairs) for group, pairs in beside.groups().items()
    }
    assert found == {
        "first": ["test/good/1.png"],
        "second": ["test/scratch/0.png"],
        "neither": ["test/good/2.png"],
        "both": ["test/dent/0.png", "test/good/0.png", "test/scratch/1.png"],
    }


def test_copies_count_once(detector, strict, mvtec):
    image = (mvtec / "test/good/1.png").read_bytes()
    (mvtec / "test/good/9.png").write_bytes(image)
    found = evaluate_beside(("a", "b"), (detector, strict), open_dataset(mvtec), silent)
    assert len(found.groups()["first"]) == 1
    assert len(found.evaluations[0].images) == 7


def random_pairs(seed: int, beside: Beside) -> Beside:
    """The two evaluations with images of random labels, scores and verdicts that fit these."""
    rng = np.random.default_rng(seed)
    template, n = beside.evaluations[0].images[0], int(rng.integers(1, 40))
    labels = rng.choice(["good", "scratch"], n, p=rng.dirichlet([1, 1]))
    evaluations = []
    for evaluation in beside.evaluations:
        scores = rng.integers(0, 100, n)  # with ties, and some on the threshold itself
        images = tuple(
            replace(template, name=str(i), label=str(label), score=float(score),
                    anomalous=bool(score > evaluation.threshold))
            for i, (label, score) in enumerate(zip(labels, scores, strict=True))
        )  # fmt: skip
        evaluations.append(replace(evaluation, images=images))
    return replace(beside, evaluations=tuple(evaluations))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("limit", [0, 1, 4, 9, 100])
def test_every_group_that_is_there_is_shown_first_and_within_the_limit(seed, limit, beside):
    found = random_pairs(seed, beside)
    pairs = chosen(found, limit)
    n = len(found.evaluations[0].images)
    assert len({first.name for first, _ in pairs}) == len(pairs) == min(limit, n)
    assert all(first.name == second.name for first, second in pairs)
    groups = [group_of(pair) for pair in pairs]
    assert groups == sorted(groups, key=GROUPS.index)
    there = Counter({group: len(members) for group, members in found.groups().items()})
    shown = Counter(groups)
    if limit >= 4:
        assert {group for group in GROUPS if there[group]} == set(shown)
    # No group gives way to another one that has more pictures already.
    for one in GROUPS:
        for other in GROUPS:
            assert shown[one] == there[one] or shown[one] >= shown[other] - 1
    # What is right is said by label and score alone.
    for pair, group in zip(pairs, groups, strict=True):
        right = [
            (image.score > evaluation.threshold) == (image.label != "good")
            for image, evaluation in zip(pair, found.evaluations, strict=True)
        ]
        assert group == {
            (True, False): "first", (False, True): "second",
            (False, False): "neither", (True, True): "both",
        }[tuple(right)]  # fmt: skip


def test_the_widest_disagreement_the_worst_mistake_and_the_closest_call_come_first(beside):
    """Units by hand: the median good score is 30, so that they are 20 and, below 25, 1."""
    template = beside.evaluations[0].images[0]

    def images(*scores: tuple[float, str], threshold: float):
        return tuple(
            replace(template, name=str(i), label=label, score=score, anomalous=score > threshold)
            for i, (score, label) in enumerate(scores)
        )

    labels = ("good", "good", "good", "bad", "bad", "bad", "bad", "bad")
    first = (30, 30, 30, 60, 90, 20, 40, 72)
    second = (30, 30, 30, 24, 20, 10, 24, 24.5)
    pair = tuple(
        replace(e, images=images(*zip(scores, labels, strict=True), threshold=e.threshold))
        for e, scores in zip(beside.evaluations, (first, second), strict=True)
    )
    found = replace(beside, evaluations=pair)
    names = [one.name for one, _ in chosen(found, 99) if one.label == "bad"]
    # 4 (2 and -5 units), 7 (1.1 and -0.5), 3 (0.5 and -1); 5 (-1.5 and -15), 6 (-0.5 and -1)
    assert names == ["4", "7", "3", "5", "6"]


def test_each_picture_has_the_heatmap_of_its_own_bundle(beside, detector, strict, mvtec):
    pair = next(p for p in beside.pictures if p[0].image.name == "test/dent/0.png")
    frame = cv2.imread(str(mvtec / "test/dent/0.png"), cv2.IMREAD_GRAYSCALE)
    for picture, own in zip(pair, (detector, strict), strict=True):
        shown = cv2.imdecode(np.frombuffer(picture.overlay, np.uint8), cv2.IMREAD_COLOR)
        far = np.abs(shown.astype(int) - own.score(frame).overlay())
        assert far.mean() < 12  # what JPEG loses
    assert pair[0].overlay != pair[1].overlay
    assert pair[0].frame == pair[1].frame


def test_what_is_said_of_both_is_said_once(beside):
    first, second = beside.evaluations
    pair = (replace(first, notes=("same", "one")), replace(second, notes=("two", "same")))
    found = replace(beside, evaluations=pair)
    assert found.said(lambda each: each.notes) == ("same", "a.edgead: one", "b.edgead: two")


# ------------------------------------------------------------------------------- page and command


def page(found: Beside) -> Page:
    return Page(report.render_beside(found).decode())


def test_the_page_is_well_formed_alone_in_the_world_and_says_both(beside):
    found = page(beside)
    assert found.open == []
    for text in (
        "a.edgead beside b.edgead",
        "brightness",
        "darkness",
        "2 of 3 defects caught",
        "3 of 3 defects caught",
        "only a.edgead is right",
        "6 of 6 test images",
        "threshold 50",
        "threshold 25",
    ):
        assert text in found.text
    for _, attributes in found.elements:
        assert not {"href", "srcset", "action", "poster"} & attributes.keys()
        assert attributes.get("src", "data:").startswith("data:")
    images = found.all("img")
    assert len(images) == 6 * 3 + 2  # frame and two heatmaps; masks of the two scratches
    for image in images:
        data = base64.b64decode(image["src"].split(",", 1)[1], validate=True)
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (16, 20, 3)
    shown = [base64.b64decode(image["src"].split(",", 1)[1]) for image in images]
    for one, other in beside.pictures:
        at = shown.index(one.overlay)
        assert shown[at - 1 : at + 2] == [one.frame, one.overlay, other.overlay]
    assert [f["data-outcome"] for f in found.all("figure")] == ["first", "second", "neither"] + [
        "both"
    ] * 3


def test_whatever_names_hold_is_text(beside):
    nasty = "<script>alert(1)</script>\"'&\udcff"
    pictures = tuple(
        tuple(replace(p, image=replace(p.image, name=nasty, label=nasty)) for p in pair)
        for pair in beside.pictures
    )
    pair = tuple(
        replace(e, method=nasty, data_name=nasty, notes=(nasty,)) for e in beside.evaluations
    )
    found = page(replace(beside, names=(nasty, nasty), evaluations=pair, pictures=pictures))
    assert found.open == [] and len(found.all("script")) == 1
    assert found.text.count("<script>alert(1)</script>\"'&\\udcff") >= 10


@pytest.fixture
def both(detector, strict, monkeypatch):
    """Let the command open the two detectors by name."""
    known = {"a.edgead": detector, "b.edgead": strict}
    monkeypatch.setattr(edgead.detector, "Detector", lambda path, **_: known[str(path)])


def test_the_command_says_both_and_writes_the_page(both, detector, strict, mvtec, tmp_path, capsys):
    folder, file = tmp_path / "report", tmp_path / "found.json"
    argv = ["evaluate", "a.edgead", str(mvtec), "--beside", "b.edgead"]
    assert main([*argv, "--report", str(folder), "--json", str(file)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "a.edgead b.edgead difference",
        "defects caught 66.7 % (2 of 3) 100 % (3 of 3)",
        "only a.edgead is right 1",
        "only b.edgead is right 1",
        "neither is right 1",
        "both are right 3",
    ):
        assert line in lines
    assert "a.edgead beside b.edgead" in (folder / "index.html").read_text()
    written = json.loads(file.read_text())
    other = written.pop("beside")
    data = open_dataset(mvtec)
    assert written["image_auroc"] == evaluate(detector, data).metrics["image_auroc"]
    assert other["image_auroc"] == evaluate(strict, data).metrics["image_auroc"]
    assert other["bundle"] == "b.edgead"
    assert other["right"] == {"first": 1, "second": 1, "neither": 1, "both": 3}
    assert main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["beside"]["right"]["both"] == 3
    assert "evaluate a.edgead" in captured.err and "--beside b.edgead" in captured.err


def test_categories_of_both_bundles(both, two, capsys):
    assert main(["evaluate", "a.edgead", str(two), "--beside", "b.edgead"]) == 0
    out = capsys.readouterr().out
    assert out.count("category  images") == 2
    assert out.index("\na.edgead\ncategory") < out.index("\nb.edgead\ncategory")


def test_a_second_bundle_that_is_not_one_is_refused(bundle_dir, mvtec, tmp_path, capsys):
    argv = ["evaluate", str(bundle_dir), str(mvtec), "--beside", str(tmp_path / "no.edgead")]
    assert main([*argv, "--report", str(tmp_path / "report")]) == 1
    assert "no.edgead" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
