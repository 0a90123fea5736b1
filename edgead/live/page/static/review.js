// Review: one frame after the other is marked good or defective, by hand or by key.
import {ask, choice, count, el, notice, plural, post, sentence, visible} from "./base.js";
import {noRecords, picture, said} from "./history.js";
import {marks, viewer, why} from "./record.js";

const KEY = "edgead.reviewer";
let done = [];  // of this session, for undo: {id, label}, the last last

const told = () => dispatchEvent(new Event("reviewed"));
const stored = {
  get: () => { try { return localStorage.getItem(KEY) || ""; } catch { return ""; } },
  set: name => { try { localStorage.setItem(KEY, name); } catch { /* a browser without storage asks again */ } },
};

/** Ask who reviews: each mark has a name. */
function nameForm(root, then) {
  const input = el("input", {type: "text", id: "reviewer", maxlength: "100", autocomplete: "name", required: true});
  root.replaceChildren(el("div", {class: "head"}, el("h1", {}, "Review")), el("form", {class: "card", onsubmit: event => {
    event.preventDefault();
    const name = input.value.trim();
    if (name) { stored.set(name); then(name); }
  }}, el("p", {}, "Each mark is kept with who made it and when. What is your name?"),
    el("div", {class: "row-of-fields"}, el("label", {class: "field"}, "Name", input),
      el("button", {class: "primary"}, "Start"))));
  input.focus();
}

class Desk {
  constructor(root, name, camera, only, again) {
    Object.assign(this, {root, name, camera, only, again, queue: [], found: null, busy: null, skipped: new Set()});
    this.status = el("p", {id: "status", role: "status", class: "soft"});
    this.line = el("div", {class: "queue-line", id: "counts"});
    this.place = el("div");
  }

  /** The next frames, without what was skipped here. */
  async fetch() {
    const limit = Math.min(20 + this.skipped.size, 500);  // as many more as will be left out here
    const {entries, counts} = await ask("/api/review/queue", {camera: this.camera, reviewer: this.name, limit});
    this.queue = entries.filter(entry => !this.skipped.has(entry.id));
    this.count(counts);
  }

  count(counts) {
    const {alarms, sample, good, defective, sample_marked: drawn} = counts;
    this.line.replaceChildren(...[el("span", {}, el("b", {}, count(alarms)), ` alarm${alarms === 1 ? "" : "s"} and `,
      el("b", {}, count(sample)), " of the sample wait"),
      el("span", {class: "soft"}, `marked: ${count(good)} good, ${count(defective)} defective; ${count(drawn)} of them from the sample`),
      good + defective > 0 && drawn === 0 && el("span", {class: "warn"},
        "So far only alarms were marked: a threshold can only be set again with marks on the sample, too.")].filter(Boolean));
  }

  async next(id = null) {
    this.found = null;
    try {
      for (;;) {
        if (id === null) {
          if (!this.queue.length) await this.fetch();
          if (!this.queue.length) { this.empty(); return; }
          id = this.queue.shift().id;
        }
        try {
          await post("/api/review/claim", {id, reviewer: this.name});
          this.found = await ask(`/api/records/${encodeURIComponent(id)}`);
          break;
        } catch (error) {
          if (error.status == null || error.status >= 500 || id === this.only) throw error;
          this.skipped.add(id);  // another took it, or it was pruned
          this.say(`${sentence(error)}. Here is the next.`, "warn");
          id = null;
        }
      }
      this.draw();
      if (this.queue.length) new Image().src = picture(this.queue[0]);
    } catch (error) { this.fail(error); }
  }

  say(text, kind = "soft", ...more) {
    this.status.className = kind;
    this.status.replaceChildren(text, ...more);
  }

  fail(error) {
    this.place.replaceChildren(notice(sentence(error), "warn",
      el("button", {type: "button", onclick: () => { this.only = null; this.next(); }}, "Go on")));
  }

  empty() {
    const learn = el("a", {href: "#/learn", class: "button", id: "to-learn"}, "Learn from what was reviewed");
    this.place.replaceChildren(notice(this.skipped.size
      ? `Nothing else waits; ${plural(this.skipped.size, "frame")} skipped.`
      : "Nothing waits for review. Alarms and a random sample of all frames come here by themselves.", "soft",
      el("button", {type: "button", id: "look", onclick: () => { this.skipped.clear(); this.next(); }}, "Look again"),
      " ", learn));
  }

