//! `/v1/environments/{env}/clusters`.

pub(super) mod create;
pub(super) mod force_unlock;
pub(super) mod health;
pub(super) mod kubeconfig;
pub(super) mod list;
pub(super) mod plan;
pub(super) mod protect;
pub(super) mod provision;
pub(super) mod recover_state;
pub(super) mod remove;
pub(super) mod rotate;
pub(super) mod show;
pub(super) mod update;
mod wanted;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Mistake, Problem};
use super::query::invalid;
use super::state::RestState;
use super::views::{ClusterView, OperationView};
use crate::service::clusters::Receipt;

/// Work that was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// What to watch; the header `Location` names it too.
    operation: OperationView,
    /// The cluster as it is now.
    cluster: Option<ClusterView>,
    /// Choices that are allowed but likely to be regretted.
    warnings: Vec<Mistake>,
}

/// `202 Accepted` with `Location` of the operation.
pub(super) async fn accepted(
    state: &RestState,
    receipt: &Receipt,
    warnings: Vec<Mistake>,
) -> Result<Response, Problem> {
    // Read again: it may say by now what it waits for. That it cannot be read changes nothing here.
    let now = state.service.operation(receipt.id()).await;
    let operation = now.as_ref().unwrap_or(&receipt.operation);
    let found = state.service.cluster(&operation.environment, &operation.cluster).await.ok();
    // The name may have been used again since the first request of a replay.
    let cluster = found.filter(|cluster| cluster.id == operation.cluster_id);
    let body = Accepted { operation: operation.into(), cluster: cluster.as_ref().map(ClusterView::from), warnings };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/operations/{}", receipt.id())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if receipt.replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The revision that a request asks for, if it asks for one.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut given = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if value == "*" {
        return Ok(None);
    }
    let revision = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    match (revision, given.next()) {
        (Some(revision), None) => Ok(Some(revision)),
        _ => Err(invalid("If-Match", "must be one `ETag` of this cluster, as it was sent, or `*`")),
    }
}
