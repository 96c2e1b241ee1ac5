//! `GET /v1/admin/quarantine`: what agents sent for runs that were not theirs any more.

use axum::Json;
use axum::extract::{OriginalUri, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::caller::Caller;
use super::cursor::{self, Scope};
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::Listing;
use crate::store::Evidence;

/// Something that was refused and is kept as evidence; nothing of it was applied.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Evidence)]
pub(super) struct EvidenceView {
    number: u64,
    /// `report` or `output`.
    kind: String,
    /// The attempt that it named.
    attempt: String,
    /// The agent that it came from.
    agent: String,
    /// The fence that it carried.
    fence: u64,
    received_at: String,
    /// The report; of output its place, size and SHA-256.
    #[schema(value_type = Object)]
    document: Value,
}

impl From<&Evidence> for EvidenceView {
    fn from(evidence: &Evidence) -> Self {
        Self {
            number: evidence.number,
            kind: evidence.kind.clone(),
            attempt: evidence.attempt.clone(),
            agent: evidence.agent.to_string(),
            fence: evidence.fence.0,
            received_at: evidence.at.to_string(),
            document: evidence.document.clone(),
        }
    }
}

/// Reports and output of superseded runs, newest first: kept as evidence, never applied.
#[utoipa::path(get, path = "/v1/admin/quarantine", tag = "admin", params(super::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<EvidenceView>)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<EvidenceView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "quarantine", filters: &[], subject: &caller.actor().subject };
    let found = state.service.evidence(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(EvidenceView::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::run::{RunOutcome, RunReport};
    use http::{Method, StatusCode};

    use crate::plan::settle::RetryPolicy;
    use crate::rest::testing::World;
    use crate::store::conformance::house::older;

    #[tokio::test]
    async fn hostile_row_43_what_a_stale_agent_sent_is_shown_to_admins_and_was_not_applied() {
        let world = World::new().await;
        world.create("web").await;
        let work = world.work().await;
        let (task, now, agent) = (&work.task, world.house.now(), work.bastion.agent);
        let report = RunReport { fence: older(task.fence), ..world.house.report(task, RunOutcome::Succeeded) };
        world.house.store.settle_attempt(agent, report, RetryPolicy::NEVER, now).await.unwrap();
        let data = Bytes::from_static(b"forged");
        world.house.store.append_output(agent, task.attempt, older(task.fence), 0, data, now).await.unwrap();
        let admin = world.token(Role::Admin, "*");
        let first = world.ask_as(&admin, Method::GET, "/v1/admin/quarantine?limit=1").send().await.json();
        assert_eq!(
            (&first["items"][0]["kind"], &first["items"][0]["document"]["bytes"]),
            (&"output".into(), &6.into())
        );
        let rest = format!("/v1/admin/quarantine?cursor={}", first["next"].as_str().unwrap());
        let second = world.ask_as(&admin, Method::GET, &rest).send().await.json();
        assert_eq!(second["items"][0]["kind"], "report");
        assert_eq!(second["items"][0]["agent"], agent.to_string());
        assert_eq!(world.get(&format!("/v1/operations/{}", task.operation)).await.json()["state"], "running");
        assert_eq!(world.get("/v1/admin/quarantine").await.status, StatusCode::FORBIDDEN);
    }
}
