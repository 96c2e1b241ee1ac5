//! `GET /v1/environments/{env}/clusters`: clusters by name.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::EnvironmentName;

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::{ClusterSummary, Listing};
use crate::store::ClusterFilter;

/// Clusters of an environment, by name.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), crate::rest::openapi::PageQuery,
        ("include_removed" = Option<bool>, Query, description = "Removed ones too")),
    responses((status = 200, description = "A page", body = Listing<ClusterSummary>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    Path(env): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<ClusterSummary>>, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    caller.require(Role::Viewer, &environment)?;
    let params = Params::read(&uri, &["limit", "cursor", "include_removed"])?;
    let include_removed = params.flag("include_removed")?;
    let filters = [env.as_str(), if include_removed { "removed" } else { "" }];
    let scope = Scope { route: "clusters", filters: &filters, subject: &caller.actor().subject };
    let page = params.page(&state, &scope)?;
    let found = state.service.clusters(ClusterFilter { environment, include_removed }, page).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(ClusterSummary::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::Value;

    use crate::rest::testing::World;
    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::run::RunOutcome;

    const CLUSTERS: &str = "/v1/environments/prod/clusters";

    fn names(page: &Value) -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn pages_follow_one_another_and_end() {
        let world = World::new().await;
        for name in ["a", "b", "c", "d", "e"] {
            world.create(name).await;
        }
        let (mut path, mut seen) = (format!("{CLUSTERS}?limit=2"), Vec::new());
        loop {
            let page = world.get(&path).await.json();
            seen.extend(names(&page));
            assert!(page["items"][0].get("spec").is_none(), "a list shows summaries");
            let Some(next) = page["next"].as_str() else { break };
            path = format!("{CLUSTERS}?limit=2&cursor={next}");
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[tokio::test]
    async fn removed_clusters_are_shown_when_asked_for() {
        let world = World::new().await;
        let work = world.ready("gone").await;
        world.ask(Method::DELETE, &format!("{CLUSTERS}/gone?reason=story")).send().await;
        let task = world.house.lease_rke(work.bastion).await;
        world.house.start(work.bastion, &task).await;
        world.house.settle(work.bastion, world.house.report(&task, RunOutcome::Succeeded)).await;
        assert_eq!(names(&world.get(CLUSTERS).await.json()), ["gone"], "it goes with the last step");
        world.house.take_steps(work.bastion, task.operation).await;
        assert!(names(&world.get(CLUSTERS).await.json()).is_empty());
        assert_eq!(names(&world.get(&format!("{CLUSTERS}?include_removed=true")).await.json()), ["gone"]);
    }

    #[tokio::test]
    async fn hostile_row_12_limits_are_cut_and_cursors_of_others_are_refused() {
        let world = World::new().await;
        for n in 0..203 {
            world.create(&format!("c{n:03}")).await;
        }
        for limit in ["1000000000", "99999999999999999999999999"] {
            let page = world.get(&format!("{CLUSTERS}?limit={limit}")).await.json();
            assert_eq!(names(&page).len(), 200);
        }
        for limit in ["0", "-1", "1e9", "", "ten", "1.5"] {
            let answer = world.get(&format!("{CLUSTERS}?limit={limit}")).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::BAD_REQUEST, "invalid-parameter"),
                "{limit}"
            );
        }
        let next = world.get(CLUSTERS).await.json()["next"].as_str().unwrap().to_owned();
        assert_eq!(world.get(&format!("{CLUSTERS}?cursor={next}")).await.status, StatusCode::OK);
        let eve = world.token_of("eve", Role::Operator, "*");
        for (token, path) in [
            (eve.as_str(), format!("{CLUSTERS}?cursor={next}")),
            (&world.token(Role::Viewer, "*"), format!("/v1/environments/dev/clusters?cursor={next}")),
            (&world.token(Role::Viewer, "*"), format!("{CLUSTERS}?include_removed=true&cursor={next}")),
            (&world.token(Role::Viewer, "*"), format!("/v1/operations?cursor={next}")),
            (&world.token(Role::Viewer, "*"), format!("{CLUSTERS}?cursor=AAAA")),
            (&world.token(Role::Viewer, "*"), format!("{CLUSTERS}?cursor=")),
        ] {
            let answer = world.ask_as(token, Method::GET, &path).send().await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::BAD_REQUEST, "invalid-cursor"),
                "{path}"
            );
        }
        for query in ["limit=1&limit=2", "offset=1", "include_removed=yes"] {
            assert_eq!(world.get(&format!("{CLUSTERS}?{query}")).await.problem(), "invalid-parameter", "{query}");
        }
    }
}
