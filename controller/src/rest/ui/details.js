// Views of one thing: a cluster, an agent, an operation with its output as it is written.

import { all, follow, get } from "./api.js";
import { badge, bytes, el, facts, fill, link, section, table, to, took, when } from "./dom.js";
import { agentState, operationTable, progress, volume } from "./overview.js";

/** Characters of output that are kept on the page. */
const KEPT = 2 * 1024 * 1024;
/** Bytes before the end of a long output where following begins. */
const TAIL = 512 * 1024;

const overview = () => el("p", { class: "crumb" }, link("#/", "Overview"));
const missing = (fault) => { if (fault.status === 404) return null; throw fault; };

/** Why something failed, and what to do. */
function failure(of) {
  return of ? el("div", { class: "card failure" },
    el("p", {}, badge("failed"), ` ${of.class}: ${of.message}`),
    of.line ? el("pre", {}, of.line) : null,
    el("p", { class: "remedy" }, "What to do: ", of.remedy),
    el("p", { class: "dim" }, of.retryable ? "Doing the same again can help." : "Doing the same again will not help by itself.")) : null;
}

export const cluster = {
  async load([environment, name]) {
    const [at, query] = [`v1/environments/${encodeURIComponent(environment)}/clusters/${encodeURIComponent(name)}`,
      `environment=${encodeURIComponent(environment)}&cluster=${encodeURIComponent(name)}`];
    const [shown, generations, health, operations] = await Promise.all([
      get(at), all(`${at}/generations`), get(`${at}/health`).catch(missing), get(`v1/operations?${query}&limit=20`),
    ]);
    return { shown, generations, health, operations: operations.items };
  },
  draw(place, { shown, generations, health, operations }) {
    const checks = health ? health.checks.map((check) => [check.name, badge(check.outcome), check.detail]) : [];
    const sealed = generations.items.map((g) => [String(g.number), badge(g.good ? "good" : "not good"), when(g.sealed_at),
      link(to("operations", g.operation), "operation"), bytes(g.files.reduce((sum, file) => sum + file.bytes, 0)), g.fault || ""]);
    fill(place, overview(),
      el("div", { class: "title" }, el("h1", {}, `${shown.environment}/${shown.name}`), badge(shown.phase)),
      el("div", { class: "card" }, facts([
        ["Kubernetes", shown.kubernetes_version], ["Nodes", shown.nodes], ["Revision", shown.revision],
        ["Certificates end", when(shown.certificates_expire_at)], ["Changed", when(shown.updated_at)],
        ["Protected", shown.deletion_protection ? "from removal" : "no"],
        ["At work", shown.operation ? link(to("operations", shown.operation), "operation") : null],
      ])),
      failure(shown.failure),
      shown.conditions.length ? section("To know", el("ul", { class: "rows" },
        shown.conditions.map((c) => el("li", {}, el("div", { class: "line" }, badge(c.kind)), el("p", {}, c.message))))) : null,
      section("Nodes", nodeTable(shown.spec.nodes || []), "None."),
      section(health ? `Health: ${health.status}${health.stale ? ", checked too long ago" : ""}` : "Health",
        checks.length ? table("Checks", ["Check", "Outcome", "Found"], checks) : null, "It was never checked."),
      section("Generations of its state", sealed.length
        ? table("Generations", ["Number", "State", "Sealed", "By", "Size", "Fault"], sealed) : null, "None is sealed yet."),
      section("Operations", operations.length ? operationTable(operations) : null, "None."));
  },
};

function nodeTable(nodes) {
  return nodes.length ? table("Nodes", ["Address", "Name", "Roles"],
    nodes.map((node) => [node.address, node.hostname || "–", (node.roles || []).join(", ")])) : null;
}

