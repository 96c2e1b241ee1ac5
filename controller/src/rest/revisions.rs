//! `GET /v1/environments/{env}/clusters/{name}/revisions`: the specs that a cluster had, newest first.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};

use super::caller::Caller;
use super::cursor::{self, Scope};
use super::problem::Problem;
use super::query::{self, Params};
use super::state::RestState;
use super::views::{Listing, RevisionView};

/// The specs that a cluster had, newest first; the newest is the one it has.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters/{name}/revisions", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        super::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<RevisionView>)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<RevisionView>>, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let cluster: ClusterName = query::name("name", &name)?;
    caller.require(Role::Viewer, &environment)?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let filters = [env.as_str(), name.as_str()];
    let scope = Scope { route: "revisions", filters: &filters, subject: &caller.actor().subject };
    let page = params.page(&state, &scope)?;
    let found = state.service.revisions(&environment, &cluster, page).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(RevisionView::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::{World, changed};

    #[tokio::test]
    async fn revisions_show_what_a_cluster_was_to_be_and_whether_it_was() {
        let world = World::new().await;
        let work = world.ready("web").await;
        let web = "/v1/environments/prod/clusters/web";
        let body = changed(|spec| spec["nodes"][0]["labels"] = json!({"a": "b"}));
        let put = world.ask(Method::PUT, web).header("if-match", "\"1\"").json(&body).send().await;
        assert_eq!(put.status, StatusCode::ACCEPTED, "{}", put.text());
        let path = format!("{web}/revisions");
        let first = world.get(&format!("{path}?limit=1")).await.json();
        let newest = &first["items"][0];
        assert_eq!((&newest["revision"], &newest["verified_at"]), (&2.into(), &json!(null)));
        assert_eq!(newest["operation"], put.json()["operation"]["id"]);
        assert_eq!(newest["spec"]["nodes"][0]["labels"]["a"], "b");
        assert_eq!(newest["spec"]["private_registries"][0]["password"], "***");
        let second = world.get(&format!("{path}?limit=1&cursor={}", first["next"].as_str().unwrap())).await.json();
        let oldest = &second["items"][0];
        assert_eq!((&oldest["revision"], &oldest["requested_by"]), (&1.into(), &"ann".into()));
        assert_eq!(oldest["operation"], work.task.operation.to_string());
        assert!(oldest["verified_at"].is_string() && second.get("next").is_none());
        let none = world.get("/v1/environments/prod/clusters/none/revisions").await;
        assert_eq!(none.problem(), "not-found");
    }
}
