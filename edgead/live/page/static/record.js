// One recorded verdict: frame, heatmap, regions, why, and what people said of it.
import {ask, el, facts, notice, number, percent, sentence, visible, when} from "./base.js";
import {picture, said} from "./history.js";

const SVG = "http://www.w3.org/2000/svg";

/** Why the verdict is what it is, in sentences. */
export function why(entry, line) {
  if (line.error) return [`The frame could not be scored: ${visible(line.error)}`];
  const found = [`Its score ${number(entry.score)} is ${entry.is_anomalous ? "above" : "not above"} the threshold ` +
    `${number(entry.threshold)} (${number(entry.score / entry.threshold, 3)} times as high).`,
    `Of good frames, ${percent(entry.p_value)} score at least as high.`];
  const regions = line.regions || [];
  if (regions.length) {
    const [first] = regions, all = line.region_count ?? regions.length;
    found.push(`${all} region${all === 1 ? "" : "s"} above the threshold of the map; the highest is ` +
      `${first.width} × ${first.height} pixels at x ${first.x}, y ${first.y}.`);
  }
  if (entry.is_sampled) found.push("Chance chose this frame for review, whatever its verdict.");
  return found.concat((line.health || []).map(text => `Camera: ${visible(text)}.`),
    (line.drift ? [`Drift: ${visible(line.drift)}.`] : []));
}

/** The boxes of the regions over a picture of (height, width). */
function boxes(line, size) {
  const regions = line.regions || [];
  if (!size || !regions.length) return null;
  const [height, width] = size, drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawn.setAttribute("class", "boxes");
  drawn.setAttribute("aria-hidden", "true");
  for (const region of regions) {
    const box = document.createElementNS(SVG, "rect");
    for (const key of ["x", "y", "width", "height"]) box.setAttribute(key, region[key]);
    drawn.append(box);
  }
  return drawn;
}

/** Frame or heatmap of a verdict, with the regions; keys: f and h. */
export function viewer({entry, line, frame_size: size}) {
  const image = el("img", {src: picture(entry), alt: "the frame under its heatmap", id: "picture"});
  const regions = boxes(line, size), stage = el("div", {class: "stage"}, image, regions);
  const heat = el("input", {type: "checkbox", id: "heat", checked: true, onchange: () => set(heat.checked)});
  const outlines = el("input", {type: "checkbox", id: "outlines", checked: true,
    onchange: () => regions?.toggleAttribute("hidden", !outlines.checked)});
  const set = on => {
    heat.checked = on;
    image.src = picture(entry, on ? "heatmap" : "frame");
    image.alt = on ? "the frame under its heatmap" : "the frame";
  };
  return {
    toggle: () => set(!heat.checked),
    element: el("div", {class: "card"}, stage, el("div", {class: "row-of-fields"},
      el("label", {class: "check"}, heat, "heatmap"),
      regions && el("label", {class: "check"}, outlines, "regions"),
      el("a", {class: "small", href: `/api/records/${encodeURIComponent(entry.id)}/frame.png`,
        download: `${entry.id}.png`}, "frame as PNG"))),
  };
}

/** All that was said of a frame. */
export const marks = found => el("ul", {class: "marks"}, ...found.map(mark => el("li", {class: mark.withdrawn ? "soft" : ""},
  `${when(mark.reviewed)}: ${mark.label} by ${visible(mark.reviewer)}`, mark.note ? `, “${visible(mark.note)}”` : "",
  mark.withdrawn ? ` (taken back ${when(mark.withdrawn)})` : "")));

export async function show(root, {parts}) {
  let found;
  try {
    found = await ask(`/api/records/${encodeURIComponent(parts[0] ?? "")}`);
  } catch (error) {
    root.append(notice(sentence(error), "warn", el("p", {}, el("a", {href: "#/history"}, "All of the history"))));
    return;
  }
  const {entry, line, marks: said_of_it} = found, [word, kind] = said(entry);
  const shown = entry.has_frame ? viewer(found).element
    : el("div", {class: "card"}, notice(entry.pruned
      ? `The frame was pruned ${when(entry.pruned)}, when the records reached their limit.`
      : entry.is_anomalous ? "No frame is saved: too many waited to be saved at that moment, or it is being saved now."
      : "No frame was saved: it was neither an alarm nor chosen by chance."));
  const times = Object.entries(line.timings_ms || {}).map(([stage, ms]) => [stage.replace("_", " "), `${number(ms, 3)} ms`]);
  root.append(
    el("div", {class: "head"}, el("h1", {}, visible(entry.camera)), el("span", {class: "soft"},
      `frame ${line.frame}, ${when(entry.captured)}`, line.file ? `, ${visible(line.file)}` : "")),
    el("div", {class: "grid"}, shown,
      el("div", {class: "card"}, el("div", {class: `big ${kind}`}, word),
        ...why(entry, line).map(text => el("p", {class: "why"}, text)),
        facts([["score", number(entry.score)], ["threshold", number(entry.threshold)],
          ["p-value", number(entry.p_value, 3)], ["latency", line.latency_ms == null ? "–" : `${number(line.latency_ms, 3)} ms`], ...times]),
        el("h2", {}, "Reviews"),
        said_of_it.length ? marks(said_of_it) : el("p", {class: "soft"}, "Nobody has reviewed it."),
        entry.has_frame && el("a", {class: "button", href: `#/review?id=${encodeURIComponent(entry.id)}`},
          entry.label ? "Review it again" : "Review it"),
        el("p", {class: "soft small id"}, entry.id))));
}
