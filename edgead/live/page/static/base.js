// What every view needs: elements, numbers, times, and questions to the server.

/** Make an element: `el("button", {class: "primary", onclick: f}, "text", child)`. */
export function el(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value == null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child != null && child !== false));
  return made;
}

/** Text whose control characters, and marks that turn it around, are written out: names may hold any. */
export const visible = text => String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
  c => "\\u{" + c.codePointAt(0).toString(16) + "}");
export const number = (value, digits = 4) =>
  value == null ? "–" : Number(Number(value).toPrecision(digits)).toString();
export const percent = share => share == null ? "–" : number(100 * share, 3) + " %";
export const count = value => value == null ? "–" : Number(value).toLocaleString("en");
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** A moment as this browser's clock has it: `30 Nov 15:04:05`, the year when it is another. */
export function when(iso) {
  if (!iso) return "–";
  const date = new Date(iso), now = new Date();
  const year = date.getFullYear() === now.getFullYear() ? {} : {year: "numeric"};
  return date.toLocaleString("en-GB", {day: "numeric", month: "short", ...year,
    hour: "2-digit", minute: "2-digit", second: "2-digit"});
}

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(sentence, status) { super(sentence); this.status = status; }
}

async function answered(answer) {
  if (answer.status === 401) { location.reload(); throw new Refused("the token is missing", 401); }
  const text = await answer.text();
  let found;
  try { found = JSON.parse(text); } catch { found = {error: text.trim()}; }
  if (!answer.ok) throw new Refused(found.error || `answer ${answer.status}`, answer.status);
  return found;
}

/** The address of `path` with those of `query` that are set. */
export function address(path, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value != null && value !== "");
  return set.length ? `${path}?${new URLSearchParams(set)}` : path;
}

/** The JSON at `path`; throws Refused, or TypeError without a connection. */
export const ask = async (path, query) => answered(await fetch(address(path, query)));

/** Send JSON. */
export const post = async (path, body, query) => answered(await fetch(address(path, query), {
  method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
}));

/** In words what went wrong. */
export const sentence = error => error instanceof Refused ? error.message
  : error instanceof TypeError && /fetch/i.test(error.message) ? "no connection to edgead watch"
  : String(error.message || error);

/** Do `work` now and every `period` ms after it is done, until the function that comes back is called. */
export function every(period, work) {
  let timer = 0, over = false;
  const turn = async () => {
    if (!document.hidden) await work();
    if (!over) timer = setTimeout(turn, period);
  };
  turn();
  return () => { over = true; clearTimeout(timer); };
}

/** What waits, is empty or failed, where the content would be. */
export const notice = (text, kind = "soft", ...more) => el("div", {class: `notice ${kind}`}, el("p", {}, text), ...more);

/** Keys and values, one line each. */
export const facts = pairs => el("dl", {}, ...pairs.flatMap(([name, value]) =>
  [el("dt", {}, name), el("dd", {}, value == null ? "–" : value)]));

/** A choice of `options`, each a text or [value, text]. */
export function choice(label, options, value, onchange) {
  const select = el("select", {onchange: event => onchange(event.target.value)},
    ...options.map(each => {
      const [of, text] = Array.isArray(each) ? each : [each, each];
      return el("option", {value: String(of), selected: String(of) === String(value ?? "")}, text);
    }));
  return el("label", {class: "field"}, label, select);
}

/** Set the alarm beside the navigation; "" takes it away. */
export function alarm(text) {
  const at = document.getElementById("alarm");
  if (at.textContent !== text) at.textContent = text;
}
