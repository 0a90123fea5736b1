// Learn from reviewed frames: what there is, how far it is, before and after, swap in and go back.
import {ask, choice, count, el, every, facts, notice, percent, plural, post, sentence, visible, when} from "./base.js";

const LOOK_MS = 1000, KEY = "edgead.reviewer";
const STANDS = {
  idle: "Nothing was learnt yet.", running: "Learning …", ready: "The new bundle may be swapped in.",
  worse: "The new bundle is worse, and is not kept.", failed: "Nothing was learnt.",
  swapped: "The new bundle serves.", back: "The bundle before serves again.",
};
const ROWS = [
  ["false_rejects", "False rejects, of the random sample", "rejected"],
  ["alarms", "False alarms that stay", "rejected"],
  ["caught", "Defects caught", "caught"],
];
const LEARNT = {
  add: "false alarms to learn", sample: "good frames of the sample, to set the threshold",
  good: "good frames of the sample, held out", alarms: "false alarms, held out",
  defective: "defective frames, held out", unreviewed: "frames of the sample that nobody marked",
};

const share = one => one.interval === null ? "none held out"
  : `${count(one.rejected)} of ${count(one.images)} (${percent(one.interval[0])} to ${percent(one.interval[1])})`;

const comparison = state => el("table", {class: "learn"},
  el("caption", {}, "On frames that neither bundle has learnt from, with 95 % intervals"),
  el("thead", {}, el("tr", {}, el("th", {}), el("th", {scope: "col"}, "before"), el("th", {scope: "col"}, "after"))),
  el("tbody", {}, ROWS.map(([key, name]) => el("tr", {"data-row": key}, el("th", {scope: "row"}, name),
    el("td", {}, share(state.before[key])), el("td", {}, share(state.after[key]))))));

const numbers = counts => facts(Object.entries(LEARNT).map(([key, name]) => [name, count(counts[key])]));

const saved = () => { try { return localStorage.getItem(KEY) || ""; } catch { return ""; } };
const save = name => { try { localStorage.setItem(KEY, name); } catch { /* private window */ } };

export function show(root, {parts, workplace, go}) {
  if (!workplace.records) {
    root.append(notice("No records are kept: a table [records] in line.toml keeps frames to review and to learn from."));
    return undefined;
  }
  const camera = workplace.cameras.includes(parts[0]) ? parts[0] : workplace.cameras[0];
  const body = el("div"), said = el("p", {role: "status", class: "warn"}), refused = el("p", {role: "alert", class: "warn"});
  const by = el("input", {name: "by", value: saved(), autocomplete: "name", maxLength: 100,
    oninput: () => save(by.value)});
  const force = el("input", {type: "checkbox", name: "force"});
  const names = workplace.cameras.map(name => [name, visible(name)]);
  root.append(el("h1", {}, "Learn"),
    el("div", {class: "controls"}, workplace.cameras.length > 1
      && choice("Camera", names, camera, name => go(`learn/${encodeURIComponent(name)}`)),
    el("label", {class: "field"}, "Your name", by)), said, refused, body);

  let shown = "";
  async function act(path, more = {}) {
    refused.textContent = "";
    try {
      await post(path, {camera, by: by.value, ...more});
      await look();
    } catch (error) { refused.textContent = sentence(error); }
  }
  const button = (name, text, onclick, options = {}) =>
    el("button", {name, class: "primary", onclick, ...options}, text);

  function draw(state) {
    const busy = state.state === "running", judged = state.before && state.after;
    body.replaceChildren(
      el("p", {class: `stands ${state.state}`, "data-state": state.state}, el("strong", {}, STANDS[state.state]),
        state.why ? ` ${visible(state.why)}` : ""),
      busy ? el("p", {}, `${visible(state.step)} `, el("progress", {max: state.total || 1, value: state.done}),
        state.total ? ` ${state.done} of ${state.total}` : "") : "",
      judged ? comparison(state) : "",
      el("p", {class: "actions"},
        state.state === "ready" ? button("swap", "Swap it in", () => act("/api/learn/swap")) : "",
        state.can_go_back && !busy ? button("back", "Go back to the bundle before", () => act("/api/learn/back"), {class: ""}) : ""),
      state.by ? el("p", {class: "soft"}, `Started by ${visible(state.by)}${state.started ? ", " + when(state.started) : ""}`
        + (state.swapped_by ? `; swapped by ${visible(state.swapped_by)}` : "")) : "",
      el("h2", {}, "Learn from what was reviewed"),
      state.cameras.length > 1 ? el("p", {}, `${plural(state.cameras.length, "camera")} share ${visible(state.bundle)}: ${state.cameras.map(visible).join(", ")}`) : "",
      state.refusal ? notice(visible(state.refusal), "warn") : "",
      state.would_learn ? numbers(state.would_learn) : "",
      el("label", {}, force, " learn frames too that score far above all others"),
      el("p", {}, button("learn", "Learn from these",
        () => act("/api/learn", {force: force.checked}), {disabled: busy || !!state.refusal})));
  }

  async function look() {
    try {
      const state = await ask("/api/learn", {camera});
      const text = JSON.stringify(state);
      if (text !== shown) { shown = text; draw(state); }
      said.textContent = "";
    } catch (error) {
      if (error.status === 404) {  // of edgead watch SOURCE
        body.replaceChildren(notice("This page learns for edgead watch --config. On the command line: edgead records learn."));
      } else said.textContent = sentence(error);
    }
  }
  return every(LOOK_MS, look);
}
