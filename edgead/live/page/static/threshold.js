// Threshold: what another false-reject rate would have changed in the last verdicts.
import {ask, choice, count, el, notice, number, percent, plural, post, sentence, visible, when} from "./base.js";
import {axis, chart} from "./chart.js";

const WAIT_MS = 120, LASTS = [100, 1000, 10000, 100000];

/** Scores as columns, with the threshold now and then as lines. */
function histogram(root) {
  let lines = [], span = [0, 1];
  const draw = plot => {
    for (const [at, colour, dash] of lines) {
      const x = Math.round(plot.valToPos(at, "x", true)), {top, height, left, width} = plot.bbox;
      if (x < left || x > left + width) continue;
      Object.assign(plot.ctx, {strokeStyle: colour, lineWidth: 2 * devicePixelRatio});
      plot.ctx.setLineDash(dash.map(d => d * devicePixelRatio));
      plot.ctx.beginPath();
      plot.ctx.moveTo(x, top);
      plot.ctx.lineTo(x, top + height);
      plot.ctx.stroke();
      plot.ctx.setLineDash([]);
    }
  };
  const plot = chart(root, 240, colour => ({
    scales: {x: {time: false, range: () => span}, y: {distr: 3, range: (_, low, high) => [0.5, Math.max(high, 2)]}},
    axes: [axis({label: "score", labelSize: 22}), axis({label: "verdicts", labelSize: 22, values: (_, all) => all.map(v => v >= 1 && Number.isInteger(Math.log10(v)) ? count(v) : "")})],
    legend: {show: false}, cursor: {show: false},
    series: [{}, {fill: colour("dot"), width: 0, paths: uPlot.paths.bars({size: [1, Infinity], align: 1}), points: {show: false}}],
    hooks: {draw: [draw]},
  }));
  return {
    set({edges, counts}, now, then) {
      const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
      lines = [[now, colour("soft"), []], [then, colour("bad"), [5, 4]]];
      const low = Math.min(edges[0], now, then), high = Math.max(edges[edges.length - 1], now, then);
      const margin = (high - low) / 50 || 1;
      span = [low - margin, high + margin];
      plot.set([edges.slice(0, -1), counts.map(n => n || null)]);
    },
    end: plot.end,
  };
}

function table({reviewed, verdicts, anomalous, anomalous_then: then}) {
  const line = (name, all, before, after) => el("tr", {}, el("td", {}, name), ...[all, before, after].map(n => el("td", {}, count(n))));
  return el("table", {id: "counts"}, el("thead", {}, el("tr", {}, ...["", "verdicts", "anomalous as recorded", "with this rate"].map(text => el("th", {scope: "col"}, text)))),
    el("tbody", {}, line("all", verdicts, anomalous, then),
      ...["good", "defective"].map(label => line(`marked ${label}`, reviewed[label].verdicts, reviewed[label].anomalous, reviewed[label].anomalous_then))));
}

function changes(found) {
  const {changed, more, fewer} = found;
  if (!changed.length) return notice("No verdict would have been another.");
  const head = ["when", "score", "was", "would be", "review"].map(text => el("th", {scope: "col"}, text));
  const row = each => el("tr", {}, el("td", {}, each.id ? el("a", {href: `#/record/${encodeURIComponent(each.id)}`}, when(each.captured)) : when(each.captured)),
    el("td", {}, number(each.score)), el("td", {}, each.is_anomalous ? "anomalous" : "good"),
    el("td", {}, each.is_anomalous ? "good" : "anomalous"), el("td", {}, each.label || ""));
  return [el("div", {class: "scroll"}, el("table", {id: "changed"}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...changed.map(row)))),
    changed.length < more + fewer && el("p", {class: "soft"}, `the latest ${count(changed.length)} of ${count(more + fewer)}`)];
}

