//! `/v1/admin/orphan-scans`: objects in the cloud whose clusters are gone.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{OriginalUri, Path, Request, State};
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::id::{AgentId, OrphanScanId};
use cratekube_common::domain::removal::Cents;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::intake::{Field, Notes};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body;
use super::caller::Caller;
use super::cursor::{self, Scope};
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::{Listing, shown_document};
use crate::store::{OrphanScan, OrphanScanResult};

/// Where to look.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WantedOrphanScan)]
pub(super) struct WantedScan {
    /// Look at the cloud of the agent with this id only.
    agent: Option<String>,
}

const DAY_MS: i64 = 24 * 3_600_000;

/// A look for orphans, without what it found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrphanScanSummary)]
pub(super) struct Summary {
    /// Its id.
    id: String,
    /// Who asked; none when it was due.
    requested_by: Option<String>,
    /// The agent whose cloud was looked at; none for all that were connected.
    agent: Option<String>,
    /// When it began.
    begun_at: String,
    /// When it ended; none while it is at work.
    ended_at: Option<String>,
    /// Agents whose cloud was looked at, and could be.
    agents: usize,
    /// Agents whose cloud, or some of it, could not be looked at: what is there is not known.
    unverified: usize,
    /// What all that was found costs in a month, in cents of a US dollar, by the agents' price tables. An object
    /// that several agents see is counted once.
    monthly_cents: Cents,
}

/// A look for orphans, with what it found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrphanScan)]
pub(super) struct Found {
    #[serde(flatten)]
    summary: Summary,
    /// What each agent found.
    results: Vec<FoundByAgent>,
}

/// What an agent found in its cloud.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrphansOfAgent)]
pub(super) struct FoundByAgent {
    /// The agent.
    agent: String,
    /// Its name.
    name: String,
    /// Objects by cluster, the dearest group first. A group's `reason` is `removed` (of a cluster that was
    /// removed), `unknown` (of one that is not known here), `nameless` (of some cluster) or `last_snapshots`
    /// (taken by a removal on request); its `age_days` is that of its oldest object. `unverified` says why
    /// the cloud, or some of it, could not be looked at.
    #[schema(value_type = Option<Object>)]
    findings: Option<Value>,
    /// Why the agent found nothing out.
    fault: Option<String>,
}

impl From<&OrphanScan> for Summary {
    fn from(scan: &OrphanScan) -> Self {
        let blind =
            |result: &&OrphanScanResult| result.findings.as_ref().is_none_or(|found| found.unverified.is_some());
        let unverified = scan.results.iter().filter(blind).count();
        Self {
            id: scan.id.to_string(),
            requested_by: scan.requested_by.clone(),
            agent: scan.agent.map(|agent| agent.to_string()),
            begun_at: scan.begun_at.to_string(),
            ended_at: scan.ended_at.map(|at| at.to_string()),
            agents: scan.results.len() - unverified,
            unverified,
            monthly_cents: monthly_cents(scan),
        }
    }
}

/// Agents in one account see the same objects.
fn monthly_cents(scan: &OrphanScan) -> Cents {
    let found: Vec<_> = scan.results.iter().filter_map(|result| result.findings.as_ref()).collect();
    if let [one] = found.as_slice() {
        return one.monthly_cents;
    }
    let entries = found.iter().flat_map(|found| &found.groups).flat_map(|group| &group.objects);
    let each: BTreeMap<_, Cents> = entries.map(|entry| ((&entry.region, entry.key()), entry.monthly_cents)).collect();
    each.values().fold(0, |sum, cents| sum.saturating_add(*cents))
}

impl From<&OrphanScan> for Found {
    fn from(scan: &OrphanScan) -> Self {
        let result = |result: &OrphanScanResult| FoundByAgent {
            agent: result.agent.to_string(),
            name: result.name.clone(),
            findings: result.findings.as_ref().map(|found| shown_document(aged(json!(found), found.at))),
            fault: result.fault.as_deref().map(super::views::shown),
        };
        Self { summary: scan.into(), results: scan.results.iter().map(result).collect() }
    }
}

/// Findings with the age of every group and object, in whole days.
fn aged(mut findings: Value, at: Timestamp) -> Value {
    let age = |born: &Value| {
        let born: Timestamp = serde_json::from_value(born.clone()).ok()?;
        Some((at.as_millis() - born.as_millis()).max(0) / DAY_MS)
    };
    for group in findings["groups"].as_array_mut().into_iter().flatten() {
        group["age_days"] = json!(age(&group["oldest"]));
        for object in group["objects"].as_array_mut().into_iter().flatten() {
            object["age_days"] = json!(age(&object["created_at"]));
        }
    }
    findings
}

/// Look for objects in the cloud that were made for clusters which are not there any more: the clouds of all agents
/// that are connected, or of one. Nothing is deleted by it. Watch the scan that `Location` names.
#[utoipa::path(post, path = "/v1/admin/orphan-scans", tag = "admin",
    request_body = Option<WantedScan>,
    responses((status = 202, description = "It began", body = Found, headers(("Location" = String, description = "The scan")))))]
