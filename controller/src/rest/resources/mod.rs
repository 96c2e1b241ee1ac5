//! `…/resources`: managed resources of a cluster, and the set that every new cluster of an environment gets.
//!
//! Both have the same shape and the same verbs; what differs is the [`Holder`] and who may: a cluster's are
//! for operators, an environment's set is for its administrators.

pub(super) mod default;
mod manifest;
pub(super) mod of_cluster;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::cluster::masking::masked;
use cratekube_common::domain::cluster::resource::ResourceName;
use cratekube_common::domain::environment::Role;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::clusters::if_match;
use super::etag;
use super::problem::Problem;
use super::query::invalid;
use super::state::RestState;
use super::views::{Listing, ResourceDetail, ResourceView};
use crate::service::resources::{ResourceReceipt, WantedResource};
use crate::store::{Holder, Seen};

/// A change that was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResourceChanged {
    resource: ResourceView,
    /// The operation that brings it into the cluster, to be watched; the header `Location` names it too. Null
    /// when nothing is to be done, or not yet: a cluster that was never built gets it when it is.
    operation: Option<String>,
}

/// What a request has seen of the resource that it changes.
fn seen(headers: &HeaderMap) -> Result<Seen, Problem> {
    let none = headers.get_all(header::IF_NONE_MATCH).iter().collect::<Vec<_>>();
    match (none.as_slice(), headers.contains_key(header::IF_MATCH)) {
        ([], false) => Ok(Seen::Untold),
        ([], true) => Ok(if_match(headers)?.map_or(Seen::Anything, Seen::Revision)),
        ([any], false) if *any == "*" => Ok(Seen::Nothing),
        ([_], false) => Err(invalid("If-None-Match", "must be `*`: only if there is none")),
        _ => Err(invalid("If-None-Match", "goes without If-Match, and once")),
    }
}

/// Keeps a resource as a request describes it.
async fn put(
    state: &RestState,
    caller: &Caller,
    (holder, name, role): (Holder, ResourceName, Role),
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let scope = state.service.scopes.for_role(&holder.environment, role);
    let seen = seen(&parts.headers)?;
    let sent = manifest::read(parts, body, &scope, state.limits.body_bytes).await?;
    let manifest::Sent { mode, manifest, objects } = sent;
    let wanted = WantedResource { holder, name, mode, manifest, objects, seen };
    let receipt = state.service.put_resource(caller.actor(), wanted).await?;
    Ok(changed(&receipt))
}

/// What became of a change.
fn changed(receipt: &ResourceReceipt) -> Response {
    let Some(resource) = &receipt.resource else { return StatusCode::NO_CONTENT.into_response() };
    let operation = receipt.operation.map(|id| format!("/v1/operations/{id}"));
    let status = match (&operation, receipt.created) {
        (Some(_), _) => StatusCode::ACCEPTED,
        (None, true) => StatusCode::CREATED,
        (None, false) => StatusCode::OK,
    };
    let location = operation.as_deref().and_then(|path| HeaderValue::from_str(path).ok());
    let body = ResourceChanged { resource: resource.into(), operation };
    let mut response = (status, [(header::ETAG, etag(resource.revision))], Json(body)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// One resource with what it is made of; values of Secrets masked.
async fn show(state: &RestState, holder: &Holder, name: &ResourceName) -> Result<Response, Problem> {
    let (resource, manifest) = state.service.resource(holder, name).await?;
    let tag = etag(resource.revision);
    let detail = ResourceDetail::of(&resource, masked(manifest.expose()));
    Ok(([(header::ETAG, tag)], Json(detail)).into_response())
}

/// Every resource of a holder; there is an upper bound, so that there are no pages.
async fn list(state: &RestState, holder: &Holder) -> Result<Json<Listing<ResourceView>>, Problem> {
    let found = state.service.resources(holder).await?;
    Ok(Json(Listing { items: found.iter().map(ResourceView::from).collect(), next: None }))
}

/// Has a resource taken away.
async fn delete(
    state: &RestState,
    caller: &Caller,
    holder: Holder,
    name: ResourceName,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let receipt = state.service.delete_resource(caller.actor(), holder, name, seen(headers)?).await?;
    Ok(changed(&receipt))
}