  draw() {
    const {entry, line, marks: earlier} = this.found, [word, kind] = said(entry);
    this.view = viewer(this.found);
    this.note = el("textarea", {id: "note", maxlength: "2000", "aria-label": "Note", placeholder: "Note (N)"});
    const button = (label, text, key, extra) => el("button", {type: "button", class: extra, id: `mark-${label}`,
      "aria-pressed": entry.label === label ? "true" : "false", onclick: () => this.mark(label)}, text, " ", el("kbd", {}, key));
    this.place.replaceChildren(el("div", {class: "grid"}, this.view.element,
      el("div", {class: "card"},
        el("div", {class: "soft"}, visible(entry.camera), `, frame ${line.frame}`,
          el("span", {class: "tag"}, entry.is_sampled ? "sample" : "alarm")),
        el("div", {class: "choices"}, button("good", "Good", "G", "is-good"),
          button("defective", "Defective", "D", "is-bad")),
        this.note,
        el("div", {class: "row-of-fields"},
          el("button", {type: "button", id: "skip", onclick: () => this.skip()}, "Skip ", el("kbd", {}, "S")),
          el("button", {type: "button", id: "undo", disabled: !done.length, onclick: () => this.undo()}, "Undo ", el("kbd", {}, "U"))),
        el("details", {}, el("summary", {}, "What edgead said"), el("p", {class: kind}, word),
          ...why(entry, line).map(text => el("p", {class: "why"}, text))),
        earlier.length > 0 && marks(earlier),
        el("p", {class: "soft small"}, el("kbd", {}, "H"), " takes the heatmap off and on"))));
  }

  /** Do one thing at a time: a second key must not mark a frame that was not looked at. */
  async act(work) {
    if (this.busy) return;
    this.busy = work().catch(error => this.say(sentence(error), "warn"));
    await this.busy;
    this.busy = null;
  }

  mark(label) {
    const found = this.found;
    if (!found) return Promise.resolve();
    const {id, reviewed} = found.entry;
    return this.act(async () => {
      try {
        await post("/api/review/mark", {id, label, reviewer: this.name, note: this.note.value, seen: reviewed ?? null});
      } catch (error) {
        if (error.status !== 404 && error.status !== 409) throw error;
        this.say(`Not marked: ${sentence(error)}. Here is the next.`, "warn");
        this.skipped.add(id);
        await this.turn();
        return;
      }
      done.push({id, label});
      this.say(`Frame ${found.line.frame} of ${visible(found.entry.camera)} is marked ${label}.`);
      told();
      await this.turn();
    });
  }

  /** To the next frame, with the counts as they are now. */
  async turn() {
    this.only = null;
    await this.fetch();
    await this.next();
  }

  skip() {
    const found = this.found;
    if (!found) return Promise.resolve();
    return this.act(async () => {
      this.skipped.add(found.entry.id);
      await post("/api/review/skip", {id: found.entry.id, reviewer: this.name});
      this.say("Skipped; it waits for others.");
      await this.turn();
    });
  }

  async undo() {
    await this.busy;  // taken back may be what is under way
    const last = done[done.length - 1];
    if (!last) return Promise.resolve();
    return this.act(async () => {
      if (this.found) await this.let_go();
      done.pop();
      await post("/api/review/undo", {id: last.id, reviewer: this.name});
      this.say(`Taken back: it is not marked ${last.label} any more.`);
      told();
      await this.fetch();
      this.queue = this.queue.filter(entry => entry.id !== last.id);
      await this.next(last.id);
    });
  }

  async let_go() {
    const {id} = this.found.entry;
    this.found = null;
    await post("/api/review/skip", {id, reviewer: this.name}).catch(() => {});
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const does = {g: () => this.mark("good"), d: () => this.mark("defective"), s: () => this.skip(),
      u: () => this.undo(), h: () => this.view?.toggle(), n: () => this.note?.focus()}[event.key.toLowerCase()];
    if (does && !event.repeat) { event.preventDefault(); does(); }
  }
}

export async function show(root, {query, workplace, go}) {
  if (!workplace.records) { root.append(el("div", {class: "head"}, el("h1", {}, "Review")), noRecords()); return; }
  const name = stored.get();
  let desk = null, over = false;
  const key = event => desk?.key(event);
  const start = async who => {
    const camera = query.get("camera") || "", only = query.get("id");
    desk = new Desk(root, who, camera, only);
    root.replaceChildren(el("div", {class: "head"}, el("h1", {}, "Review"),
      el("span", {class: "soft"}, visible(who), " ", el("button", {type: "button", id: "other", onclick: () => {
        desk = null; nameForm(root, start); }}, "Someone else"))),
      workplace.cameras.length > 1 && choice("Camera", [["", "all"], ...workplace.cameras], camera,
        value => go("review", {camera: value})) || "",
      desk.line, desk.status, desk.place);
    try {
      await desk.fetch();
      await desk.next(only);
    } catch (error) { desk.fail(error); }
    if (over && desk.found) desk.let_go();
  };
  document.addEventListener("keydown", key);
  if (name) await start(name); else nameForm(root, start);
  return () => {
    over = true;
    document.removeEventListener("keydown", key);
    if (desk?.found) desk.let_go();
  };
}
