"""An evaluation as one HTML page that needs no network: what an engineer shows around.

Verdicts first, then figures, charts, kinds of defects, and pictures with the worst mistakes first.
Everything that comes from outside (names of files, labels, provenance) is escaped.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from edgead.files import write_file

from . import metrics
from .evaluate import CATEGORY_KEYS, QUANTILES, Evaluation, Kind
from .gallery import OUTCOMES, Picture
from .report_charts import histogram, roc
from .report_style import SCRIPT, STYLE
from .report_timeline import panel

OUTCOME_WORDS = {
    "missed": "missed defect",
    "rejected": "false reject",
    "caught": "caught defect",
    "passed": "good part passed",
}
OUTCOME_FILTERS = {
    "missed": "missed defects",
    "rejected": "false rejects",
    "caught": "caught defects",
    "passed": "good parts passed",
}


def write_report(evaluation: Evaluation, folder: str | os.PathLike[str]) -> Path:
    """Write `folder`/index.html, whole or not at all; returns its path.

    Errors: OSError where the folder cannot be made or written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder) / "index.html"
    write_file(target, render(evaluation).encode("utf-8"))
    return target


def render(evaluation: Evaluation) -> str:
    """The page as text."""
    title = f"{_safe(evaluation.name)} on {_safe(evaluation.data_name)}"
    body = "".join(
        (
            _head(evaluation),
            _verdict(evaluation),
            _tiles(evaluation),
            _notes(evaluation),
            _charts(evaluation),
            _timelines(evaluation),
            _categories(evaluation),
            _kinds(evaluation),
            _gallery(evaluation),
            _details(evaluation),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>edgead: {title}</title><style>{STYLE}</style></head>\n"
        f'<body><main>{body}</main><dialog aria-label="enlarged pictures"></dialog>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _head(evaluation: Evaluation) -> str:
    good = sum(record.is_good for record in evaluation.records)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f'<header><div class="eyebrow">edgead evaluation</div><h1>{_safe(evaluation.name)}</h1>'
        f'<p class="sub">Test set {_safe(evaluation.data_name)}: {good} good and '
        f"{len(evaluation.records) - good} defective images &middot; {now}</p></header>"
    )


def _verdict(evaluation: Evaluation) -> str:
    caught, missed = evaluation.count("caught"), evaluation.count("missed")
    defects, good = caught + missed, evaluation.count("rejected") + evaluation.count("passed")
    cards = []
    if defects:
        state = "ok" if not missed else "no" if missed > 0.1 * defects else "maybe"
        text = "Every defective image was judged anomalous."
        if missed:
            low, high = metrics.wilson_interval(missed, defects)
            text = f"{missed} missed: {_share(missed / defects)} ({_interval(low, high)})"
        cards.append(
            f'<div class="card {state}"><b>{caught} of {defects} defects caught</b>'
            f'<p class="soft">{text}</p></div>'
        )
    if good:
        state, text = _promise(evaluation, good)
        cards.append(
            f'<div class="card {state}"><b>{evaluation.count("rejected")} of {good} good parts '
            f'rejected</b><p class="soft">{text}</p></div>'
        )
    return f'<div class="verdict">{"".join(cards)}</div>'


def _promise(evaluation: Evaluation, good: int) -> tuple[str, str]:
    """How the promised false-reject rate stands against the one reached."""
    rejected = evaluation.count("rejected")
    promised = float(evaluation.metrics["false_reject_promised"] or 0.0)
    low, high = metrics.wilson_interval(rejected, good)
    reached = f"Promised at most {_share(promised)}, reached {_share(rejected / good)}"
    if rejected / good <= promised:
        return "ok", f"{reached} ({_interval(low, high)})"
    if low <= promised:
        return "maybe", f"{reached}: within chance ({_interval(low, high)})"
    return "no", f"{reached}: more than chance explains ({_interval(low, high)})"


def _tiles(evaluation: Evaluation) -> str:
    figures = evaluation.metrics
    tiles = [
        ("image AUROC", _figure(figures["image_auroc"])),
        ("average precision", _figure(figures["image_ap"])),
        ("F1, best threshold", _figure(figures["f1_max"])),
        ("pixel AUROC", _figure(figures["pixel_auroc"])),
        ("AUPRO at 0.3", _figure(figures["aupro"])),
        ("per frame, median", f"{evaluation.latency_ms['median']:.1f} ms"),
    ]
    cards = (f'<div class="card"><b>{value}</b><span>{name}</span></div>' for name, value in tiles)
    return f'<div class="tiles">{"".join(cards)}</div>'


def _notes(evaluation: Evaluation) -> str:
    if not evaluation.notes:
        return ""
    items = "".join(f"<li>{_safe(note)}</li>" for note in evaluation.notes)
    return f'<section class="card notes"><ul>{items}</ul></section>'


def _charts(evaluation: Evaluation) -> str:
    good, defective = evaluation.scores(good=True), evaluation.scores(good=False)
    chart = histogram(good, defective, evaluation.threshold)
    legend = (
        '<div class="legend"><span><i style="background:var(--good)"></i>good, upwards '
        f'({good.size})</span><span><i style="background:var(--bad)"></i>defective, downwards '
        f"({defective.size})</span><span>each to its own tallest bar</span></div>"
    )
    if good.size and defective.size:
        labels = np.repeat([False, True], [good.size, defective.size])
        false, true = metrics.roc_curve(np.concatenate([good, defective]), labels)
        reached = (
            evaluation.count("rejected") / good.size,
            evaluation.count("caught") / defective.size,
        )
        promised = float(evaluation.metrics["false_reject_promised"] or 0.0)
        curve = roc(false, true, reached, promised) + (
            '<p class="legend">dot: the verdicts; dashed: promised false-reject rate</p>'
        )
    else:
        curve = '<p class="soft">A ROC wants good and defective test images.</p>'
    return (
        f'<section class="charts"><div class="card scores"><h2>Scores</h2>{chart}{legend}</div>'
        f'<div class="card roc"><h2>ROC, AUROC {_figure(evaluation.metrics["image_auroc"])}</h2>'
        f"{curve}</div></section>"
    )


def _timelines(evaluation: Evaluation) -> str:
    if not evaluation.timelines:
        return ""
    panels = "".join(
        f'<h3>{_safe(each.video)} <span class="soft">{each.scores.size} frames, AUROC '
        f"{_figure(each.auroc)}</span></h3>{panel(each, evaluation.threshold)}"
        for each in evaluation.timelines
    )
    return (
        '<section class="card timelines"><h2>Score over time, frame AUROC '
        f"{_figure(evaluation.metrics['frame_auroc'])} with scores normalised per video</h2>"
        f'{panels}<p class="legend">shaded: frames labelled anomalous; dashed: threshold; across: '
        "the number of the frame</p></section>"
    )


def _categories(evaluation: Evaluation) -> str:
    """A row for each of several categories, the least image AUROC first, and one for their mean."""
    if not evaluation.categories:
        return ""
    worst_first = sorted(
        evaluation.categories,
        key=lambda c: (c.image_auroc is not None, c.image_auroc or 0.0, c.name),
    )
    rows = [
        (_safe(c.name), str(c.n), *_cells([getattr(c, key) for key in CATEGORY_KEYS]))
        for c in worst_first
    ]
    rows.append(("mean", "", *_cells(list(evaluation.category_means().values()))))
    body = "".join(
        f"<tr><td>{name}</td>" + "".join(f'<td class="num">{cell}</td>' for cell in cells) + "</tr>"
        for name, *cells in rows
    )
    head = "".join(
        f'<th class="num">{name}</th>'
        for name in ("images", "image AUROC", "pixel AUROC", "AUPRO at 0.3", "good parts rejected")
    )
    return (
        '<section class="card"><h2>By category, one threshold for all</h2><div class="scroll">'
        f"<table><thead><tr><th>category</th>{head}</tr></thead><tbody>{body}</tbody></table>"
        "</div></section>"
    )


def _cells(figures: list[float | None]) -> list[str]:
    """Areas, and last the share of good parts rejected."""
    *areas, rate = figures
    return [*map(_figure, areas), "&ndash;" if rate is None else _share(rate)]


def _kinds(evaluation: Evaluation) -> str:
    rows = "".join(_kind_row(kind) for kind in evaluation.kinds())
    return (
        '<section class="card"><h2>By kind</h2><div class="scroll"><table><thead><tr>'
        '<th>label</th><th class="num">images</th><th class="num">judged anomalous</th>'
        '<th></th><th class="num">AUROC against good</th><th class="num">median score</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _kind_row(kind: Kind) -> str:
    share = kind.anomalous / kind.n
    # For a defect the bar shows what was caught, in the colour of what goes right.
    colour = "" if kind.label == "good" else ' class="good"'
    return (
        f'<tr><td>{_safe(kind.label)}</td><td class="num">{kind.n}</td>'
        f'<td class="num">{kind.anomalous} ({_share(share)})</td><td class="wide">'
        f'<div class="bar"><i{colour} style="width:{100 * share:.1f}%"></i></div></td>'
        f'<td class="num">{_figure(kind.auroc)}</td>'
        f'<td class="num">{kind.median_score:.4g}</td></tr>'
    )


def _gallery(evaluation: Evaluation) -> str:
    pictures = evaluation.pictures
    if not pictures:
        return ""
    present = [o for o in OUTCOMES if any(p.record.outcome == o for p in pictures)]
    buttons = "".join(
        f'<button type="button" value="{o}" aria-pressed="false">{OUTCOME_FILTERS[o]} '
        f"({sum(p.record.outcome == o for p in pictures)} of {evaluation.count(o)})</button>"
        for o in present
    )
    shown = f"{len(pictures)} of {len(evaluation.records)}"
    return (
        f"<section><h2>Pictures: frame, heatmap, mask</h2>"
        f'<p class="soft" style="margin-bottom:12px">{shown} test images, the worst mistakes '
        f"first: missed defects from the lowest score, false rejects from the highest, then the "
        f"closest calls among those judged rightly.</p>"
        f'<div class="filters"><button type="button" value="all" aria-pressed="true">all '
        f"({len(pictures)})</button>{buttons}</div>"
        f'<div class="gallery">{"".join(_card(picture) for picture in pictures)}</div></section>'
    )


def _card(picture: Picture) -> str:
    record = picture.record
    name = _safe(record.name)
    height, width = record.frame_size
    if picture.mask is not None:
        mask = _image(picture.mask, "png", f"mask of the defect in {name}")
    else:
        mask = f"<span>{'good part: no defect' if record.is_good else 'no mask'}</span>"
    return (
        f'<figure class="card" data-outcome="{record.outcome}"><div class="trio">'
        f"{_image(picture.frame, 'jpeg', f'frame {name}')}"
        f"{_image(picture.overlay, 'jpeg', f'heatmap over {name}')}{mask}</div>"
        f'<figcaption><span class="badge {record.outcome}">{OUTCOME_WORDS[record.outcome]}</span>'
        f"<b>score {record.score:.4g}</b><span>p = {record.p_value:.3g}</span>"
        f'<span class="soft">{_safe(record.label)}</span>'
        f'<span class="name">{name} &middot; {height} &times; {width} px</span>'
        f"</figcaption></figure>"
    )


def _image(data: bytes, kind: str, alt: str) -> str:
    """`alt` is escaped already."""
    text = base64.b64encode(data).decode("ascii")
    return f'<img loading="lazy" alt="{alt}" src="data:image/{kind};base64,{text}">'


def _details(evaluation: Evaluation) -> str:
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
    rows |= _provenance(evaluation.provenance)
    for name, values in evaluation.quantiles.items():
        rows[f"scores, {name}"] = ", ".join(
            f"{_quantile(q)} {v:.4g}" for q, v in zip(QUANTILES, values, strict=True)
        )
    items = "".join(f"<dt>{_safe(key)}</dt><dd>{_safe(value)}</dd>" for key, value in rows.items())
    return (
        f'<section class="card"><h2>Details</h2><dl>{items}</dl></section><footer>Image figures '
        "use the score of each frame; pixel figures use the anomaly maps at model resolution, "
        "masks brought there by nearest neighbour; AUPRO up to a false-positive rate of 0.3. "
        "Intervals are Wilson's, 95 %. Ties count as ties, every threshold counts.</footer>"
    )


def _provenance(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The plain entries; nested ones belong to `edgead inspect`."""
    plain = (str, int, float)
    expected = ("method", "seed", "steps", "command")
    return {k: str(provenance[k]) for k in expected if isinstance(provenance.get(k), plain)}


def _quantile(q: float) -> str:
    return {0.0: "least", 0.5: "median", 1.0: "largest"}.get(q, f"{100 * q:g} %")


def _figure(value: float | int | None) -> str:
    return "&ndash;" if value is None else f"{value:.4f}"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _interval(low: float, high: float) -> str:
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"


def _safe(text: str) -> str:
    """Escaped for HTML text and attributes; bytes that are no UTF-8 become visible escapes."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)
