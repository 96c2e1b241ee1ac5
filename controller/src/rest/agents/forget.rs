//! `POST /v1/admin/agents/{id}/forget`: an agent that will not return.

use axum::Json;
use axum::extract::{Path, Request, State};
use cratekube_common::domain::id::AgentId;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::body;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::reason;
use crate::rest::state::RestState;

/// Why an agent will not return, and whether its runs are given up with it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct Forget {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Give up its runs too, whose ends are not known. Make sure that no `rke` of it is at work.
    #[schema(default = false)]
    force: bool,
}

/// What was given up with an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct GivenUp {
    /// Operations that failed by it.
    operations: Vec<String>,
}

/// Forget an agent that will not return: it may connect no more, and its volumes are free for whoever
/// mounts them. Refused while it is connected, and while it holds runs unless forced.
#[utoipa::path(post, path = "/v1/admin/agents/{id}/forget", tag = "admin", request_body = Forget,
    params(("id" = String, Path, description = "Agent")),
    responses((status = 200, description = "It is forgotten", body = GivenUp)))]
pub(in crate::rest) async fn forget(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<GivenUp>, Problem> {
    caller.require_admin()?;
    let id: AgentId = id.parse().map_err(|_| Problem::not_found())?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, state.limits.body_bytes).await?;
    let (reason, force) = read(&document)?;
    let operations = state.service.forget_agent(caller.actor(), id, reason, force).await?;
    let operations = operations.iter().map(|operation| format!("/v1/operations/{operation}")).collect();
    Ok(Json(GivenUp { operations }))
}

fn read(document: &Value) -> Result<(String, bool), Problem> {
    body::fields(document, |object| {
        let reason = reason::read(object);
        let force = object.field("force").boolean().unwrap_or(false);
        reason.map(|reason| (reason, force))
    })
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    #[tokio::test]
    async fn an_agent_with_runs_is_forgotten_only_by_force_and_what_it_ran_is_given_up() {
        let world = World::new().await;
        let id = world.create("web").await;
        let work = world.work().await;
        let admin = world.token(Role::Admin, "*");
        let path = format!("/v1/admin/agents/{}/forget", work.bastion.agent);
        let send = |body: serde_json::Value| world.ask_as(&admin, Method::POST, &path).json(&body).send();
        assert_eq!(send(json!({"force": true})).await.pointers(), ["/reason"]);
        let held = send(json!({"reason": "terminated"})).await;
        assert_eq!((held.status, held.problem().as_str()), (StatusCode::CONFLICT, "agent-holds-runs"));
        let done = send(json!({"reason": "terminated", "force": true})).await;
        assert_eq!(done.json(), json!({"operations": [format!("/v1/operations/{id}")]}));
        let operation = world.get(&format!("/v1/operations/{id}")).await.json();
        assert_eq!((&operation["state"], &operation["attempts"][1]["state"]), (&"failed".into(), &"fenced".into()));
        let agent = world.ask_as(&admin, Method::GET, &format!("/v1/admin/agents/{}", work.bastion.agent)).send().await;
        assert_eq!(agent.json()["state"], "revoked");
        assert_eq!(world.audit().await.pop().unwrap().detail, "forced: terminated");
    }

    #[tokio::test]
    async fn only_admins_forget() {
        let world = World::new().await;
        let bastion = world.house.bastion("bastion-1", "*").await;
        let path = format!("/v1/admin/agents/{}/forget", bastion.agent);
        let answer = world.ask(Method::POST, &path).json(&json!({"reason": "x"})).send().await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}