export async function show(root, {query, workplace, go}) {
  const camera = query.get("camera") || workplace.cameras[0];
  const last = LASTS.includes(Number(query.get("last"))) ? query.get("last") : "1000";
  const start = query.get("start") === "latest" ? "latest" : "";
  root.append(el("div", {class: "head"}, el("h1", {}, "Threshold")));
  if (camera === undefined) { root.append(notice("No camera is configured.")); return; }
  const again = change => go("threshold", {camera, last, start, ...change});
  const shown = el("b", {id: "rate-shown"}), note = el("p", {class: "soft small", id: "rate-note"});
  const range = el("input", {type: "range", id: "rate", min: "1", max: "1", step: "1", oninput: () => moved()});
  const apply = el("button", {type: "button", class: "primary", id: "apply", disabled: true, onclick: () => set()}, "Use this rate");
  const result = el("div", {id: "result", role: "status"}), plot = el("div", {class: "chart", id: "histogram"});
  const counts = el("div"), list = el("section", {class: "card wide"});
  root.append(
    el("div", {class: "card row-of-fields"},
      choice("Camera", workplace.cameras, camera, value => again({camera: value})),
      workplace.records && choice("Verdicts", LASTS.map(n => [n, `the last ${count(n)}`]), last, value => again({last: value})),
      workplace.records && choice("Of", [["", "all starts"], ["latest", "the latest start"]], start, value => again({start: value}))),
    el("div", {class: "grid wide"},
      el("section", {class: "card"}, el("h2", {}, "Scores"), plot,
        el("p", {class: "soft small"}, "Solid: the threshold now. Dashed: with this rate. The scale of the columns is logarithmic.")),
      el("section", {class: "card"}, el("label", {for: "rate"}, "False-reject rate ", shown), range, note, result, counts, apply)),
    list);
  const bars = histogram(plot);
  let steps = 1, turn = 0, timer = 0;

  const rate = () => range.value / steps;
  const moved = () => {
    shown.textContent = percent(rate());
    clearTimeout(timer);
    timer = setTimeout(() => load(rate()), WAIT_MS);
  };

  async function load(asked) {
    const mine = ++turn;
    try {
      const found = await ask("/api/threshold", {camera, last, start, rate: asked});
      if (mine === turn) fill(found, asked === undefined);
    } catch (error) {
      if (mine === turn) result.replaceChildren(el("p", {class: "warn"}, sentence(error)));
    }
  }

  function fill(found, first) {
    steps = found.calibration_images + 1;
    if (first) {
      const at = Math.max(1, Math.floor(found.rate_now * steps + 1e-9));
      range.max = Math.max(Math.floor(steps / 2), at, 1);
      range.value = at;
    }
    shown.textContent = percent(found.rate);
    note.textContent = `threshold ${number(found.threshold)}; now ${number(found.threshold_now)} at ${percent(found.rate_now)}. ` +
      `${found.calibration_images} calibration images promise ${percent(1 / steps)} at best.`;
    apply.disabled = Math.abs(found.rate - found.rate_now) < 1e-9;
    if (!found.verdicts) {
      result.replaceChildren(el("p", {class: "soft"}, "There are no verdicts yet."));
      counts.replaceChildren(); list.hidden = true;
      return;
    }
    list.hidden = false;
    const {more, fewer, verdicts} = found;
    result.replaceChildren(el("p", {class: "result"}, `Of ${plural(verdicts, "verdict")}, ${count(more)} more would have been anomalous, ${count(fewer)} fewer.`),
      el("p", {class: "soft small"}, `${when(found.since)} to ${when(found.until)}${found.recorded ? "" : ", kept in memory: records go back further"}`),
      found.starts > 1 && el("p", {class: "warn small"}, `They come from ${found.starts} starts of the camera. If its bundle was replaced in between, their scores cannot be compared: look at the latest start alone.`) || "");
    counts.replaceChildren(el("div", {class: "scroll"}, table(found)));
    bars.set(found.histogram, found.threshold_now, found.threshold);
    list.replaceChildren(el("h2", {}, "What would have changed"), ...[changes(found)].flat().filter(Boolean));
  }

  async function set() {
    apply.disabled = true;
    try {
      await post("/rate", {rate: rate()}, {camera});
      await load(rate());
      note.prepend(el("b", {class: "good"}, `${visible(camera)} uses it from the next frame on, until the process ends. `));
    } catch (error) { result.replaceChildren(el("p", {class: "warn"}, sentence(error))); apply.disabled = false; }
  }

  await load();
  return () => { clearTimeout(timer); turn++; bars.end(); };
}
