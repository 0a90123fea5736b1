"""The baselines by hand, and the whole script on a tiny tree."""

from __future__ import annotations

import json
import runpy
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "video_baselines.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_frame_difference_by_hand(script):
    score = script["frame_difference"]()
    first = np.full((2, 3), 10, np.uint8)
    second = np.array([[10, 13, 10], [10, 10, 4]], np.uint8)
    assert [score(f) for f in (first, first, second, second)] == [0.0, 0.0, 9 / 6, 0.0]
    assert script["frame_difference"]()(second) == 0.0  # a new video knows nothing of the last


def test_pca_keeps_what_holds_the_share(script):
    """Variances 16, 4 and 1 along the axes: 95 % need all three of 21, 90 % the first two."""
    rows = np.diag([4.0, 2.0, 1.0])
    rows = np.concatenate([rows, -rows]).astype(np.float32) + np.float32([1, 2, 3])
    assert len(script["Pca"](rows, 0.95).components) == 2
    pca = script["Pca"](rows, 0.75)
    assert len(pca.components) == 1
    # (5, 3, 4) tonight, mean (1, 2, 3): (4, 1, 1) of which (0, 1, 1) is left
    residual = pca.residual(np.float32([5, 3, 4]))
    assert residual == pytest.approx(np.sqrt(2 / 3), rel=1e-6)  # float32


def test_smoothing_leaves_a_constant_alone_and_spreads_a_peak(script):
    smoothed = script["smoothed"]
    np.testing.assert_allclose(smoothed(np.full(30, 3.0), 4.0), 3.0, rtol=1e-12)
    peak = smoothed(np.eye(1, 81, 40)[0], 2.0)
    expected = np.exp(-0.5 * ((np.arange(81) - 40) / 2.0) ** 2)
    np.testing.assert_allclose(
        peak, expected / expected.sum(), atol=1e-4
    )  # the kernel ends at 4 sigma


def test_the_script(tmp_path, save_image, make_part, monkeypatch, capsys):
    root = tmp_path / "room"
    rng = np.random.default_rng(0)
    frames = [make_part(100) + rng.integers(0, 9, (16, 20), np.uint8) for _ in range(14)]
    for number, frame in enumerate(frames[:6]):
        save_image(root / f"training/frames/a/{number}.png", frame)
    (root / "testing/test_frame_mask").mkdir(parents=True)
    for number, frame in enumerate(frames[6:]):
        if number in (3, 4):
            frame[4:8, 6:12] = 250
        save_image(root / f"testing/frames/b/{number}.png", frame)
    labels = np.zeros(8, int)
    labels[3:5] = 1
    np.save(root / "testing/test_frame_mask/b.npy", labels)
    file = tmp_path / "v.json"
    argv = ["video_baselines.py", str(root), "--smooth", "1", "--json", str(file)]
    monkeypatch.setattr("sys.argv", argv)
    assert runpy.run_path(str(SCRIPT))["main"]() == 0
    found = {m["method"].split(",")[0]: m for m in json.loads(file.read_text())["methods"]}
    assert found["PCA residual"]["frame_auroc"] == 1.0
    # The spot comes at 3 and goes at 5: frame 4, as still as 3, is missed. 3 loses to 5 or wins.
    grey = [frame.astype(float) for frame in frames[6:]]
    moves = [0.0] + [np.abs(b - a).mean() for a, b in pairwise(grey)]
    pairs = [(moves[i] > moves[j]) for i in (3, 4) for j in (0, 1, 2, 5, 6, 7)]
    assert found["frame difference"]["frame_auroc"] == pytest.approx(np.mean(pairs))
    assert found["frame difference"]["frame_auroc"] < 1.0
    assert "PCA residual" in capsys.readouterr().out
    assert cv2.imread(str(root / "testing/frames/b/3.png")) is not None
