//! `GET /v1/environments`: those that have clusters or are granted by name.

use axum::Json;
use axum::extract::{OriginalUri, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::Listing;

/// An environment as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment)]
pub(super) struct EnvironmentView {
    name: String,
    /// Clusters that are not removed.
    clusters: u64,
    /// Your strongest role in it.
    role: &'static str,
    /// Its clusters.
    link: String,
}

/// Environments that you may see.
#[utoipa::path(get, path = "/v1/environments", tag = "environments",
    responses((status = 200, description = "All of them, by name", body = Listing<EnvironmentView>)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<EnvironmentView>>, Problem> {
    Params::read(&uri, &[])?;
    let found = state.service.environments(caller.actor()).await?;
    let view = |e: crate::service::environments::VisibleEnvironment| EnvironmentView {
        link: format!("/v1/environments/{}/clusters", e.name),
        name: e.name.to_string(),
        clusters: e.clusters,
        role: e.role.as_str(),
    };
    Ok(Json(Listing { items: found.into_iter().map(view).collect(), next: None }))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::Method;
    use serde_json::json;

    use super::super::testing::{World, wanted};

    #[tokio::test]
    async fn environments_are_those_with_clusters_or_granted_by_name_and_no_others() {
        let world = World::new().await;
        world.create("web").await;
        let team = world.token(Role::Operator, "team-*");
        world.ask_as(&team, Method::POST, "/v1/environments/team-a/clusters").json(&wanted("x")).send().await;
        let seen = async |role, environments: &str| {
            let token = world.token(role, environments);
            let items = world.ask_as(&token, Method::GET, "/v1/environments").send().await.json()["items"].take();
            let line = |e: &serde_json::Value| json!([e["name"], e["clusters"], e["role"]]);
            items.as_array().unwrap().iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(seen(Role::Viewer, "*").await, [json!(["prod", 1, "viewer"]), json!(["team-a", 1, "viewer"])]);
        assert_eq!(seen(Role::Operator, "team-*").await, [json!(["team-a", 1, "operator"])]);
        assert_eq!(seen(Role::Admin, "empty").await, [json!(["empty", 0, "admin"])]);
    }
}
