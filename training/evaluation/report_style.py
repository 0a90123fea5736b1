"""The report's style sheet and its few lines of script: one file, no network, light and dark."""

STYLE = """
:root { color-scheme: light dark; --bg:#f4f6f8; --card:#fff; --text:#17202c; --soft:#5a6778;
  --line:#dde3ea; --good:#0d8a84; --bad:#c8501a; --warn:#9a6700; --accent:#2757c4; --well:#eceff3 }
@media (prefers-color-scheme: dark) { :root { --bg:#0e131a; --card:#161d27; --text:#e7ecf3;
  --soft:#9aa7b8; --line:#2a3543; --good:#3fbdb4; --bad:#ff9559; --warn:#e3b341; --accent:#86aaff;
  --well:#0b1016 } }
* { box-sizing:border-box }
body { margin:0; background:var(--bg); color:var(--text);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif }
main { max-width:1240px; margin:0 auto; padding:36px 24px 64px }
h1 { font-size:30px; line-height:1.2; margin:0; letter-spacing:-.01em; overflow-wrap:anywhere }
h2 { font-size:17px; margin:0 0 12px }
p { margin:0 } a { color:var(--accent) }
.eyebrow { color:var(--soft); font-size:12px; letter-spacing:.09em; text-transform:uppercase }
.sub, .soft { color:var(--soft) } .sub { margin-top:4px; overflow-wrap:anywhere }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px;
  padding:18px 20px }
section { margin-top:22px }
.verdict { display:grid; grid-template-columns:1fr 1fr; gap:20px; margin-top:24px }
.verdict b { display:block; font-size:27px; line-height:1.25; font-weight:650 }
.verdict .card { border-left:5px solid var(--line) }
.verdict .ok { border-left-color:var(--good) } .verdict .no { border-left-color:var(--bad) }
.verdict .maybe { border-left-color:var(--warn) }
.tiles { display:grid; grid-template-columns:repeat(6,1fr); gap:14px; margin-top:20px }
.tiles .card { padding:13px 16px } .tiles b { display:block; font-size:23px; font-weight:600;
  font-variant-numeric:tabular-nums } .tiles span { color:var(--soft); font-size:13px }
.charts { display:grid; grid-template-columns:minmax(0,2fr) minmax(0,1fr); gap:20px }
svg { display:block; width:100%; height:auto } svg text { font-size:12px; fill:var(--soft) }
svg .strong { fill:var(--text); font-weight:600 }
svg rect.good { fill:var(--good) } svg rect.defective { fill:var(--bad) }
svg .grid { stroke:var(--line) } svg .axis { stroke:var(--soft) }
svg .threshold { stroke:var(--text); stroke-width:1.5; stroke-dasharray:5 4 }
svg .curve { fill:none; stroke:var(--accent); stroke-width:2.5; stroke-linejoin:round }
svg .area { fill:var(--accent); opacity:.1 } svg .point { fill:var(--bad); stroke:var(--card);
  stroke-width:2 }
.legend { margin-top:8px; display:flex; flex-wrap:wrap; gap:6px 18px; color:var(--soft);
  font-size:13px }
.legend i { display:inline-block; width:11px; height:11px; border-radius:3px; margin-right:6px }
svg .span { fill:var(--bad); opacity:.2 } svg .score { fill:none; stroke:var(--accent);
  stroke-width:1.2; stroke-linejoin:round } h3 { font-size:14px; margin:14px 0 4px }
.scroll { overflow-x:auto }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th { text-align:left; color:var(--soft); font-weight:500; font-size:13px }
th, td { padding:7px 14px 7px 0; border-bottom:1px solid var(--line); white-space:nowrap }
tr:last-child td { border-bottom:0 } td.num, th.num { text-align:right }
td.wide { width:34% } .bar { height:8px; border-radius:4px; background:var(--well); min-width:90px }
.bar i { display:block; height:100%; border-radius:4px; background:var(--bad) }
.bar i.good { background:var(--good) }
.notes { border-left:5px solid var(--warn) } .notes ul { margin:0; padding-left:18px }
.filters { display:none; flex-wrap:wrap; gap:8px; margin:0 0 14px } .js .filters { display:flex }
.filters button { font:inherit; font-size:13px; color:var(--text); background:var(--card);
  border:1px solid var(--line); border-radius:99px; padding:4px 13px; cursor:pointer }
.filters button[aria-pressed=true] { background:var(--text); color:var(--bg) }
.gallery { display:grid; gap:16px;
  grid-template-columns:repeat(auto-fill,minmax(min(100%,560px),1fr)) }
figure { margin:0; padding:12px !important; overflow:hidden } .js figure { cursor:zoom-in }
figure:focus-visible, button:focus-visible { outline:3px solid var(--accent); outline-offset:2px }
.trio { display:grid; grid-template-columns:repeat(3,minmax(0,1fr)); gap:6px }
.trio > * { aspect-ratio:1; width:100%; object-fit:contain; background:var(--well);
  border-radius:6px; display:grid; place-items:center; text-align:center; color:var(--soft);
  font-size:13px; padding:0 } .trio span { padding:8px }
figcaption { margin-top:10px; display:flex; gap:4px 10px; align-items:baseline; flex-wrap:wrap }
figcaption .name { overflow-wrap:anywhere; font-size:13px; flex:1 1 100%; color:var(--soft) }
.badge { font-size:12px; font-weight:600; border-radius:99px; padding:1px 10px; color:var(--card) }
.missed, .rejected { background:var(--bad) } .caught, .passed { background:var(--good) }
dl { display:grid; grid-template-columns:max-content minmax(0,1fr); gap:5px 22px; margin:0 }
dt { color:var(--soft) } dd { margin:0; overflow-wrap:anywhere }
dialog { border:0; border-radius:14px; background:var(--card); color:var(--text); padding:18px;
  width:min(1280px,96vw); max-height:96vh } dialog::backdrop { background:rgb(0 0 0 / .7) }
dialog .trio { gap:10px } dialog img { image-rendering:auto } .hidden { display:none }
footer { margin-top:30px; color:var(--soft); font-size:13px }
@media (max-width:900px) { .tiles { grid-template-columns:repeat(3,1fr) }
  .charts, .verdict { grid-template-columns:minmax(0,1fr) } .roc svg { max-width:420px } }
@media (max-width:520px) { main { padding:22px 14px 40px } .tiles { grid-template-columns:1fr 1fr }
  .scores svg text { font-size:20px } .verdict b { font-size:22px }
  dl { grid-template-columns:1fr } dd { margin-bottom:6px } }
@media print { .filters { display:none !important } figure { break-inside:avoid } }
"""

SCRIPT = """
document.documentElement.classList.add('js');
const figures = [...document.querySelectorAll('figure')], box = document.querySelector('dialog');
const buttons = document.querySelectorAll('.filters button');
for (const button of buttons) button.onclick = () => {
  for (const b of buttons) b.setAttribute('aria-pressed', b === button);
  for (const f of figures) f.classList.toggle('hidden',
    button.value !== 'all' && f.dataset.outcome !== button.value);
};
let shown = null;
const show = figure => { shown = figure; box.replaceChildren(
  ...[...figure.children].map(child => child.cloneNode(true))); if (!box.open) box.showModal(); };
for (const figure of figures) { figure.tabIndex = 0; figure.onclick = () => show(figure);
  figure.onkeydown = e => { if (e.key === 'Enter') show(figure); }; }
box.onclick = () => box.close();
box.onkeydown = e => { const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key]; if (!step) return;
  const seen = figures.filter(f => !f.classList.contains('hidden'));
  show(seen[(seen.indexOf(shown) + step + seen.length) % seen.length]); };
"""
