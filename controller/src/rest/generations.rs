//! `GET /v1/environments/{env}/clusters/{name}/generations`: sealed states, newest first.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};

use super::caller::Caller;
use super::cursor::{self, Scope};
use super::problem::Problem;
use super::query::{self, Params};
use super::state::RestState;
use super::views::{GenerationView, Listing};

/// Generations of a cluster's state, newest first.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters/{name}/generations", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        super::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<GenerationView>)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<GenerationView>>, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let cluster: ClusterName = query::name("name", &name)?;
    caller.require(Role::Viewer, &environment)?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let filters = [env.as_str(), name.as_str()];
    let scope = Scope { route: "generations", filters: &filters, subject: &caller.actor().subject };
    let page = params.page(&state, &scope)?;
    let found = state.service.generations(&environment, &cluster, page).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(GenerationView::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::run::RunOutcome;
    use http::{Method, StatusCode};

    use crate::rest::testing::World;

    #[tokio::test]
    async fn generations_show_their_files_in_pages_newest_first() {
        let world = World::new().await;
        let work = world.ready("web").await;
        world.ask(Method::DELETE, "/v1/environments/prod/clusters/web?reason=story").send().await;
        let task = world.house.lease_one(work.bastion).await;
        world.house.start(work.bastion, &task).await;
        world.house.settle(work.bastion, world.house.report(&task, RunOutcome::Succeeded)).await;
        let path = "/v1/environments/prod/clusters/web/generations";
        let first = world.get(&format!("{path}?limit=1")).await.json();
        assert_eq!(first["items"][0]["number"], 2, "{first}");
        let file = &first["items"][0]["files"][0];
        assert_eq!((&file["name"], &file["bytes"]), (&"cluster.rkestate".into(), &9.into()));
        let second = world.get(&format!("{path}?limit=1&cursor={}", first["next"].as_str().unwrap())).await.json();
        assert_eq!((&second["items"][0]["number"], second.get("next")), (&1.into(), None));
        assert_eq!(second["items"][0]["operation"], work.task.operation.to_string());
        let none = world.get("/v1/environments/prod/clusters/none/generations").await;
        assert_eq!((none.status, none.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"));
    }
}
