"""The report: complete, escaped, alone in the world, and its charts say what the scores say."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from edgead_training.data import open_dataset
from edgead_training.evaluation import report
from edgead_training.evaluation.charts import histogram, roc
from edgead_training.evaluation.evaluate import evaluate
from edgead_training.evaluation.report import write_report
from html_page import Page


def render(evaluation) -> str:
    return report.render(evaluation).decode()


@pytest.fixture
def evaluation(detector, mvtec):
    return evaluate(detector, open_dataset(mvtec), gallery=60)


def test_the_page_is_well_formed_and_says_the_figures(evaluation):
    page = Page(render(evaluation))
    assert page.open == []
    for text in (
        "2 of 3 defects caught",
        "1 missed: 33.3 %",
        "1 of 3 good parts rejected",
        "Promised at most 20 %, reached 33.3 %: within chance (95 % interval 6.1 to 79.2 %)",
        "0.8889",  # image AUROC 8/9
        "threshold 50",
        "scratch",
        "6 of 6 test images",
        "Defective images without mask, left out of the pixel figures: 1.",
    ):
        assert text in page.text
    assert page.all("html")[0]["lang"] == "en"


def test_categories_stand_with_the_worst_first_and_their_mean_last(detector, two):
    text = Page(render(evaluate(detector, open_dataset(two, purpose="evaluate")))).text
    head = "category images image AUROC pixel AUROC AUPRO at 0.3 good parts rejected"
    assert "By category, one threshold for all" in text and _squeezed(head) in _squeezed(text)
    rows = ("cable20.0000––100%", "bottle31.00001.0000", "mean0.5000––50%")
    places = [_squeezed(text).index(row) for row in rows]
    assert places == sorted(places)


def test_without_several_categories_there_is_no_table_of_them(evaluation):
    assert "By category" not in render(evaluation)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def test_the_page_needs_nothing_from_outside(evaluation):
    text = render(evaluation)
    page = Page(text)
    policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    ]
    for _, attributes in page.elements:
        assert not {"href", "srcset", "action", "poster"} & attributes.keys()
        assert attributes.get("src", "data:").startswith("data:")
    assert not re.search(r"https?://|@import|url\(", text)


def test_every_picture_decodes_and_has_words_instead(evaluation):
    images = Page(render(evaluation)).all("img")
    assert len(images) == 6 * 2 + 2  # frame and overlay of each, masks of the two scratches
    for image in images:
        assert len(image["alt"]) > 5
        data = base64.b64decode(image["src"].split(",", 1)[1], validate=True)
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (16, 20, 3)


def test_whatever_names_hold_is_text(evaluation):
    nasty = "<script>alert(1)</script>\"'&\udcff"
    images = tuple(replace(i, name=nasty, label=nasty) for i in evaluation.images)
    pictures = tuple(
        replace(p, image=replace(p.image, name=nasty, label=nasty)) for p in evaluation.pictures
    )
    changed = replace(
        evaluation,
        name=nasty,
        data_name=nasty,
        images=images,
        pictures=pictures,
        engine={nasty: nasty},
        provenance={"method": nasty},
        notes=(nasty,),
    )
    text = render(changed)
    page = Page(text)
    assert page.open == []
    assert len(page.all("script")) == 1
    assert page.text.count("<script>alert(1)</script>\"'&\\udcff") >= 10


def test_a_broken_promise_is_called_so(evaluation):
    good = [r for r in evaluation.images if r.is_good]
    many = tuple(replace(good[2], name=str(i)) for i in range(30))  # 30 false rejects of 30
    text = Page(render(replace(evaluation, images=many))).text
    assert "30 of 30 good parts rejected" in text
    assert "more than chance explains" in text
    none = tuple(replace(good[0], name=str(i)) for i in range(30))
    assert (
        "reached 0 % (95 % interval 0.0 to 11.4 %)"
        in Page(render(replace(evaluation, images=none))).text
    )


def test_write_report_is_whole_or_not_at_all(evaluation, tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "report"
    path = write_report(evaluation, folder)
    assert path == folder / "index.html"
    before = path.read_bytes()
    assert before.decode().startswith("<!doctype html>")

    def no_space(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_report(replace(evaluation, name="other"), folder)
    assert path.read_bytes() == before
    assert [p.name for p in folder.iterdir()] == ["index.html"]


# ----------------------------------------------------------------------------------------- charts


def _bars(svg: str, name: str) -> list[tuple[int, float, float]]:
    """(count, x of the bar's middle, height) of a class's bars, whose titles begin with counts."""
    found = re.findall(
        rf'<rect class="{name}" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)" '
        rf'rx="1.5"><title>(\d+) {name},',
        svg,
    )
    return [(int(n), float(x) + float(w) / 2, float(h)) for x, w, h, n in found]


@pytest.mark.parametrize("spread", [1.0, 4.0])  # 4: a tail long enough for a logarithmic axis
def test_histogram_counts_everyone_on_the_right_side_of_the_threshold(spread):
    rng = np.random.default_rng(1)
    good = np.exp(spread * rng.normal(-1.5, 0.3, 40))
    bad = np.exp(spread * rng.normal(1.0, 0.4, 90))
    limit = float((good.max() + bad.min()) / 2)
    svg = str(histogram(good, bad, limit))
    line = float(re.search(r'class="threshold" x1="([\d.]+)"', svg)[1])
    left, right = _bars(svg, "good"), _bars(svg, "defective")
    assert sum(n for n, _, _ in left) == 40
    assert sum(n for n, _, _ in right) == 90
    assert max(x for _, x, _ in left) < line < min(x for _, x, _ in right)
    for bars in (left, right):
        tallest = max(bars)
        # Drawn in proportion, but never thinner than what an eye can see.
        for n, _, height in bars:
            assert height == pytest.approx(max(tallest[2] * n / tallest[0], 2.0), abs=0.02)


@pytest.mark.parametrize(
    ("good", "bad", "limit"),
    [([1.0, 1.0], [1.0], 1.0), ([0.0], [], 0.0), ([], [-3.0, 5.0], 2.0), ([1e-9], [1e9], 1.0)],
)
def test_histogram_of_odd_scores(good, bad, limit):
    svg = str(histogram(np.array(good), np.array(bad), limit))
    assert "nan" not in svg
    assert "inf" not in svg
    assert svg.count('class="grid"') <= 12
    assert sum(n for n, _, _ in _bars(svg, "good")) == len(good)
    assert sum(n for n, _, _ in _bars(svg, "defective")) == len(bad)


def test_roc_goes_through_the_points():
    false = np.array([0.0, 0.0, 0.5, 0.5, 1.0])
    true = np.array([0.0, 0.5, 0.5, 1.0, 1.0])
    svg = str(roc(false, true, (0.5, 1.0), 0.05))
    path = re.search(r'class="curve" d="M([^"]+)"', svg)[1]
    points = [tuple(map(float, pair.split())) for pair in path.split(" L")]
    (x0, y0), (x1, y1) = points[0], points[-1]
    shares = [((x - x0) / (x1 - x0), (y - y0) / (y1 - y0)) for x, y in points]
    assert shares == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    x, y = map(float, re.search(r'class="point" cx="([\d.]+)" cy="([\d.]+)"', svg).groups())
    assert (x, y) == points[3]
