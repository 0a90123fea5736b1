"""The page of a training run: losses and early figures over its steps, one file for a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgead.bench.charts import Axis, Chart
from edgead.bench.templates import render
from edgead.files import write_file

PAGE_FILE = "training.html"
_TEMPLATE = Path(__file__).with_name("run_page.html")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 1160, 240, 64, 16, 12, 34

Row = Mapping[str, Any]


def write_page(out: Path, record: Row) -> None:
    """Write ``training.html`` in the folder of a run from its finished record."""
    by_stage: dict[str, list[Row]] = {}
    for row in record["history"]:
        by_stage.setdefault(row["stage"], []).append(row)
    early = record.get("early", ())
    stages = [
        (
            stage,
            losses(rows),
            image_aurocs([row for row in early if row["stage"] == stage], rows[-1]["step"] + 1),
        )
        for stage, rows in by_stage.items()
    ]
    told = {
        "method": record["method"],
        "data": Path(record["data"]["path"]).name,
        "images": f"{len(record['train'])} learnt from, {len(record['calibration'])} held out",
        "steps": record["steps"],
        "seconds": record["train_seconds"],
        "precision": record["precision"],
        "device": record["device"],
        "seed": record["seed"],
        **({"found": found} if (found := record.get("found")) else {}),
        "command": record["command"],
    }
    last = early[-1]["image_auroc"] if early else None
    page = render(_TEMPLATE, name=out.resolve().name, stages=stages, told=told, last=last)
    write_file(out / PAGE_FILE, page)


def losses(rows: Sequence[Row]) -> Chart:
    """The sum of the losses of a stage over its steps, logarithmic where it is positive."""
    points = [
        (float(row["step"]), sum(value for key, value in row.items() if key not in _NO_LOSS))
        for row in rows
    ]
    low, high = min(value for _, value in points), max(value for _, value in points)
    if low > 0:
        axis = (low / 1.1, high * 1.1, True)
    else:
        room = 0.05 * (high - low) or 0.5
        axis = (low - room, high + room, False)
    return _drawn("Loss over the steps of the stage", points, points[-1][0] + 1, *axis)


def image_aurocs(rows: Sequence[Row], steps: int) -> Chart | None:
    """The early figures of a stage, from 0.4 or their least on; None without any."""
    points = [(float(row["step"]), float(row["image_auroc"])) for row in rows]
    if not points:
        return None
    low = min(0.4, *(value for _, value in points)) - 0.02
    label = "Image AUROC on synthetic defects of held-out good images"
    return _drawn(label, points, max(steps, points[-1][0]), low, 1.02, False)


_NO_LOSS = ("stage", "step")


def _drawn(
    label: str, points: Sequence[tuple[float, float]], end: float, low: float, high: float,
    logarithmic: bool,
) -> Chart:  # fmt: skip
    chart = Chart(_WIDTH, _HEIGHT, label)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    across = Axis(0, max(end, 1.0), _LEFT, right)
    up = Axis(low, high, bottom, _TOP, logarithmic=logarithmic)
    chart.grid_x(across, _TOP, bottom)
    chart.grid_y(up, _LEFT, right)
    places = [(across.at(step), up.at(value)) for step, value in points]
    chart.add("path", "curve", d="M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in places))
    for (step, value), (x, y) in zip(points, places, strict=True):
        if len(points) <= 64:
            chart.add("circle", "point", title=f"step {step:.0f}: {value:.4g}", cx=x, cy=y, r=4)
    return chart
