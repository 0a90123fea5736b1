// History: recorded verdicts that match the filters, a page at a time.
import {ask, choice, count, el, notice, number, sentence, visible, when} from "./base.js";

const PER_PAGE = 60;
const REVIEWED = [["", "all"], ["no", "not reviewed"], ["yes", "reviewed"], ["good", "marked good"],
  ["defective", "marked defective"], ["released", "released"]];

/** Filters of the page as the server wants them. */
function asked(query) {
  const found = Object.fromEntries(query);
  const {reviewed} = found;
  if (reviewed && !["yes", "no"].includes(reviewed)) { delete found.reviewed; found.label = reviewed; }
  return found;
}

/** What became of a verdict, in words: [text, class]. */
export function said(entry) {
  if (entry.is_anomalous == null) return ["not scored", "warn"];
  return entry.is_anomalous ? ["ANOMALOUS", "bad"] : ["good", "good"];
}

/** Who marked it, in words. */
export function reviewed(entry) {
  if (entry.label) return `${entry.label} by ${visible(entry.reviewer)}`;
  return entry.claimed_by ? `${visible(entry.claimed_by)} looks at it` : "";
}

export const picture = (entry, kind = "heatmap") =>
  `/api/records/${encodeURIComponent(entry.id)}/${kind}.jpg`;

function row(entry) {
  const [word, kind] = said(entry);
  const image = entry.has_frame
    ? el("img", {src: picture(entry) + "?small=1", alt: "", loading: "lazy"})
    : el("span", {class: "none soft small"}, entry.pruned ? "pruned" : "no frame");
  return el("a", {class: "row", href: `#/record/${encodeURIComponent(entry.id)}`}, image,
    el("span", {class: `verdict ${kind}`}, word),
    el("span", {}, `score ${number(entry.score)}`), el("span", {class: "soft"}, visible(entry.camera)),
    el("span", {class: "soft"}, when(entry.captured)),
    el("span", {}, reviewed(entry), entry.is_sampled && el("span", {class: "tag"}, "sample")));
}

/** A local time of an input as the server wants it, and back. */
const toServer = text => text ? new Date(text).toISOString() : "";
function toInput(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  if (isNaN(date)) return "";
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

function filters(query, workplace, go) {
  const set = (key, value) => {
    const next = Object.fromEntries(query);
    if (value === "") delete next[key]; else next[key] = value;
    go("history", next);
  };
  const of = key => query.get(key) ?? "";
  const input = (label, key, type, convert = text => text, shown = of(key)) => el("label", {class: "field"}, label,
    el("input", {type, step: type === "number" ? "any" : "1", value: shown, "data-key": key,
      onchange: event => set(key, convert(event.target.value))}));
  return el("div", {class: "card row-of-fields", role: "search"},
    choice("Camera", [["", "all"], ...workplace.cameras], of("camera"), value => set("camera", value)),
    choice("Verdict", [["", "all"], "good", "anomalous"], of("verdict"), value => set("verdict", value)),
    choice("Review", REVIEWED, of("reviewed"), value => set("reviewed", value)),
    choice("Chosen by chance", [["", "all"], ["yes", "yes"], ["no", "no"]], of("sampled"), value => set("sampled", value)),
    input("From", "since", "datetime-local", toServer, toInput(of("since"))),
    input("Until", "until", "datetime-local", toServer, toInput(of("until"))),
    input("Score from", "low", "number"), input("to", "high", "number"),
    el("button", {type: "button", onclick: () => go("history"), disabled: !query.size}, "Clear"));
}

export async function show(root, {query, workplace, go}) {
  root.append(el("div", {class: "head"}, el("h1", {}, "History")));
  if (!workplace.records) { root.append(noRecords()); return; }
  const list = el("div", {class: "rows card wide", id: "rows"}), more = el("div", {class: "more"});
  root.append(filters(query, workplace, go), list, more);
  let total = 0;
  async function load(before) {
    const {entries, before: next} = await ask("/api/records", {...asked(query), limit: PER_PAGE, before});
    list.append(...entries.map(row));
    total += entries.length;
    more.replaceChildren(...(next == null
      ? [el("p", {class: "soft"}, `${count(total)} shown, no more match`)]
      : [el("p", {class: "soft"}, `${count(total)} shown`), el("button", {type: "button", id: "more",
        onclick: () => load(next).catch(failed)}, "Show more")]));
  }
  const failed = error => more.replaceChildren(notice(sentence(error), "warn"));
  try { await load(); } catch (error) { list.hidden = true; failed(error); return; }
  if (!total) list.replaceChildren(notice(query.size ? "No recorded verdict matches." : "Nothing is recorded yet."));
}

/** What to do where no records are kept. */
export const noRecords = () => notice("No records are kept, so there is nothing to look back at.", "soft",
  el("p", {}, "Start ", el("code", {}, "edgead watch SOURCE --bundle NAME.edgead --records DIR --serve 8080"),
    ", or give line.toml a table ", el("code", {}, "[records]"), "."));
