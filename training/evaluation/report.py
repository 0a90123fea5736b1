"""An evaluation as one HTML page that needs no network: what an engineer shows around.

Verdicts first, then figures, charts, kinds of defects, and pictures with the worst mistakes first;
report.html has the words, here is what they say. Whatever comes from outside (names of files,
labels, provenance) is escaped by the template.
"""

from __future__ import annotations

import base64
import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgead.bench.charts import Chart
from edgead.bench.templates import render as render_template
from edgead.calibration import wilson_interval
from edgead.cli.console import percent
from edgead.files import write_file

from . import metrics
from .beside import Beside, group_of
from .bootstrap import Interval
from .charts import histogram, panel, roc
from .evaluate import CATEGORY_KEYS, QUANTILES, Evaluation
from .gallery import OUTCOMES
from .spread import FRAME_SIZE

TEMPLATE = Path(__file__).with_name("report.html")
BESIDE_TEMPLATE = Path(__file__).with_name("beside.html")
QUANTILE_WORDS = {0.0: "least", 0.5: "median", 1.0: "largest"}
FIGURES = (
    ("image_auroc", "image AUROC"),
    ("image_ap", "average precision"),
    ("f1_max", "F1, best threshold"),
    ("pixel_auroc", "pixel AUROC"),
    ("aupro", "AUPRO at 0.3"),
    ("aupro_0_05", "AUPRO at 0.05"),
    ("frame_size_pixel_auroc", "pixel AUROC, frame size"),
    ("frame_size_aupro", "AUPRO at 0.3, frame size"),
    ("frame_size_aupro_0_05", "AUPRO at 0.05, frame size"),
)
OUTCOME_WORDS = {
    "missed": ("missed defect", "missed defects"),
    "rejected": ("false reject", "false rejects"),
    "caught": ("caught defect", "caught defects"),
    "passed": ("good part passed", "good parts passed"),
}


