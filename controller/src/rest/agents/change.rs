//! `POST /v1/admin/agents/{id}/cordon`, `/uncordon`, `/drain`: whether an agent is given work.

use axum::Json;
use axum::extract::{Path, Request, State};
use cratekube_common::domain::agent::AgentEvent;
use cratekube_common::domain::id::AgentId;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::reason::{self, Reason};
use crate::rest::state::RestState;
use crate::rest::views::AgentView;

/// Give an agent nothing new; what it runs goes on.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/cordon", tag = "admin", request_body = Option<Reason>,
    params(("id" = String, Path, description = "Agent")),
    responses((status = 200, description = "The agent", body = AgentView)))]
pub(in crate::rest) async fn cordon(
    state: State<RestState>,
    caller: Caller,
    id: Path<String>,
    request: Request,
) -> Result<Json<AgentView>, Problem> {
    change(state, caller, id, request, AgentEvent::Cordon).await
}

/// Give an agent work again that was cordoned or drained.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/uncordon", tag = "admin", request_body = Option<Reason>,
    params(("id" = String, Path, description = "Agent")),
    responses((status = 200, description = "The agent", body = AgentView)))]
pub(in crate::rest) async fn uncordon(
    state: State<RestState>,
    caller: Caller,
    id: Path<String>,
    request: Request,
) -> Result<Json<AgentView>, Problem> {
    change(state, caller, id, request, AgentEvent::Uncordon).await
}

/// Give an agent nothing new because it is to go. It is `drained` once it holds no run.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/drain", tag = "admin", request_body = Option<Reason>,
    params(("id" = String, Path, description = "Agent")),
    responses((status = 200, description = "The agent", body = AgentView)))]
pub(in crate::rest) async fn drain(
    state: State<RestState>,
    caller: Caller,
    id: Path<String>,
    request: Request,
) -> Result<Json<AgentView>, Problem> {
    change(state, caller, id, request, AgentEvent::Drain).await
}

async fn change(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
    event: AgentEvent,
) -> Result<Json<AgentView>, Problem> {
    caller.require_admin()?;
    let id: AgentId = id.parse().map_err(|_| Problem::not_found())?;
    let reason = reason::if_said(&state, request).await?;
    let agent = state.service.change_agent(caller.actor(), id, event, reason).await?;
    Ok(Json(AgentView::from(&agent)))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    #[tokio::test]
    async fn a_cordoned_agent_is_given_nothing_and_a_drained_one_says_when_it_is_empty() {
        let world = World::new().await;
        world.create("web").await;
        let work = world.work().await;
        world.create("db").await;
        let (admin, id) = (world.token(Role::Admin, "*"), work.bastion.agent);
        let send = |what: &str| world.ask_as(&admin, Method::POST, &format!("/v1/admin/agents/{id}/{what}"));
        let cordoned = send("cordon").json(&json!({"reason": "maintenance"})).send().await;
        assert_eq!((cordoned.status, &cordoned.json()["state"]), (StatusCode::OK, &"cordoned".into()));
        assert_eq!(world.audit().await.pop().unwrap().detail, "maintenance");
        assert!(world.house.lease(work.bastion, 4).await.is_empty());
        let draining = send("drain").send().await.json();
        assert_eq!((&draining["state"], &draining["drained"]), (&"draining".into(), &false.into()));
        assert_eq!(send("cordon").send().await.problem(), "agent-state", "it is on its way out");
        let done = world.house.report(&work.task, cratekube_common::domain::run::RunOutcome::Succeeded);
        world.house.settle(work.bastion, done).await;
        assert!(world.house.lease(work.bastion, 4).await.is_empty(), "nor the steps after what it finished");
        let drained = world.ask_as(&admin, Method::GET, &format!("/v1/admin/agents/{id}")).send().await.json();
        assert_eq!(drained["drained"], true);
        assert_eq!(send("uncordon").send().await.json()["state"], "active");
        assert_eq!(world.house.lease(work.bastion, 4).await.len(), 2, "what waits of both clusters");
    }

    #[tokio::test]
    async fn only_admins_handle_agents_and_only_agents_that_there_are() {
        let world = World::new().await;
        let bastion = world.house.bastion("bastion-1", "*").await;
        let path = format!("/v1/admin/agents/{}/drain", bastion.agent);
        assert_eq!(world.ask(Method::POST, &path).send().await.status, StatusCode::FORBIDDEN);
        let admin = world.token(Role::Admin, "*");
        for none in ["nope", "00000000-0000-0000-0000-000000000000"] {
            let path = format!("/v1/admin/agents/{none}/cordon");
            assert_eq!(world.ask_as(&admin, Method::POST, &path).send().await.status, StatusCode::NOT_FOUND);
        }
    }
}
