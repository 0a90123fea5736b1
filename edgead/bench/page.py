"""A run of edgead-bench as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgead.bench.charts import histogram, timeline
from edgead.bench.closed_loop import END_TO_END
from edgead.bench.monitor import MachineReading
from edgead.bench.results import Measured
from edgead.bench.text import below, changes_lines, doubts, machine_lines, ratio_lines, rows

STYLE = """
:root { color-scheme: light dark; --bg:#f4f6f8; --card:#fff; --text:#17202c; --soft:#5a6778;
  --line:#dde3ea; --bar:#2757c4; --mark:#c8501a; --warn:#9a6700 }
@media (prefers-color-scheme: dark) { :root { --bg:#0e131a; --card:#161d27; --text:#e7ecf3;
  --soft:#9aa7b8; --line:#2a3543; --bar:#86aaff; --mark:#ff9559; --warn:#e3b341 } }
* { box-sizing:border-box }
body { margin:0; background:var(--bg); color:var(--text); font:15px/1.5 system-ui,sans-serif }
main { max-width:1240px; margin:0 auto; padding:28px 20px 56px }
h1 { font-size:26px; margin:0 } h2 { font-size:19px; margin:30px 0 8px; overflow-wrap:anywhere }
p { margin:4px 0; overflow-wrap:anywhere } .soft { color:var(--soft) }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:14px 16px;
  margin-top:14px; overflow-x:auto } .doubt { border-left:5px solid var(--warn) }
.charts { display:grid; gap:14px;
  grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr)) }
ul { margin:0; padding-left:18px } li { overflow-wrap:anywhere }
table { border-collapse:collapse; font-variant-numeric:tabular-nums }
th { text-align:left; color:var(--soft); font-weight:500 } .num { text-align:right }
th, td { padding:4px 16px 4px 0; white-space:pre }
svg { display:block; width:100%; height:auto } svg text { font-size:12px; fill:var(--soft) }
svg .strong { fill:var(--text); font-weight:600 } svg .label { fill:var(--mark) }
svg .bar { fill:var(--bar); opacity:.75 } svg .mark { stroke:var(--mark) }
svg .axis { stroke:var(--soft) } svg .grid { stroke:var(--line) }
svg .samples { stroke:var(--bar); stroke-width:2.4; stroke-linecap:round; fill:none }
svg .limit { stroke:var(--mark); stroke-dasharray:5 4 }
"""


def page(measured: Sequence[Measured], readings: Sequence[MachineReading]) -> bytes:
    """The page: what was measured, doubts, and charts of every bundle."""
    first = measured[0]
    about = first.identity
    lines = [
        f"{about['created']}, {about['processor']}, {about['cores']} cores, "
        f"{about['version']}, kernels {about['kernels']}, edgead {about['edgead']}",
        f"frames: {', '.join(first.settings['frames'])}; {first.settings['images']}",
        *machine_lines(readings),
        *ratio_lines(measured),
        *changes_lines(first),
    ]
    body = [
        "<h1>edgead-bench</h1>",
        *(f'<p class="soft">{escape(line)}</p>' for line in lines),
        _doubts(measured),
        *(_section(one) for one in measured),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>edgead-bench {escape(first.label)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    ).encode()


def _doubts(measured: Sequence[Measured]) -> str:
    lines = doubts(measured)
    if not lines:
        return '<div class="card">Nothing speaks against these numbers.</div>'
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="card doubt"><b>Doubts</b><ul>{items}</ul></div>'


def _section(one: Measured) -> str:
    ends = one.scopes[END_TO_END]
    title = "end to end (closed loop)"
    charts = [histogram(ends, title), timeline(range(len(ends)), ends, title, "turn", None)]
    if one.open_loop is not None:
        loop = one.open_loop
        title = f"arrival to result (open loop, {loop.hz:g} Hz)"
        charts.append(histogram(loop.latency_ms, title))
        places = list(loop.served)
        charts.append(timeline(places, loop.latency_ms, title, "frame", loop.deadline_ms))
    cards = "".join(f'<div class="card">{chart}</div>' for chart in charts)
    notes = "".join(f"<p>{escape(line)}</p>" for line in below(one))
    return (
        f"<h2>{escape(one.label)}</h2>{notes}"
        f'<div class="card">{_table(rows(one))}</div><div class="charts">{cards}</div>'
    )


def _table(lines: Sequence[Sequence[str]]) -> str:
    html = []
    for number, line in enumerate(lines):
        tag = "td" if number else "th"
        cells = "".join(
            f"<{tag}{' class=num' if 0 < place < 8 else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(line)
        )
        html.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(html)}</table>"
