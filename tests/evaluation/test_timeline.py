"""Frame-level AUROC and the panels of scores over time, from `edgead evaluate` on a tiny tree."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from edgead_training.data import open_dataset
from edgead_training.evaluation.charts import (
    COLUMNS,
    PANEL_LEFT,
    PANEL_RIGHT,
    PANEL_WIDTH,
    panel,
)
from edgead_training.evaluation.evaluate import evaluate
from edgead_training.evaluation.report import render
from edgead_training.evaluation.timeline import Timeline, frame_auroc, normalised, timelines

import edgead.detector
from edgead.cli.main import main


def line(scores, anomalous, video="v"):
    return Timeline(video, np.array(scores, float), np.array(anomalous, bool))


def area(scores, labels):
    """Share of the pairs that an anomalous frame wins, a tie half."""
    return np.mean([(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]])


def test_normalised_by_hand():
    assert normalised([3.0, 1.0, 2.0, 5.0]).tolist() == [0.5, 0.0, 0.25, 1.0]
    assert normalised([4.0, 4.0]).tolist() == [0.0, 0.0]


def test_each_video_is_normalised_by_its_own_scores():
    """Raw, the dark video lies below the bright one; each sees its own anomaly as its highest."""
    dark = line([1, 2, 1, 1.5], [0, 1, 0, 0])
    bright = line([10, 12, 20, 11], [0, 0, 1, 0])
    # 0, 1*, 0, .5 and 0, .2, 1*, .1: every anomalous frame above every normal one
    assert frame_auroc([dark, bright]) == 1.0
    pooled = np.concatenate([dark.scores, bright.scores])
    assert area(pooled, np.array([0, 1, 0, 0, 0, 0, 1, 0], bool)) < 0.8


def test_against_a_loop_over_pairs():
    rng = np.random.default_rng(3)
    videos = [line(rng.gamma(2, 1 + k, 40 + k), rng.random(40 + k) < 0.3) for k in range(5)]
    scores = [(v.scores - v.scores.min()) / np.ptp(v.scores) for v in videos]
    labels = np.concatenate([v.anomalous for v in videos])
    assert frame_auroc(videos) == pytest.approx(area(np.concatenate(scores), labels), abs=1e-12)
    assert frame_auroc([line([1, 2], [0, 0])]) is None


def test_frames_are_put_in_the_order_of_their_numbers():
    names = [f"testing/frames/{video}/{number}.png" for video in "ba" for number in (10, 9, 100)]
    found = timelines((name, float(place), place == 1) for place, name in enumerate(names))
    assert [video.video for video in found] == ["a", "b"]
    assert found[1].scores.tolist() == [1.0, 0.0, 2.0]
    assert found[1].anomalous.tolist() == [True, False, False]


def test_videos_of_one_name_in_two_categories_stay_apart():
    names = [f"{category}testing/frames/01/0.png" for category in ("hall/", "yard/", "")]
    found = timelines((name, 1.0, False) for name in names)
    assert [video.video for video in found] == ["01", "hall/01", "yard/01"]


def test_spans():
    assert line(range(7), [1, 0, 1, 1, 0, 0, 1]).spans() == [(0, 1), (2, 4), (6, 7)]
    assert line(range(2), [0, 0]).spans() == []


@pytest.fixture
def watched(tmp_path, save_image, make_part):
    """Two test videos: brightness, which BrightnessDetector takes for the score, and labels."""
    root = tmp_path / "room"
    videos = {"a": ([20, 30, 60, 20], [0, 0, 1, 0]), "b": ([100, 140, 110], [0, 1, 0])}
    (root / "testing/test_frame_mask").mkdir(parents=True)
    for video, (levels, labels) in videos.items():
        for number, level in enumerate(levels):
            save_image(root / f"testing/frames/{video}/{number}.png", make_part(level))
        np.save(root / f"testing/test_frame_mask/{video}.npy", np.array(labels))
    return root


def test_evaluate_gives_both_aurocs(watched, detector, monkeypatch, capsys):
    monkeypatch.setattr(edgead.detector, "Detector", lambda path, **options: detector)
    assert main(["evaluate", "x.edgead", str(watched), "--json"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    # Pooled: 60* loses against 100 and 110 of five normal frames. Per video both come first.
    assert figures["image_auroc"] == pytest.approx(8 / 10)
    assert figures["frame_auroc"] == 1.0
    assert "frame AUROC, scores normalised per video  1.0000" in captured.err


def test_images_have_no_frame_auroc(mvtec, detector):
    found = evaluate(detector, open_dataset(mvtec, purpose="evaluate"))
    assert found.metrics["frame_auroc"] is None
    assert found.timelines == ()
    assert "Score over time" not in render(found).decode()


def test_the_report_has_one_panel_for_each_video(watched, detector):
    found = evaluate(detector, open_dataset(watched, purpose="evaluate"))
    page = render(found).decode()
    assert "frame AUROC 1.0000 with scores normalised per video" in page
    assert re.findall(r"Score over the frames of (\w)", page) == ["a", "b"]
    assert page.count('<rect class="span"') == 2


def test_a_panel_shades_the_span_and_keeps_every_peak():
    scores = np.zeros(10 * COLUMNS)
    scores[[4321, 7777]] = 5.0, -2.0
    anomalous = np.zeros(scores.size, bool)
    anomalous[900:1800] = True
    drawn = str(panel(Timeline("<v>", scores, anomalous), threshold=1.0))
    x, width = map(
        float, re.search(r'class="span" x="([\d.]+)".* width="([\d.]+)"', drawn).groups()
    )
    plot = PANEL_WIDTH - PANEL_LEFT - PANEL_RIGHT
    assert x == pytest.approx(PANEL_LEFT + 0.1 * plot, abs=0.01)
    assert width == pytest.approx(0.1 * plot, abs=0.01)
    curve = re.search(r'class="score" d="M([^"]+)"', drawn).group(1)
    points = [tuple(map(float, point.split())) for point in curve.split(" L")]
    peak, dip = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
    assert peak[0] == pytest.approx(PANEL_LEFT + plot * 4321.5 / scores.size, abs=0.1)
    assert dip[0] == pytest.approx(PANEL_LEFT + plot * 7777.5 / scores.size, abs=0.1)
    assert len(points) <= 2 * COLUMNS
    assert "<v>" not in drawn
    line_y = float(re.search(r'class="threshold" x1="[\d.]+" y1="([\d.]+)"', drawn).group(1))
    level = dip[1] + (peak[1] - dip[1]) * (1.0 - -2.0) / (5.0 - -2.0)
    assert line_y == pytest.approx(level, abs=0.1)


def test_a_panel_of_equal_scores():
    assert "nan" not in str(panel(line([2.0, 2.0], [0, 1]), threshold=2.0))
