// Who is signed in, which view is shown, and when it is drawn again: at every event that happens.

import { Refusal, follow, forget, get, remember, remembered } from "./api.js";
import { el, fill, tick } from "./dom.js";
import * as details from "./details.js";
import * as overview from "./overview.js";

const VIEWS = { clusters: [details.cluster, 2], agents: [details.agent, 1], operations: [details.operation, 1] };
/** Events that come together are one reason to draw again. */
const GATHER_MS = 250;
/** What no event tells of (load, free space) is asked for again after this. */
const REFRESH_MS = 20000;
/** Running operations that are followed live in the overview. */
const FOLLOWED = 3;

const at = (id) => document.getElementById(id);
let who = null;
/** The view that is shown: ended by its signal when another one is. */
let current = { end: new AbortController(), load: async () => {}, live: new Map() };
let events = new AbortController();

function trouble(text) {
  at("trouble").hidden = !text;
  at("trouble").textContent = text || "";
}

function connected(on) {
  at("live").dataset.state = on ? "on" : "off";
  at("live").textContent = on ? "live" : "not connected; trying again";
}

/** Shows what went wrong; a credential that counts no more ends the session. */
function failed(fault) {
  if (fault instanceof Refusal && fault.status === 401) return leave(fault.message);
  trouble(fault instanceof Refusal ? fault.message : "The controller cannot be reached. What is shown may be old.");
}

function leave(why) {
  forget();
  who = null;
  events.abort();
  current.end.abort();
  fill(at("view"));
  at("who").textContent = at("live").textContent = "";
  delete at("live").dataset.state;
  at("leave").hidden = true;
  at("enter").hidden = false;
  trouble(why);
  at("credential").focus();
}

async function enter() {
  trouble("");
  try {
    who = await get("v1/auth/whoami");
  } catch (fault) {
    at("enter").hidden = false;
    return failed(fault);
  }
  at("enter").hidden = true;
  at("leave").hidden = false;
  at("who").textContent = who.subject;
  events = new AbortController();
  let first = true;
  follow("v1/events?follow=true", null, {
    event: () => again(),
    state: (on) => {
      connected(on);
      // Without an event before the break there is no place to go on from: everything is asked for again.
      if (on && !first) again();
      first = false;
    },
    refused: failed,
  }, events.signal);
  show();
}

/**
 * Asks for the view again, once for all reasons of a moment; the less often the longer an answer takes, and not
 * while nobody looks.
 */
let waiting = null;
let took = 0;
function again() {
  if (waiting || !who || document.hidden) return;
  waiting = setTimeout(() => { waiting = null; current.load(); }, Math.max(GATHER_MS, 3 * took));
}

function chosen() {
  const [, kind, ...parts] = location.hash.split("/");
  try {
    const decoded = parts.map(decodeURIComponent);
    const [view, length] = VIEWS[kind] || [];
    if (view && decoded.length === length) return { view, parts: decoded };
  } catch {
    // An address that is none leads to the overview.
  }
  return { view: null, parts: [] };
}

function show() {
  current.end.abort();
  const { view, parts } = chosen();
  const [end, place] = [new AbortController(), at("view")];
  const mine = { end, live: new Map(), busy: false, more: false, watched: false };
  mine.load = async () => {
    if (mine.busy) { mine.more = true; return; }
    mine.busy = true;
    const began = performance.now();
    try {
      const told = view ? await view.load(parts) : await overview.load(who);
      if (end.signal.aborted) return;
      trouble("");
      (view || overview).draw(place, told);
      if (view?.watch && !mine.watched) {
        mine.watched = true;
        view.watch(place, parts, told, again, end.signal);
      }
      if (!view) live(mine, place, told.operations);
    } catch (fault) {
      if (!end.signal.aborted) failed(fault);
    } finally {
      took = performance.now() - began;
      mine.busy = false;
      if (mine.more && !end.signal.aborted) { mine.more = false; again(); }
    }
  };
  current = mine;
  fill(place, el("p", { class: "dim" }, "Looking …"));
  mine.load();
}

/** Follows what runs, so that its phases move as they do. */
function live(mine, place, operations) {
  const running = operations.filter((operation) => operation.state !== "queued").slice(0, FOLLOWED);
  for (const { id, output_bytes: from } of running) {
    if (mine.live.has(id)) continue;
    mine.live.set(id, true);
    follow(`v1/operations/${encodeURIComponent(id)}/output?follow=true`, from, {
      event({ name, data }) {
        if (name === "progress") overview.moved(place, id, data);
        if (name === "end") mine.live.delete(id);
      },
    }, mine.end.signal);
  }
}

at("enter").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const credential = at("credential").value.trim();
  at("credential").value = "";
  if (!credential) return;
  remember(credential);
  enter();
});
at("leave").addEventListener("click", () => leave(""));
document.querySelector(".skip").addEventListener("click", (clicked) => {
  clicked.preventDefault();
  at("main").focus();
});
window.addEventListener("hashchange", () => {
  if (!who) return;
  show();
  at("main").focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
setInterval(() => { if (!document.hidden) { tick(); } }, 1000 * 5);
setInterval(() => { if (!document.hidden) again(); }, REFRESH_MS);

if (remembered()) enter();
else at("enter").hidden = false;
