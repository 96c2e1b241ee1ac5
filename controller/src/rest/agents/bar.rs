//! `POST /v1/admin/agents/{id}/revoke | ban | unban`: locks an agent out, and lets its name in again.

use axum::Json;
use axum::extract::{Path, Request, State};
use cratekube_common::domain::id::AgentId;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::reason::{self, Reason};
use crate::rest::state::RestState;
use crate::rest::views::AgentView;
use crate::store::Bar;

/// Revoke an agent: its connections end within seconds, and it has to enroll again.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/revoke", tag = "admin", request_body = Option<Reason>,
    params(("id" = String, Path, description = "Agent"), ("reason" = Option<String>, Query, description = "Why, when there is no body; one of the two is required")),
    responses((status = 200, description = "The agent, locked out", body = AgentView)))]
pub(in crate::rest) async fn revoke(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<AgentView>, Problem> {
    let (agent, reason) = read(&state, &caller, &id, request).await?;
    let now = state.service.bar_agent(caller.actor(), agent, Bar::Revoke, reason).await?;
    Ok(Json(AgentView::from(&now)))
}

/// Ban an agent: as revoking it, and neither its name nor any of its keys may enroll until it is unbanned.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/ban", tag = "admin", request_body = Option<Reason>,
    params(("id" = String, Path, description = "Agent"), ("reason" = Option<String>, Query, description = "Why, when there is no body; one of the two is required")),
    responses((status = 200, description = "The agent, locked out", body = AgentView)))]
pub(in crate::rest) async fn ban(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<AgentView>, Problem> {
    let (agent, reason) = read(&state, &caller, &id, request).await?;
    let now = state.service.bar_agent(caller.actor(), agent, Bar::Ban, reason).await?;
    Ok(Json(AgentView::from(&now)))
}

/// Let a banned agent's name and keys enroll again. The agent itself stays revoked.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/unban", tag = "admin", request_body = Option<Reason>,
    params(("id" = String, Path, description = "Agent"), ("reason" = Option<String>, Query, description = "Why, when there is no body; one of the two is required")),
    responses((status = 200, description = "The agent, no longer banned", body = AgentView)))]
pub(in crate::rest) async fn unban(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<AgentView>, Problem> {
    let (agent, reason) = read(&state, &caller, &id, request).await?;
    let now = state.service.lift_ban(caller.actor(), agent, reason).await?;
    Ok(Json(AgentView::from(&now)))
}

async fn read(state: &RestState, caller: &Caller, id: &str, request: Request) -> Result<(AgentId, String), Problem> {
    caller.require_admin()?;
    let agent: AgentId = id.parse().map_err(|_| Problem::not_found())?;
    Ok((agent, reason::said(state, request).await?.0))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::{Answer, World};

    async fn post(world: &World, path: &str, body: serde_json::Value) -> Answer {
        let path = format!("/v1/admin/agents/{path}");
        world.ask_as(&world.token(Role::Admin, "*"), Method::POST, &path).json(&body).send().await
    }

    #[tokio::test]
    async fn hostile_row_36_an_agent_is_revoked_banned_and_unbanned_each_with_a_reason_in_the_audit() {
        let world = World::new().await;
        let agent = world.house.bastion("bastion-1", "*").await.agent;
        assert_eq!(post(&world, &format!("{agent}/revoke"), json!({})).await.pointers(), ["/reason"]);
        assert!(world.audit().await.iter().all(|entry| entry.action != "agent.revoke"));
        let revoked = post(&world, &format!("{agent}/revoke"), json!({"reason": "stolen laptop"})).await;
        assert_eq!((revoked.status, &revoked.json()["state"]), (StatusCode::OK, &json!("revoked")));
        let banned = post(&world, &format!("{agent}/ban"), json!({"reason": "for good"})).await;
        assert_eq!(banned.json()["banned"], true);
        let unbanned = post(&world, &format!("{agent}/unban"), json!({"reason": "found"})).await;
        assert_eq!((&unbanned.json()["banned"], &unbanned.json()["state"]), (&json!(false), &json!("revoked")));
        let nobody = post(&world, "00000000-0000-0000-0000-000000000000/ban", json!({"reason": "x"})).await;
        assert_eq!(nobody.problem(), "not-found");
        let log: Vec<_> = world.audit().await.into_iter().map(|entry| (entry.action, entry.detail)).collect();
        for (action, reason) in [("agent.revoke", "stolen laptop"), ("agent.ban", "for good"), ("agent.unban", "found")]
        {
            assert!(log.contains(&(action.to_owned(), reason.to_owned())), "{log:?}");
        }
        assert_eq!(world.house.store.cuts(0).await.unwrap().len(), 2, "each is an order to cut its connections");
    }
}
