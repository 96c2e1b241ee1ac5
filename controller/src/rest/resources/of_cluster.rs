//! `/v1/environments/{env}/clusters/{name}/resources`: what users want kept in a cluster.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::cluster::resource::ResourceName;
use cratekube_common::domain::environment::{Role, role_in};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};

use super::manifest::NewResource;
use super::{ResourceChanged, delete, list, put, show};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::{Listing, ResourceDetail, ResourceView};
use crate::store::Holder;

fn holder(env: &str, name: &str) -> Result<Holder, Problem> {
    let environment: EnvironmentName = query::name("env", env)?;
    let cluster: ClusterName = query::name("name", name)?;
    Ok(Holder { environment, cluster: Some(cluster) })
}

fn resource(name: &str) -> Result<ResourceName, Problem> {
    query::name("resource", name)
}

/// The managed resources of a cluster, oldest first, each with what became of it.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters/{name}/resources", tag = "resources",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster")),
    responses((status = 200, description = "All of them", body = Listing<ResourceView>)))]
pub(in crate::rest) async fn all(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Listing<ResourceView>>, Problem> {
    let holder = holder(&env, &name)?;
    caller.require(Role::Viewer, &holder.environment)?;
    Params::read(request.uri(), &[])?;
    list(&state, &holder).await
}

/// One managed resource with its manifest; values of Secrets are masked.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters/{name}/resources/{resource}", tag = "resources",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("resource" = String, Path, description = "Resource")),
    responses((status = 200, description = "The resource", body = ResourceDetail, headers(("ETag" = String, description = "Its revision")))))]
pub(in crate::rest) async fn one(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name, resource_name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (holder, name) = (holder(&env, &name)?, resource(&resource_name)?);
    caller.require(Role::Viewer, &holder.environment)?;
    Params::read(request.uri(), &[])?;
    show(&state, &holder, &name).await
}

/// Keep Kubernetes YAML in a cluster. A cluster that is ready is configured at once: watch the operation. One
/// that is being built gets it on the way. Replacing one needs its `ETag` in `If-Match`; sending again what
/// is there already changes nothing. What the cluster's API says is in the resource's `faults`.
#[utoipa::path(put, path = "/v1/environments/{env}/clusters/{name}/resources/{resource}", tag = "resources",
    request_body(content(
        (NewResource = "application/json"),
        (String = "application/yaml", example = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: page\n"))),
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("resource" = String, Path, description = "Resource: a name of your choice, an RFC 1123 label"),
        ("mode" = Option<String>, Query, description = "`upsert` or `sync`, for a body that is YAML"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the resource that is replaced, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none")),
    responses(
        (status = 200, description = "It was so before, or nothing is to be done for it now", body = ResourceChanged),
        (status = 201, description = "Kept; the cluster gets it when it is built", body = ResourceChanged),
        (status = 202, description = "Kept, and on its way into the cluster", body = ResourceChanged, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn keep(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name, resource_name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (holder, name) = (holder(&env, &name)?, resource(&resource_name)?);
    caller.require(Role::Operator, &holder.environment)?;
    let role = role_in(&caller.actor().grants, &holder.environment).unwrap_or(Role::Viewer);
    let (parts, body) = request.into_parts();
    put(&state, &caller, (holder, name, role), &parts, body).await
}

/// Take a managed resource away. Objects of one in the mode `sync` are removed from the cluster; it is listed
/// as `withdrawn` until they are.
#[utoipa::path(delete, path = "/v1/environments/{env}/clusters/{name}/resources/{resource}", tag = "resources",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("resource" = String, Path, description = "Resource"),
        ("If-Match" = Option<String>, Header, description = "Only if the resource still has this `ETag`")),
    responses(
        (status = 202, description = "Withdrawn; an operation takes it from the cluster", body = ResourceChanged, headers(("Location" = String, description = "The operation"))),
        (status = 204, description = "Gone: the cluster never had anything of it")))]
pub(in crate::rest) async fn take_away(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name, resource_name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (holder, name) = (holder(&env, &name)?, resource(&resource_name)?);
    caller.require(Role::Operator, &holder.environment)?;
    Params::read(request.uri(), &[])?;
    delete(&state, &caller, holder, name, request.headers()).await
}

#[cfg(test)]
mod tests;
