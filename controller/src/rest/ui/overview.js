// The first view: what needs attention, what is at work, the clusters by environment, the agents.

import { all, get } from "./api.js";
import { badge, bytes, el, fill, link, section, table, to, took, when } from "./dom.js";

const AT_WORK = ["running", "cancelling", "queued"];
/** Operations that have ended which are shown. */
const LATELY = 10;

/** What the first view shows, asked for at once. */
export async function load(who) {
  const administers = who.grants.some((grant) => grant.role === "admin" && grant.environments === "*");
  const [environments, lately, working, summary, agents, alarms] = await Promise.all([
    get("v1/environments"),
    get("v1/operations?limit=50"),
    Promise.all(AT_WORK.map((state) => all(`v1/operations?state=${state}`))),
    administers ? get("v1/admin/summary") : null,
    administers ? all("v1/admin/agents") : null,
    administers ? all("v1/admin/alarms?state=open") : null,
  ]);
  const lists = await Promise.all(environments.items.map(async (environment) => {
    const clusters = await all(`v1/environments/${encodeURIComponent(environment.name)}/clusters`);
    return { environment, clusters };
  }));
  const operations = working.flatMap((list) => list.items);
  const ended = lately.items.filter((operation) => !AT_WORK.includes(operation.state)).slice(0, LATELY);
  return { administers, lists, operations, ended, summary, agents, alarms };
}

/** Draws it. */
export function draw(place, told) {
  fill(place,
    el("h1", {}, "Overview"),
    tiles(told),
    section("Needs attention", attention(told),
      told.administers ? "Nothing. All is well." : "This is told to administrators."),
    section("At work", told.operations.length ? el("ul", { class: "rows" }, told.operations.map(atWork)) : null,
      "No operation is at work."),
    el("section", {}, el("h2", {}, "Clusters"), told.lists.length ? told.lists.map(ofEnvironment)
      : el("p", { class: "dim" }, "There is no environment that you may see.")),
    told.agents ? section("Agents", told.agents.items.length ? agentTable(told.agents.items) : null,
      "No agent is enrolled.") : null,
    section("Lately", told.ended.length ? operationTable(told.ended) : null, "No operation has ended yet."));
}

function tiles({ summary, lists, operations }) {
  const clusters = lists.reduce((sum, { clusters }) => sum + clusters.items.length, 0);
  const queued = operations.filter((operation) => operation.state === "queued").length;
  const tile = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el("dl", { class: "tiles" },
    tile("Clusters", summary ? summary.counts.clusters : clusters),
    tile("Running", summary ? summary.counts.operations_running : operations.length - queued),
    tile("Waiting", summary ? summary.counts.operations_waiting : queued),
    summary ? tile("Agents online", `${summary.counts.agents_online} / ${summary.counts.agents}`) : null,
    summary ? tile("Open alarms", summary.counts.alarms) : null);
}

/** Where a subject of a finding is shown here. */
function subject({ kind, name, link: at }) {
  const parts = (at || "").split("/");
  const shown = { agent: () => to("agents", parts[4]), operation: () => to("operations", parts[3]),
    cluster: () => to("clusters", parts[3], parts[5]) }[kind];
  const text = `${kind} ${name}`;
  return shown ? link(shown(), text) : el("span", {}, text);
}

function attention({ summary }) {
  if (!summary || summary.items.length === 0) return null;
  return [
    summary.gathering ? el("p", { class: "dim" }, "The controller was started a moment ago: agents may not be back yet.") : null,
    el("ul", { class: "rows", id: "attention" }, summary.items.map((item) => el("li", { class: item.severity },
      el("div", { class: "line" }, badge(item.severity), subject(item.subject), when(item.since)),
      el("p", {}, item.message),
      el("p", { class: "dim" }, item.remedy)))),
    summary.complete ? null : el("p", { class: "dim" }, "There is more than was looked at."),
  ];
}

/** How far an operation is, as words and a bar. */
export function progress(operation) {
  const { progress: at, state, waiting_for: waiting } = operation;
  return [
    at ? el("p", {}, `Step ${at.step} of ${at.steps}: ${at.phase}`) : null,
    at && state !== "queued" ? el("progress", { value: at.step, max: at.steps, "aria-label": "Progress" }) : null,
    waiting ? el("p", {}, "Waits: ", waiting) : null,
  ];
}

function atWork(operation) {
  const { id, kind, environment, cluster, state, started_at: started } = operation;
  return el("li", { "data-operation": id },
    el("div", { class: "line" }, badge(state), link(to("operations", id), `${kind} ${environment}/${cluster}`),
      started ? el("span", { class: "dim" }, `for ${took(started)}`) : null, when(operation.created_at)),
    el("div", { class: "progress" }, progress(operation)));
}

/** A live word of a running operation, into what is drawn already. */
export function moved(place, id, told) {
  const row = [...place.querySelectorAll("li[data-operation]")].find((row) => row.dataset.operation === id);
  if (!row) return;
  const at = told.phase ? { phase: told.phase, step: told.step, steps: told.steps } : null;
  fill(row.querySelector(".progress"), ...progress({ progress: at, state: told.state, waiting_for: told.waiting_for }));
}

function ofEnvironment({ environment, clusters }) {
  const rows = clusters.items.map((cluster) => [
    link(to("clusters", cluster.environment, cluster.name), cluster.name),
    badge(cluster.phase), cluster.kubernetes_version, cluster.nodes, cluster.generation ?? "–",
    when(cluster.updated_at) || "–",
  ]);
  return [
    el("h3", {}, environment.name, ` (${environment.clusters})`),
    rows.length ? table(`Clusters in ${environment.name}`,
      ["Cluster", "Phase", "Kubernetes", "Nodes", "Generation", "Changed"], rows)
      : el("p", { class: "dim" }, "No clusters."),
    clusters.complete ? null : el("p", { class: "dim" }, "There are more; use cratekube cluster list."),
  ];
}

/** The words for how an agent is. */
export function agentState(agent) {
  return [badge(agent.online ? "online" : "offline"), agent.state === "active" ? null : [" ", badge(agent.state)],
    agent.banned ? [" ", badge("banned")] : null];
}

/** How a volume is, in a line. */
export function volume(volume) {
  const wrong = [volume.fault, ...(volume.scrub ? volume.scrub.faults : [])].filter(Boolean);
  return el("div", {}, el("span", { class: "mono" }, volume.path), ` ${bytes(volume.free_bytes)} of ${bytes(volume.total_bytes)} free `,
    volume.below_reserve ? badge("below reserve") : null, wrong.length ? [badge("failed"), ` ${wrong.join("; ")}`] : null);
}

function agentTable(agents) {
  return table("Agents", ["Agent", "State", "Version", "At work", "Volumes", "Seen"], agents.map((agent) => [
    link(to("agents", agent.id), agent.name), agentState(agent), agent.version || "–",
    `${agent.running.length} of ${agent.slots ?? "?"}`, agent.volumes.length ? agent.volumes.map(volume) : "–",
    when(agent.last_seen_at) || "never",
  ]));
}

/** Operations as a table. */
export function operationTable(operations) {
  return table("Operations", ["Operation", "Outcome", "Took", "By", "When"], operations.map((operation) => [
    link(to("operations", operation.id), `${operation.kind} ${operation.environment}/${operation.cluster}`),
    [badge(operation.state), operation.failure ? ` ${operation.failure.class}` : null],
    operation.started_at ? took(operation.started_at, operation.ended_at) : "–",
    operation.requested_by, when(operation.ended_at || operation.created_at),
  ]));
}
