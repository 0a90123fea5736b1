// The shell: navigation, and which view is shown. A view is a module with
// `show(root, {parts, query, workplace, go})`, which fills `root` and may give back a function that ends it.
import {alarm, ask, el, every, notice, sentence} from "./base.js";

const VIEWS = {
  cameras: {title: "Cameras", load: () => import("./cameras.js")},
  camera: {title: "Camera", of: "cameras", load: () => import("./camera.js")},
  history: {title: "History", load: () => import("./history.js")},
  record: {title: "Verdict", of: "history", load: () => import("./record.js")},
  review: {title: "Review", load: () => import("./review.js")},
  threshold: {title: "Threshold", load: () => import("./threshold.js")},
  learn: {title: "Learn", load: () => import("./learn.js")},
};
const LOOK_MS = 5000;
const main = document.getElementById("main"), nav = document.getElementById("nav");
let end = () => {}, turn = 0, workplace = null;

/** Go to a view: `go("camera/left")`, `go("history", {camera: "left"})`. */
export function go(path, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value != null && value !== "");
  location.hash = `#/${path}${set.length ? "?" + new URLSearchParams(set) : ""}`;
}

/** What the address asks for. */
function asked() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(part => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const name = Object.hasOwn(VIEWS, parts[0]) ? parts[0] : "";
  return {name, parts: parts.slice(1), query: new URLSearchParams(query)};
}

/** The first view: the one camera, or all of them. */
const first = () => workplace.cameras.length === 1
  ? `camera/${encodeURIComponent(workplace.cameras[0])}` : "cameras";

async function show() {
  const mine = ++turn;
  end();
  end = () => {};
  alarm("");
  try {
    workplace = await ask("/api/workplace");
  } catch (error) {
    if (mine !== turn) return;
    main.replaceChildren(notice(sentence(error), "warn"));
    setTimeout(() => { if (mine === turn) show(); }, LOOK_MS);
    return;
  }
  const {name, parts, query} = asked();
  if (!name) { location.replace(`#/${first()}`); return; }
  const view = VIEWS[name];
  document.title = `${[...parts, view.title].join(" · ")} · edgead watch`;
  for (const link of nav.children) {
    const here = link.dataset.view === (view.of || name);
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const root = el("div", {class: `view ${name}`});
  main.replaceChildren(root);
  try {
    const shown = (await view.load()).show(root, {parts, query, workplace, go});
    const over = await shown;
    if (mine !== turn) over?.(); else end = over || (() => {});
  } catch (error) {
    if (mine === turn) root.replaceChildren(notice(sentence(error), "warn"));
  }
}

nav.append(...Object.entries(VIEWS).filter(([, view]) => !view.of).map(([name, view]) =>
  el("a", {href: `#/${name}`, "data-view": name}, view.title)));

/** How many frames wait for review, beside the name of the view. */
async function badge() {
  if (!workplace?.records) return;
  const link = nav.querySelector("[data-view=review]");
  try {
    const {waiting} = await ask("/api/review/counts");
    link.dataset.waiting = waiting > 999 ? "999+" : waiting || "";
  } catch { link.dataset.waiting = ""; }
}

// An address of one camera, as edgead watch had it before it had views.
const camera = new URLSearchParams(location.search).get("camera");
if (camera !== null) history.replaceState(null, "", `/#/camera/${encodeURIComponent(camera)}`);
document.querySelector(".skip").addEventListener("click", event => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", show);
addEventListener("reviewed", badge);
await show();
every(LOOK_MS, badge);
