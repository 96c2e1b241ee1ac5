// Builds what is seen. Text becomes text nodes and nothing else: no string is ever read as HTML, and the
// page's policy (trusted types) forbids the browser to.

/** An element: `el("p", {class: "dim"}, "text", child, …)`. Nothing becomes nothing. */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return made;
}

/** Puts new content into a place; who was on one of its links stays there. */
export function fill(place, ...children) {
  const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  place.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused) {
    const again = [...place.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
    if (again) again.focus({ preventScroll: true });
  }
}

const GOOD = new Set(["ready", "succeeded", "online", "ok", "healthy", "good"]);
const BAD = new Set(["failed", "degraded", "critical", "offline", "quarantined", "revoked", "unhealthy", "unknown"]);
const WARN = new Set(["warning", "cancelling", "removing", "cordoned", "draining", "not good", "below reserve", "stale"]);

/** A state as a word in a colour. */
export function badge(word) {
  const tone = GOOD.has(word) ? "good" : BAD.has(word) ? "bad" : WARN.has(word) ? "warn" : "";
  return el("span", { class: `badge ${tone}` }, word);
}

/** An address within this page. */
export function to(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export function link(href, ...children) {
  return el("a", { href }, ...children);
}

const SPANS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function relative(at) {
  const seconds = Math.round((Date.parse(at) - Date.now()) / 1000);
  if (Math.abs(seconds) < 5) return "just now";
  const [size, unit] = SPANS.find(([size]) => Math.abs(seconds) >= size);
  return RELATIVE.format(Math.trunc(seconds / size), unit);
}

/** A time as people say it; the exact one when pointed at. */
export function when(at) {
  if (!at || Number.isNaN(Date.parse(at))) return null;
  return el("time", { datetime: at, title: new Date(at).toLocaleString() }, relative(at));
}

/** Keeps the times that are shown true. */
export function tick() {
  for (const time of document.querySelectorAll("time[datetime]")) time.textContent = relative(time.dateTime);
}

/** How long something took. */
export function took(from, until) {
  const seconds = Math.max(0, Math.round(((until ? Date.parse(until) : Date.now()) - Date.parse(from)) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

export function bytes(count) {
  if (count === null || count === undefined) return "?";
  let [size, unit] = [count, 0];
  while (size >= 1024 && unit < 5) [size, unit] = [size / 1024, unit + 1];
  return `${unit && size < 10 ? size.toFixed(1) : Math.round(size)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

/** Facts under names; those that are not known are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, known.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** A table; `rows` are lists as long as `heads`. A column without anything in it is left out. */
export function table(caption, heads, rows) {
  const used = heads.map((_, i) => i).filter((i) => rows.some((row) => row[i] !== "" && row[i] !== null));
  const cell = (value, i) => el("td", { "data-label": heads[i] }, el("span", {}, value));
  return el("div", { class: "scroll" }, el("table", { "aria-label": caption },
    el("thead", {}, el("tr", {}, used.map((i) => el("th", { scope: "col" }, heads[i])))),
    el("tbody", {}, rows.map((row) => el("tr", {}, used.map((i) => cell(row[i], i)))))));
}

/** A part of the page under a heading; its words when there is nothing in it. */
export function section(title, content, nothing) {
  const empty = content === null || (Array.isArray(content) && content.length === 0);
  return el("section", {}, el("h2", {}, title), empty ? el("p", { class: "dim" }, nothing) : content);
}