export const agent = {
  async load([id]) {
    const at = `v1/admin/agents/${encodeURIComponent(id)}`;
    const [shown, history] = await Promise.all([get(at), get(`${at}/history?limit=50`)]);
    return { shown, history: history.items };
  },
  draw(place, { shown, history }) {
    const rke = shown.rke ? `${shown.rke.version}${shown.rke.rehearsal ? " (a rehearsal: it builds nothing)" : ""}` : null;
    const happened = history.map((event) => [when(event.at), event.kind,
      event.operation ? link(to("operations", event.operation), "operation") : "", event.cluster || ""]);
    fill(place, overview(),
      el("div", { class: "title" }, el("h1", {}, shown.name), agentState(shown)),
      el("div", { class: "card" }, facts([
        ["Host", shown.hostname], ["Address", shown.address], ["Version", shown.version], ["rke", rke],
        ["Environments", shown.environments], ["At work", `${shown.running.length} of ${shown.slots ?? "?"}`],
        ["Load", shown.load === null ? null : shown.load.toFixed(2)], ["Clock", shown.clock_warning || (shown.clock_skew_ms === null ? null : `${shown.clock_skew_ms} ms off`)],
        ["Certificate ends", when(shown.certificate.expires_at)], ["Seen", when(shown.last_seen_at) || "never"],
      ])),
      shown.rke_warnings.map((warning) => el("p", {}, badge("warning"), ` ${warning}`)),
      section("Volumes", shown.volumes.length ? el("ul", { class: "rows" }, shown.volumes.map((v) => el("li", {}, volume(v),
        el("p", { class: "dim" }, v.scrub ? [`${v.scrub.checked} generations read again `, when(v.scrub.ended_at),
          `, ${v.scrub.faults.length} faults`] : "Not read again yet.")))) : null, "It serves none."),
      section("What happened", happened.length ? table("History", ["When", "What", "Operation", "Cluster"], happened) : null, "Nothing yet."));
  },
};

export const operation = {
  async load([id]) {
    return { shown: await get(`v1/operations/${encodeURIComponent(id)}`) };
  },
  draw(place, { shown }) {
    const { environment, cluster: name } = shown;
    const tasks = shown.tasks.map((task) => el("li", {}, el("span", { class: "dim" }, `${task.kind} `), badge(task.state)));
    const attempts = shown.attempts.map((a) => [a.task, badge(a.state), link(to("agents", a.agent), a.agent.slice(-8)),
      a.started_at ? took(a.started_at, a.ended_at) : "–", a.failure ? a.failure.message : ""]);
    let head = place.querySelector("#operation");
    if (!head || head.dataset.id !== shown.id) {
      head = el("div", { id: "operation", "data-id": shown.id });
      fill(place, head, section("Output", el("pre", { class: "output", tabindex: 0, "aria-label": "Output", id: "output" })));
    }
    fill(head, overview(),
      el("div", { class: "title" }, el("h1", {}, `${shown.kind} `, link(to("clusters", environment, name), `${environment}/${name}`)),
        badge(shown.state)),
      el("div", { class: "card" },
        facts([["Asked for by", shown.requested_by], ["Reason", shown.reason], ["When", when(shown.created_at)],
          ["Took", shown.started_at ? took(shown.started_at, shown.ended_at) : null],
          ["Repeats", shown.retry_of ? link(to("operations", shown.retry_of), "operation") : null], ["Request", shown.request_id]]),
        el("div", { class: "progress" }, shown.ended_at ? null : progress(shown)),
        tasks.length ? el("ol", { class: "steps", "aria-label": "Tasks" }, tasks) : null),
      failure(shown.failure),
      shown.warnings.map((warning) => el("p", {}, badge("warning"), ` ${warning}`)),
      attempts.length ? section("Attempts", table("Attempts", ["Task", "State", "Agent", "Took", "Fault"], attempts)) : null);
  },
  /** Its output as it is written; `changed` asks for the view to be drawn again. */
  watch(place, [id], { shown }, changed, signal) {
    const out = place.querySelector("#output");
    const from = Math.max(0, shown.output_bytes - TAIL);
    if (from > 0) out.append("… what came before is left out here: cratekube operation output shows all of it …\n");
    let state = shown.state;
    follow(`v1/operations/${encodeURIComponent(id)}/output?follow=true`, from, {
      event({ name, data }) {
        if (name === "output") write(out, data.text);
        else if (name === "progress") {
          const at = data.phase ? { phase: data.phase, step: data.step, steps: data.steps } : null;
          fill(place.querySelector("#operation .progress"), ...progress({ progress: at, state: data.state, waiting_for: data.waiting_for }));
          if (data.state !== state) { state = data.state; changed(); }
        } else if (name === "end") {
          if (!out.hasChildNodes()) out.append("It printed nothing.");
          changed();
        }
      },
    }, signal);
  },
};

/** Adds output; the view stays where the reader is, or at the end when it was there. */
function write(out, text) {
  const atEnd = out.scrollHeight - out.scrollTop - out.clientHeight < 40;
  out.append(text);
  let length = out.textContent.length;
  while (length > KEPT && out.firstChild !== out.lastChild) {
    length -= out.firstChild.textContent.length;
    out.firstChild.remove();
  }
  if (atEnd) out.scrollTop = out.scrollHeight;
}
