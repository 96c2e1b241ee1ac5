//! `GET /v1/admin/volumes` and `/{id}`: state volumes, who serves them, what is on them.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::id::VolumeId;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::cursor::{self, Scope};
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::{ClusterSummary, Listing, StateVolumeView};

/// State volumes that were ever served, by id.
#[utoipa::path(get, path = "/v1/admin/volumes", tag = "admin", params(crate::rest::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<StateVolumeView>)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<StateVolumeView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "volumes", filters: &[], subject: &caller.actor().subject };
    let found = state.service.volumes(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(StateVolumeView::from).collect(), next }))
}

/// A state volume with a page of the clusters on it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VolumeDetail {
    #[serde(flatten)]
    volume: StateVolumeView,
    /// Clusters on it that are not removed, oldest first.
    items: Vec<ClusterSummary>,
    /// Send as `cursor` for more of them; absent at the end.
    next: Option<String>,
}

/// One state volume, and the clusters on it.
#[utoipa::path(get, path = "/v1/admin/volumes/{id}", tag = "admin",
    params(("id" = String, Path, description = "Volume"), crate::rest::openapi::PageQuery),
    responses((status = 200, description = "The volume", body = VolumeDetail)))]
pub(super) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<VolumeDetail>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let volume: VolumeId = id.parse().map_err(|_| Problem::not_found())?;
    let scope = Scope { route: "volume", filters: &[&id], subject: &caller.actor().subject };
    let page = params.page(&state, &scope)?;
    let now = state.service.volume(volume).await?;
    let clusters = state.service.clusters_on(volume, page).await?;
    let next = clusters.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    let items = clusters.items.iter().map(ClusterSummary::from).collect();
    Ok(Json(VolumeDetail { volume: StateVolumeView::from(&now), items, next }))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};

    use crate::rest::testing::World;

    #[tokio::test]
    async fn volumes_are_told_with_their_agents_their_space_and_their_clusters() {
        let world = World::new().await;
        let work = world.ready("web").await;
        let other = world.house.bastion("another", "*").await;
        let get = async |path: &str| {
            let admin = world.token(Role::Admin, "*");
            world.ask_as(&admin, Method::GET, &format!("/v1/admin/volumes{path}")).send().await
        };
        let first = get("?limit=1").await.json();
        let second = get(&format!("?limit=1&cursor={}", first["next"].as_str().unwrap())).await.json();
        let mut ids = [&first, &second].map(|page| page["items"][0]["id"].as_str().unwrap().to_owned());
        ids.sort();
        let mut expected = [work.bastion.volume, other.volume].map(|id| id.to_string());
        expected.sort();
        assert_eq!((ids, &second["next"]), (expected, &serde_json::Value::Null));
        let one = get(&format!("/{}", work.bastion.volume)).await.json();
        assert_eq!((&one["clusters"], &one["items"][0]["name"]), (&1.into(), &"web".into()), "{one:#}");
        assert_eq!((&one["agent"]["name"], &one["agent"]["online"]), (&"bastion-1".into(), &false.into()));
        assert_eq!(
            (&one["free_bytes"], &one["reserve_bytes"], &one["below_reserve"]),
            (&1.into(), &1.into(), &false.into())
        );
        assert_eq!(get("/nope").await.status, StatusCode::NOT_FOUND);
        assert_eq!(get("/00000000-0000-0000-0000-000000000000").await.status, StatusCode::NOT_FOUND);
    }
}