def write_report(found: Evaluation | Beside, folder: str | os.PathLike[str]) -> Path:
    """Write `folder`/index.html, whole or not at all; returns its path.

    Raises: OSError where the folder cannot be made or written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder) / "index.html"
    write_file(target, render(found) if isinstance(found, Evaluation) else render_beside(found))
    return target


def render(evaluation: Evaluation) -> bytes:
    """The page, UTF-8."""
    good, defective = evaluation.scores(good=True), evaluation.scores(good=False)
    shown = [picture.image.outcome for picture in evaluation.pictures]
    return render_template(
        TEMPLATE,
        base64_text,
        figure,
        percent,
        span,
        evaluation=evaluation,
        tiles=[(key, name) for key, name in FIGURES if not absent(evaluation, key)],
        intervals=evaluation.intervals(),
        now=_now(),
        n_good=good.size,
        n_defective=defective.size,
        verdicts=_verdicts(evaluation),
        histogram=histogram(good, defective, evaluation.threshold),
        roc=_roc(evaluation),
        panels=[(video, panel(video, evaluation.threshold)) for video in evaluation.timelines],
        # the least image AUROC first
        categories=sorted(
            evaluation.categories,
            key=lambda c: (c.image_auroc is not None, c.image_auroc or 0.0, c.name),
        ),
        category_keys=CATEGORY_KEYS,
        words=OUTCOME_WORDS,
        shown={outcome: shown.count(outcome) for outcome in OUTCOMES if outcome in shown},
        details=_details(evaluation),
    )


def render_beside(found: Beside) -> bytes:
    """The page of two bundles, UTF-8."""
    words, groups = found.words(), found.groups()
    pairs = [(group_of((one.image, two.image)), one, two) for one, two in found.pictures]
    shown = [group for group, *_ in pairs]
    return render_template(
        BESIDE_TEMPLATE,
        base64_text,
        figure,
        percent,
        span,
        beside=found,
        rows=[
            (key, name) for key, name in FIGURES if found.evaluations[0].metrics[key] is not None
        ],
        differences=found.differences(),
        evaluation=found.evaluations[0],  # data and number of images, the same for both
        now=_now(),
        verdicts=[_verdicts(evaluation) for evaluation in found.evaluations],
        histograms=[
            histogram(e.scores(good=True), e.scores(good=False), e.threshold)
            for e in found.evaluations
        ],
        counts={group: (len(groups[group]), said) for group, said in words.items()},
        notes=found.said(_said),
        pairs=pairs,
        shown={group: shown.count(group) for group in words if group in shown},
        outcomes=OUTCOME_WORDS,
    )


def _said(evaluation: Evaluation) -> tuple[str, ...]:
    """Notes and warnings."""
    warnings = () if evaluation.overlap is None else evaluation.overlap.warnings
    return evaluation.notes + warnings


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def base64_text(data: bytes) -> str:
    """As it stands in a data: URL."""
    return base64.b64encode(data).decode("ascii")


def figure(value: float | None) -> str:
    """Four digits, or a dash for a figure without a meaning."""
    return "–" if value is None else f"{value:.4f}"


def span(ends: Interval) -> str:
    """The ends of an interval, three digits each."""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def absent(evaluation: Evaluation, key: str) -> bool:
    """Whether a figure at frame size has no meaning; the others are shown with a dash then."""
    return key.startswith(FRAME_SIZE) and evaluation.metrics[key] is None


def _verdicts(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(ok, maybe or no; headline; explanation) of the defects and of the good parts."""
    found = []
    caught, missed = evaluation.count("caught"), evaluation.count("missed")
    rejected, passed = evaluation.count("rejected"), evaluation.count("passed")
    if defects := caught + missed:
        state = "ok" if not missed else "no" if missed > 0.1 * defects else "maybe"
        text = "Every defective image was judged anomalous."
        if missed:
            text = f"{missed} missed: {percent(missed / defects)} ({_interval(missed, defects)})"
        found.append((state, f"{caught} of {defects} defects caught", text))
    if good := rejected + passed:
        promised = float(evaluation.metrics["false_reject_promised"] or 0.0)
        state, chance = "ok", ""
        if rejected / good > promised:
            state, chance = "no", ": more than chance explains"
            if wilson_interval(rejected, good)[0] <= promised:
                state, chance = "maybe", ": within chance"
        text = (
            f"Promised at most {percent(promised)}, reached {percent(rejected / good)}{chance} "
            f"({_interval(rejected, good)})"
        )
        if evaluation.overlap is not None and (known := evaluation.overlap.good):
            state, text = "maybe", f"{text}; no test: {known} of them are known to the bundle"
        found.append((state, f"{rejected} of {good} good parts rejected", text))
    return found


def _interval(hits: int, n: int) -> str:
    low, high = wilson_interval(hits, n)
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"


def _roc(evaluation: Evaluation) -> Chart | None:
    """None with one class only."""
    images = evaluation.images
    labels = np.array([not image.is_good for image in images])
    if labels.all() or not labels.any():
        return None
    false, true = metrics.roc_curve([image.score for image in images], labels)
    anomalous = np.array([image.anomalous for image in images])
    reached = anomalous[~labels].mean(), anomalous[labels].mean()
    return roc(false, true, reached, float(evaluation.metrics["false_reject_promised"] or 0.0))


def _details(evaluation: Evaluation) -> dict[str, str]:
    figures, latency = evaluation.metrics, evaluation.latency_ms
    promised = float(figures["false_reject_promised"] or 0.0)
    rows: dict[str, str] = {
        "threshold": f"{evaluation.threshold:.6g} (a score above it has a p-value of at most "
        f"{promised:.4g}; from {evaluation.n_calibration} calibration images)",
        "time per frame": f"median {latency['median']:.2f} ms, p95 {latency['p95']:.2f} ms "
        f"(preprocess, engine and anomaly map)",
    }
    rows |= {f"engine, {key}": str(value) for key, value in evaluation.engine.items()}
    if figures["train_seconds"] is not None:
        rows["training"] = f"{float(figures['train_seconds']):.0f} s"
    for key in ("method", "seed", "steps", "command"):  # what is nested is for `edgead inspect`
        if isinstance(value := evaluation.provenance.get(key), (str, int, float)):
            rows[key] = str(value)
    for name, values in evaluation.quantiles.items():
        rows[f"scores, {name}"] = ", ".join(
            f"{QUANTILE_WORDS.get(q, f'{100 * q:g} %')} {value:.4g}"
            for q, value in zip(QUANTILES, values, strict=True)
        )
    return rows