pub(super) async fn begin(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    caller.require_admin()?;
    Params::read(request.uri(), &[])?;
    let (parts, sent) = request.into_parts();
    let document = body::optional_json(&parts.headers, sent, state.limits.body_bytes).await?;
    let scan = state.service.scan_orphans(caller.actor(), wanted(document.as_ref())?).await?;
    let mut response = (StatusCode::ACCEPTED, Json(Found::from(&scan))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/admin/orphan-scans/{}", scan.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn wanted(document: Option<&Value>) -> Result<Option<AgentId>, Problem> {
    let notes = Notes::default();
    let mut agent = None;
    if let Some(mut object) = document.and_then(|document| Field::root(document, &notes).object_or_empty()) {
        agent = object.field("agent").parse();
        object.finish();
    }
    let faults = notes.into_faults();
    if faults.is_acceptable() { Ok(agent) } else { Err(Problem::validation(faults.errors)) }
}

/// Looks for orphans, newest first: the last thirty.
#[utoipa::path(get, path = "/v1/admin/orphan-scans", tag = "admin", params(super::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<Summary>)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<Summary>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "orphan-scans", filters: &[], subject: &caller.actor().subject };
    let found = state.service.orphan_scans(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(Summary::from).collect(), next }))
}

/// One look for orphans, with what it found.
#[utoipa::path(get, path = "/v1/admin/orphan-scans/{id}", tag = "admin",
    params(("id" = String, Path, description = "Scan")),
    responses((status = 200, description = "The scan", body = Found)))]
pub(super) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Found>, Problem> {
    caller.require_admin()?;
    Params::read(&uri, &[])?;
    let id: OrphanScanId = id.parse().map_err(|_| Problem::not_found())?;
    Ok(Json(Found::from(&state.service.orphan_scan(id).await?)))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::query::QueryKind;
    use cratekube_common::domain::secret::Secret;
    use http::Method;

    use super::*;
    use crate::rest::testing::{Answer, World};

    const SCANS: &str = "/v1/admin/orphan-scans";

    async fn ask(world: &World, method: Method, path: &str) -> Answer {
        world.ask_as(&world.token(Role::Admin, "*"), method, path).send().await
    }

    async fn one(world: &World, agent: AgentId) -> Answer {
        let ask = world.ask_as(&world.token(Role::Admin, "*"), Method::POST, SCANS);
        ask.json(&json!({"agent": agent})).send().await
    }

    /// The scan when it has ended.
    async fn ended(world: &World, path: &str) -> Value {
        loop {
            let scan = ask(world, Method::GET, path).await.json();
            if !scan["ended_at"].is_null() {
                return scan;
            }
            tokio::task::yield_now().await;
        }
    }

    fn findings() -> String {
        let volume = json!({"kind": "volume", "id": "vol-1", "region": "r", "fate": "kept", "monthly_cents": 80,
            "created_at": "2026-11-01T00:00:00Z"});
        let group = json!({"name": "gone", "reason": "unknown", "count": 1, "monthly_cents": 80,
            "oldest": "2026-11-01T00:00:00Z", "objects": [volume]});
        json!({"region": "r", "at": "2026-11-25T12:00:00Z", "prices": "list", "monthly_cents": 80, "groups": [group]})
            .to_string()
    }

    #[tokio::test]
    async fn a_scan_asks_every_agent_by_the_names_of_clusters_and_is_shown_with_ages_and_costs() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let mut agent = world.connect(built.bastion, vec![QueryKind::OrphanScan]).await;
        let old = world.house.bastion("bastion-9", "*").await;
        let _too_old = world.connect(old, Vec::new()).await;
        let begun = ask(&world, Method::POST, SCANS).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text());
        let question = agent.asked().await;
        assert!(question.about.is_none());
        let living = question.input["living"].to_string();
        let id = world.get("/v1/environments/prod/clusters/web").await.json()["id"].to_string();
        assert!(living.contains("\"web\"") && living.contains(&id), "{living}");
        let second = ask(&world, Method::POST, SCANS).await;
        assert_eq!(
            (second.problem().as_str(), &second.json()["scan"]),
            ("orphan-scan-at-work", &json!(begun.header("location")))
        );
        agent.answer(&question, Ok(Secret::new(findings())));
        let scan = ended(&world, begun.header("location")).await;
        assert_eq!((&scan["agents"], &scan["unverified"], &scan["monthly_cents"]), (&json!(1), &json!(1), &json!(80)));
        let group = &scan["results"][0]["findings"]["groups"][0];
        assert_eq!((&group["age_days"], &group["objects"][0]["age_days"]), (&json!(24), &json!(24)));
        assert!(scan["results"][1]["fault"].as_str().unwrap().contains("upgrade it"), "{scan}");
        let last = ask(&world, Method::GET, "/v1/admin/orphans").await.json();
        assert_eq!(last["cloud"]["id"], scan["id"], "the last scan is shown with the other orphans");
        assert_eq!(ask(&world, Method::GET, SCANS).await.json()["items"][0]["id"], scan["id"]);
        let audit = world.audit().await.into_iter().find(|entry| entry.action == "orphans.scan").unwrap();
        assert_eq!(audit.object, "all agents");
    }

    #[tokio::test]
    async fn a_scan_of_one_agent_that_is_away_ends_and_says_so_and_a_dead_controllers_scan_blocks_none() {
        let world = World::new().await;
        let away = world.house.bastion("bastion-1", "*").await;
        let begun = one(&world, away.agent).await;
        let scan = ended(&world, begun.header("location")).await;
        assert!(scan["results"][0]["fault"].as_str().unwrap().contains("is not connected"), "{scan}");
        let unknown = one(&world, AgentId(uuid::Uuid::nil())).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        let dead = crate::store::BeginOrphanScan {
            id: world.house.id(),
            requested_by: None,
            agent: None,
            dead_before: Timestamp::from_millis(0),
            audit: None,
            now: Timestamp::from_millis(1),
        };
        world.house.store.begin_orphan_scan(dead).await.unwrap();
        assert_eq!(ask(&world, Method::POST, SCANS).await.status, StatusCode::ACCEPTED);
    }
}
