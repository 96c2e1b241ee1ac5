//! `GET /v1/environments/{env}/clusters/{name}`: one cluster.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use http::header;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::ClusterView;

/// One cluster: its spec, and what is known of it.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters/{name}", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster")),
    responses((status = 200, description = "The cluster", body = ClusterView, headers(("ETag" = String, description = "Its revision")))))]
pub(in crate::rest) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Viewer, &environment)?;
    Params::read(&uri, &[])?;
    let cluster = state.service.cluster(&environment, &name).await?;
    let etag = [(header::ETAG, crate::rest::etag(cluster.revision))];
    Ok((etag, Json(ClusterView::from(&cluster))).into_response())
}
