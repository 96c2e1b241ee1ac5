//! `GET /v1/admin/agents/{id}/history`: what happened to an agent, and what it ran.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::id::AgentId;

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::events::EventView;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::Listing;

/// What happened to an agent, newest first: enrolled, connected, lost, renewed, drained, volumes that it
/// took, and every run it had. As far back as events are kept (30 days); who asked for a change, and why,
/// is in the audit log under its id.
#[utoipa::path(get, path = "/v1/admin/agents/{id}/history", tag = "admin",
    params(("id" = String, Path, description = "Agent"), crate::rest::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<EventView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<EventView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let agent: AgentId = id.parse().map_err(|_| Problem::not_found())?;
    let scope = Scope { route: "agent-history", filters: &[&id], subject: &caller.actor().subject };
    let found = state.service.agent_history(agent, params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(EventView::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    #[tokio::test]
    async fn an_agents_history_tells_what_happened_to_it_and_what_it_ran() {
        let world = World::new().await;
        let work = world.ready("web").await;
        let admin = world.token(Role::Admin, "*");
        let path = format!("/v1/admin/agents/{}", work.bastion.agent);
        world.ask_as(&admin, Method::POST, &format!("{path}/drain")).json(&json!({"reason": "x"})).send().await;
        let all = world.ask_as(&admin, Method::GET, &format!("{path}/history")).send().await.json();
        let kinds: Vec<&str> = all["items"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.first(), Some(&"agent.draining"));
        assert_eq!(kinds.last(), Some(&"agent.enrolled"));
        for kind in ["agent.connected", "volume.served", "attempt.leased", "attempt.started", "attempt.exited"] {
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        let first = world.ask_as(&admin, Method::GET, &format!("{path}/history?limit=2")).send().await.json();
        let next = first["next"].as_str().unwrap();
        let second = world.ask_as(&admin, Method::GET, &format!("{path}/history?limit=2&cursor={next}")).send().await;
        assert_eq!(second.json()["items"][0], all["items"][2]);
        let none = "/v1/admin/agents/00000000-0000-0000-0000-000000000000/history";
        assert_eq!(world.ask_as(&admin, Method::GET, none).send().await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn agents_are_found_by_what_they_may_do_whether_they_are_here_and_what_they_serve() {
        let world = World::new().await;
        let work = world.ready("web").await;
        world.house.bastion("another", "*").await;
        let admin = world.token(Role::Admin, "*");
        let names = async |query: &str| {
            let path = format!("/v1/admin/agents?{query}");
            let found = world.ask_as(&admin, Method::GET, &path).send().await.json();
            let items = found["items"].as_array().cloned().unwrap_or_default();
            items.iter().map(|agent| agent["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("online=false").await, ["another", "bastion-1"]);
        assert!(names("online=true").await.is_empty() && names("state=draining").await.is_empty());
        assert_eq!(names("state=active&limit=1").await, ["another"]);
        assert_eq!(names(&format!("volume={}", work.bastion.volume)).await, ["bastion-1"]);
        for odd in ["state=awake", "online=maybe", "volume=x", "name=x"] {
            let path = format!("/v1/admin/agents?{odd}");
            assert_eq!(world.ask_as(&admin, Method::GET, &path).send().await.problem(), "invalid-parameter", "{odd}");
        }
    }
}
