// Asks the API: with a token made of an API key, or the token that was entered; follows its streams and
// goes on where they broke. It sends GET only, but for exchanging the key.

const STORED = "cratekube.credential";
const ROOT = new URL("..", document.baseURI);
/** Pages of one list that are asked for at most. */
const PAGES = 10;
const PATIENCE_MS = 30000;
/** A stream says something every 15 seconds; one that is silent for this long is broken. */
const SILENCE_MS = 45000;

/** An answer that was no good; `message` is for people. */
export class Refusal extends Error {
  constructor(status, problem) {
    const faults = (problem.errors || []).map((fault) => fault.detail).filter(Boolean).join("; ");
    super([problem.title || `The controller answered ${status}`, problem.detail, faults].filter(Boolean).join(": "));
    this.status = status;
  }
}

let token = null;
let exchanging = null;

export function remembered() {
  return sessionStorage.getItem(STORED);
}

export function remember(credential) {
  forget();
  sessionStorage.setItem(STORED, credential);
}

export function forget() {
  token = null;
  sessionStorage.removeItem(STORED);
}

function isKey(credential) {
  return credential.startsWith("ckk1_");
}

async function problemOf(response) {
  try {
    return new Refusal(response.status, await response.json());
  } catch {
    return new Refusal(response.status, {});
  }
}

async function exchange(key) {
  const response = await fetch(new URL("v1/auth/token", ROOT), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ api_key: key }),
    credentials: "omit", cache: "no-store",
  });
  if (!response.ok) throw await problemOf(response);
  return (await response.json()).token;
}

async function bearer() {
  const credential = remembered();
  if (!credential) throw new Refusal(401, { title: "Nobody is signed in" });
  if (!isKey(credential)) return credential;
  if (token) return token;
  // Many requests begin at once: one exchange is enough for all.
  exchanging ||= exchange(credential).finally(() => { exchanging = null; });
  token = await exchanging;
  return token;
}

async function ask(path, headers, signal) {
  for (let again = true; ; again = false) {
    const used = await bearer();
    const response = await fetch(new URL(path.replace(/^\//, ""), ROOT), {
      headers: { Authorization: `Bearer ${used}`, ...headers }, credentials: "omit", cache: "no-store", signal,
    });
    if (response.ok) return response;
    // A token that has ended is replaced once when there is a key to make another one of.
    if (response.status === 401 && again && isKey(remembered() || "")) {
      if (token === used) token = null;
      continue;
    }
    throw await problemOf(response);
  }
}

/** One document. */
export async function get(path) {
  return (await ask(path, { Accept: "application/json" }, AbortSignal.timeout(PATIENCE_MS))).json();
}

/** A list to its end; `complete` is false when there is more than anybody would look through. */
export async function all(path) {
  const items = [];
  let cursor = null;
  for (let page = 0; page < PAGES; page += 1) {
    const query = `limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    const part = await get(`${path}${path.includes("?") ? "&" : "?"}${query}`);
    items.push(...part.items);
    cursor = part.next;
    if (!cursor) return { items, complete: true };
  }
  return { items, complete: false };
}

/** Reads server-sent events off a body. */
async function read(body, on) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const watch = setTimeout(() => reader.cancel().catch(() => {}), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(watch));
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", id: null, data: null };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
      }
      if (event.data !== null) on(event);
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/**
 * Follows a stream until `signal` or an event `end`. `from` is where it begins: the id after which to go on.
 * `on.event(event)`, `on.state(connected)`, `on.refused(refusal)` when coming again cannot help.
 */
export async function follow(path, from, on, signal) {
  let [last, wait] = [from, 500];
  while (!signal.aborted) {
    let over = false;
    try {
      const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": String(last) }) };
      const response = await ask(path, headers, signal);
      on.state?.(true);
      await read(response.body, (event) => {
        wait = 500;
        if (event.id !== null) last = event.id;
        over ||= event.name === "end";
        on.event(event);
      });
    } catch (fault) {
      if (signal.aborted) return;
      if (fault instanceof Refusal && fault.status < 500 && fault.status !== 429) {
        on.refused?.(fault);
        return;
      }
    }
    if (over || signal.aborted) return;
    on.state?.(false);
    // Not all at once when a controller comes back.
    await pause(wait * (0.5 + Math.random()), signal);
    wait = Math.min(wait * 2, 15000);
  }
}
