// Health and drift of a camera over hours or days, from its records.
import {ask, count, el, every, notice, percent, plural, sentence, visible, when} from "./base.js";
import {axis, chart, times} from "./chart.js";

const PERIOD_MS = 30000, STEPS = 120;
const SPANS = [[1, "1 hour"], [8, "8 hours"], [24, "1 day"], [168, "7 days"], [720, "30 days"]];

/** Two charts: scores under their threshold, and the shares of verdicts with something to say. */
function charts(scores, shares) {
  let span = null;
  const x = {range: (_, low, high) => span || [low, high]};
  const y = {range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.05]};
  const cursor = {sync: {key: "course"}}, gaps = {spanGaps: true, points: {show: true, size: 4}};
  const line = (label, colour, more = {}) => ({label, stroke: colour, width: 1.5, ...gaps, ...more});
  const share = (_, value) => value == null ? "–" : percent(value);
  const when_of = {label: "time", value: (_, at) => at == null ? "–" : when(1000 * at)};
  const drawn = [
    chart(scores, 220, colour => ({scales: {x, y}, cursor, axes: [times(), axis({label: "score", labelSize: 22})], series: [when_of,
      line("median", colour("dot")), line("95 %", colour("soft")),
      line("threshold", colour("bad"), {dash: [5, 4], points: {show: false}})]})),
    chart(shares, 200, colour => ({scales: {x, y}, cursor, axes: [times(), axis({label: "share of verdicts", labelSize: 22, size: 60, values: (_, all) => all.map(percent)})],
      series: [when_of, line("anomalous", colour("bad"), {value: share}), line("camera not healthy", colour("warn"), {value: share}),
        line("scores drift", colour("dot"), {value: share}), line("not scored", colour("soft"), {value: share})]})),
  ];
  return {between: (from, to) => { span = [from, to]; }, drawn};
}

/** Add the section to `root`; gives back what ends it. `choose(hours)` is called for another span. */
export function course(root, camera, workplace, choose, hours) {
  if (!workplace.records) {
    root.append(el("p", {class: "soft small"}, "Hours and days are shown where records are kept (--records DIR, or [records] in line.toml)."));
    return () => {};
  }
  const span = SPANS.some(([of]) => String(of) === hours) ? hours : "8";
  const scores = el("div", {class: "chart", id: "course"}), shares = el("div", {class: "chart", id: "shares"});
  const state = el("p", {class: "soft small", id: "course-note"}), reasons = el("div", {id: "reasons"});
  const buttons = SPANS.map(([of, text]) => el("button", {type: "button", "aria-pressed": String(of) === span ? "true" : "false",
    onclick: () => choose(of)}, text));
  root.append(el("section", {class: "card wide"}, el("div", {class: "head"}, el("h2", {}, "Health and drift"), ...buttons,
    el("a", {href: `#/history?camera=${encodeURIComponent(camera)}`}, "History"),
    el("a", {href: `#/threshold?camera=${encodeURIComponent(camera)}`}, "Threshold")), state, scores, shares, reasons));
  const {between, drawn} = charts(scores, shares);
  const stop = every(PERIOD_MS, async () => {
    try {
      const found = await ask("/api/course", {camera, hours: span, steps: STEPS});
      const {steps} = found, of = key => steps.map(step => step[key]);
      const part = key => steps.map(step => step[key] / step.verdicts);
      state.textContent = found.verdicts
        ? `${plural(found.verdicts, "verdict")}${found.every > 1 ? `; every ${count(found.every)}th was looked at` : ""}`
        : "Nothing was recorded in this time.";
      if (steps.length) {
        between(found.start, found.start + STEPS * found.step_s);
        const x = of("start").map(start => start + found.step_s / 2);
        drawn[0].set([x, of("p50"), of("p95"), of("threshold")]);
        drawn[1].set([x, part("anomalous"), part("health"), part("drift"), part("failed")]);
      }
      for (const at of [scores, shares]) at.hidden = !steps.length;
      reasons.replaceChildren(...(found.reasons.length ? [el("h2", {}, "What was said of the camera"),
        el("ul", {}, ...found.reasons.map(each => el("li", {}, `${visible(each.text)} `,
          el("span", {class: "soft"}, `${plural(each.verdicts, "verdict")}, latest ${when(each.latest)}`))))] : []));
    } catch (error) { state.replaceChildren(notice(sentence(error), "warn")); }
  });
  return () => { stop(); drawn.forEach(each => each.end()); };
}
