// All cameras at a glance.
import {alarm, ask, count, el, every, notice, number, percent, plural, sentence, visible} from "./base.js";

const PERIOD_MS = 500, IDLE_S = 3;
const MANY = 12, MOST = 30;  // with more, tiles are small, or so small that 64 fit on one screen

/** What is wrong with a camera, in words; "" when nothing is. */
export function trouble(state) {
  const line = state.latest || {}, reasons = [];
  if (state.lost) reasons.push(state.lost);
  const late_s = Math.max(IDLE_S, 3 * (state.usual_s ?? 0));  // a camera may be slow, or triggered
  if (state.idle_s != null && state.idle_s > late_s) reasons.push(`no new frame for ${state.idle_s.toFixed(0)} s`);
  return reasons.concat(line.health || [], line.drift || []).join("; ");
}

/** [text, class] of the verdict of a line. */
export const verdict = line => line?.is_anomalous == null ? ["waiting", "soft"]
  : line.is_anomalous ? ["ANOMALOUS", "bad"] : ["good", "good"];

function tile(name) {
  const at = {};
  for (const key of ["verdict", "trouble", "score", "rate", "rejects"]) at[key] = el("span");
  at.trouble.className = "warn clamp";
  at.picture = el("img", {alt: `the latest frame of ${visible(name)}`});
  at.seen = false;
  at.link = el("a", {class: "tile", href: `#/camera/${encodeURIComponent(name)}`}, at.picture,
    el("div", {class: "top"}, el("span", {class: "name"}, visible(name)), at.verdict),
    el("div", {}, at.trouble), el("div", {class: "soft more"}, at.score),
    el("div", {class: "soft more"}, at.rate), el("div", {class: "soft more"}, at.rejects));
  return at;
}

function fill(at, name, state) {
  const line = state.latest, [word, kind] = verdict(line);
  at.verdict.textContent = word;
  at.verdict.className = `verdict ${kind}`;
  at.trouble.textContent = at.trouble.title = visible(trouble(state));
  at.link.classList.toggle("troubled", at.trouble.textContent !== "");
  at.score.textContent = `score ${number(line.score)}, threshold ${number(state.threshold)}`;
  at.rate.textContent = `${number(state.rate_hz, 3)} frames/s, p99 ${number(state.p99_ms, 3)} ms, ` +
    `${count(state.dropped)} dropped`;
  at.rejects.textContent = `${count(state.anomalous)} of ${count(state.verdicts)} anomalous` +
    (state.recent ? `, ${percent(state.recent_anomalous / state.recent)} of the last ${state.recent}` : "");
  at.draw = () => picture(at, name, line);
  at.draw();
}

function picture(at, name, line) {
  const shown = `${line.frame} ${line.captured}`;
  // One picture of a camera at a time: an address that changes before it came would never show one.
  if (at.seen && at.picture.complete && line.frame != null && shown !== at.shown) {
    at.shown = shown;
    at.picture.src = `/frame.jpg?camera=${encodeURIComponent(name)}&frame=${line.frame}&small=1`;
  }
}

/** How many cameras there are, and what is to be looked at, in a line. */
function overview(states) {
  const bad = states.filter(state => state.latest?.is_anomalous).length;
  const troubled = states.filter(trouble).length;
  return `${plural(states.length, "camera")}: ${count(bad)} anomalous, ${count(troubled)} with a warning`;
}

export function show(root) {
  const tiles = el("div", {class: "tiles", id: "cameras"}), cards = new Map();
  const empty = notice("No camera is configured.");
  const line = el("p", {class: "overview", id: "overview", hidden: true});
  empty.hidden = true;
  root.append(line, tiles, empty);
  const watcher = new IntersectionObserver(changes => {  // who cannot be seen needs no picture
    for (const {target, isIntersecting} of changes) {
      for (const at of cards.values()) if (at.link === target) { at.seen = isIntersecting; at.draw(); }
    }
  }, {rootMargin: "200px"});
  const stop = every(PERIOD_MS, async () => {
    try {
      const states = await ask("/cameras");
      for (const [name, at] of cards) {
        if (!states.some(state => state.name === name)) { at.link.remove(); cards.delete(name); }
      }
      for (const state of states) {
        if (!cards.has(state.name)) {
          cards.set(state.name, tile(state.name));
          tiles.append(cards.get(state.name).link);
          watcher.observe(cards.get(state.name).link);
        }
        fill(cards.get(state.name), state.name, state);
      }
      empty.hidden = states.length > 0;
      const many = states.length > MANY;
      tiles.classList.toggle("many", many);
      tiles.classList.toggle("most", states.length > MOST);
      line.hidden = !many;
      line.textContent = overview(states);
      alarm("");
    } catch (error) { alarm(sentence(error)); }
  });
  return () => { stop(); watcher.disconnect(); };
}
