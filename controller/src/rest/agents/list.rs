//! `GET /v1/admin/agents`: agents, by name.

use axum::Json;
use axum::extract::{OriginalUri, State};

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::{AgentView, Listing};
use crate::service::summary::AgentFilter;

/// Agents, by name.
#[utoipa::path(get, path = "/v1/admin/agents", tag = "admin", 
    params(crate::rest::openapi::PageQuery,
        ("state" = Option<String>, Query, description = "`active`, `cordoned`, `draining`, `quarantined` or `revoked`"),
        ("online" = Option<bool>, Query, description = "Connected, or not"),
        ("volume" = Option<String>, Query, description = "That serve this volume")),
    responses((status = 200, description = "A page", body = Listing<AgentView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<AgentView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor", "state", "online", "volume"])?;
    let online = params.text("online").map(|_| params.flag("online")).transpose()?;
    let filter = AgentFilter { state: params.parse("state")?, online, volume: params.parse("volume")? };
    let given = ["state", "online", "volume"].map(|key| params.text(key).unwrap_or_default());
    let scope = Scope { route: "agents", filters: &given, subject: &caller.actor().subject };
    let found = state.service.agents_matching(filter, params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(AgentView::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};

    use crate::rest::testing::World;

    #[tokio::test]
    async fn agents_are_listed_by_name_in_pages_and_shown_with_what_they_run() {
        let world = World::new().await;
        world.create("web").await;
        let work = world.work().await;
        world.house.bastion("another", "*").await;
        let get = async |path: &str| {
            let admin = world.token(Role::Admin, "*");
            world.ask_as(&admin, Method::GET, &format!("/v1/admin/agents{path}")).send().await
        };
        let first = get("?limit=1").await.json();
        assert_eq!((&first["items"][0]["name"], &first["items"][0]["online"]), (&"another".into(), &false.into()));
        let second = get(&format!("?limit=1&cursor={}", first["next"].as_str().unwrap())).await.json();
        let one = get(&format!("/{}", work.bastion.agent)).await.json();
        assert_eq!(second["items"][0], one);
        assert_eq!(one["running"], serde_json::json!([work.task.attempt.to_string()]));
        world.presence.leave(work.bastion.agent, world.house.id());
        assert_eq!(get("/nope").await.status, StatusCode::NOT_FOUND);
    }
}
