// One camera: its latest frame, its verdicts as they come, its false-reject rate.
import {alarm, ask, count, el, every, facts, number, percent, post, sentence, visible} from "./base.js";
import {trouble, verdict} from "./cameras.js";
import {axis, chart} from "./chart.js";
import {course} from "./course.js";

const PERIOD_MS = 250, KEPT = 600;

/** The scores of the last verdicts, with the threshold. */
function scores(root) {
  return chart(root, 240, colour => ({
    scales: {x: {time: false}, y: {range: (_, low, high) => [Math.min(0, low), (high || 1) * 1.05]}},
    cursor: {points: {size: 8}},
    axes: [axis({label: "frame", labelSize: 22, stroke: colour("soft")}), axis()],
    series: [{label: "frame"},
      {label: "good", stroke: colour("dot"), paths: () => null, points: {show: true, size: 5, fill: colour("dot"), stroke: colour("dot")}},
      {label: "anomalous", stroke: colour("bad"), paths: () => null, points: {show: true, size: 7, fill: colour("bad"), stroke: colour("bad")}},
      {label: "threshold", stroke: colour("bad"), dash: [5, 4], width: 1.5, paths: uPlot.paths.stepped({align: 1}),
        points: {show: false}}],
  }));
}

const columns = past => [past.map(v => v.frame), past.map(v => v.is_anomalous ? null : v.score),
  past.map(v => v.is_anomalous ? v.score : null), past.map(v => v.threshold)];

/** The slider: a threshold of n calibration images can only promise multiples of 1 / (n + 1). */
function slider(camera) {
  const now = el("b", {id: "rate-now"}), note = el("div", {class: "soft small", id: "rate-note"});
  let moving = false, steps = 1;
  const range = el("input", {type: "range", id: "rate", min: "1", max: "1", step: "1", disabled: true,
    oninput: () => { moving = true; now.textContent = percent(range.value / steps); },
    onchange: async () => {
      try { await post("/rate", {rate: range.value / steps}, {camera}); note.className = "soft small"; }
      catch (error) { note.textContent = sentence(error); note.className = "warn small"; }
      finally { moving = false; range.dataset.set = Number(range.dataset.set || 0) + 1; }
    }});
  const set = state => {
    steps = state.calibration_images + 1;
    const at = Math.max(1, Math.floor(state.false_reject_rate * steps + 1e-9));
    range.max = Math.max(Math.floor(steps / 2), at, 1);
    range.disabled = false;
    if (moving) return;
    range.value = at;
    now.textContent = percent(state.false_reject_rate);
    note.textContent = `${state.calibration_images} calibration images promise ${percent(1 / steps)} at best`;
  };
  return {element: el("div", {}, el("label", {for: "rate"}, "False-reject rate ", now), range, note), set};
}

export function show(root, {parts, query, workplace, go}) {
  const camera = parts[0] ?? workplace.cameras[0];
  let past = [], shown = null, images = 0;
  const view = el("img", {class: "view-picture", id: "view", alt: "the latest frame"});
  const heatmap = el("input", {type: "checkbox", id: "heatmap", checked: true, onchange: () => picture()});
  const source = el("span", {class: "soft", id: "source"}), word = el("div", {class: "big", id: "verdict"}, "waiting");
  const detail = el("div", {class: "soft small", id: "detail"}), numbers = el("div", {id: "numbers"});
  const plot = el("div", {class: "chart", id: "chart"}), rate = slider(camera);
  const wrong = el("p", {class: "warn", id: "trouble", role: "status", hidden: true});
  detail.style.overflowWrap = wrong.style.overflowWrap = "anywhere";
  root.append(
    el("div", {class: "head"}, el("h1", {}, visible(camera)), source), wrong,
    el("div", {class: "grid"},
      el("div", {class: "card"}, view, el("label", {class: "check"}, heatmap, "heatmap")),
      el("div", {class: "card"}, word, detail, numbers, rate.element)),
    el("section", {class: "card wide"}, el("h2", {}, "Scores"), plot));
  const lines = scores(plot), over = course(root, camera, workplace, hours => go(`camera/${encodeURIComponent(camera)}`, {hours}), query.get("hours"));

  async function picture() {
    const mine = ++images;
    const answer = await fetch(`/frame.jpg?${new URLSearchParams({camera, heatmap: heatmap.checked ? 1 : 0})}`);
    if (!answer.ok || mine !== images) return;
    const old = view.src;
    view.src = URL.createObjectURL(await answer.blob());
    if (old) URL.revokeObjectURL(old);
  }

  function fill(state) {
    const line = state.latest, [text, kind] = verdict(line);
    source.textContent = visible(`${state.source} · ${state.bundle} · ${state.device}`);
    if (past.length && line && past[past.length - 1].frame > line.frame) past = [];  // a new process
    if (state.history.length) {
      past = past.concat(state.history).slice(-KEPT);
      lines.set(columns(past));
    }
    alarm("");
    wrong.textContent = visible(trouble(state));
    wrong.hidden = !wrong.textContent;
    word.textContent = text;
    word.className = `big ${kind}`;
    detail.textContent = line ? `frame ${line.frame}, ${line.captured}${line.file ? ", " + visible(line.file) : ""}` : "";
    numbers.replaceChildren(facts([
      ["score", number(line?.score)], ["threshold", number(state.threshold)], ["p-value", number(line?.p_value, 3)],
      ["regions", line ? line.region_count : "–"], ["frames/s", number(state.rate_hz, 3)],
      ["frames", count(state.frames)], ["verdicts", count(state.verdicts)],
      ["anomalous", `${count(state.anomalous)}${state.verdicts ? `, ${percent(state.anomalous / state.verdicts)}` : ""}`],
      ["dropped", count(state.dropped)], ["not scored", count(state.failed)],
      ["latency p50, p99", `${number(state.p50_ms, 3)}, ${number(state.p99_ms, 3)} ms`],
    ]));
    rate.set(state);
    if (line && line.frame !== shown) { shown = line.frame; picture().catch(() => {}); }
  }

  const stop = every(PERIOD_MS, async () => {
    try {
      fill(await ask("/state", {camera, after: past.length ? past[past.length - 1].frame : -1}));
    } catch (error) {
      alarm(error.status === 404 ? "the camera is no longer configured" : sentence(error));
    }
  });
  return () => { stop(); over(); lines.end(); if (view.src) URL.revokeObjectURL(view.src); };
}
