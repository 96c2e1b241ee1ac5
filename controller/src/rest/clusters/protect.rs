//! `PATCH /v1/environments/{env}/clusters/{name}`: protects a cluster against removal, or ends that.
//!
//! It is a guard against mistakes, so whoever may remove the cluster may take it away, with a reason.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use http::header;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::if_match;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::ClusterView;
use crate::rest::{body, reason};
use crate::service::clusters::Protection;

/// What may be changed of a cluster without touching what it runs on.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ClusterChange {
    /// Whether a removal is refused until this is taken away.
    deletion_protection: bool,
    /// Why; required when the protection is taken away.
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

/// Protect a cluster against removal, or end that.
#[utoipa::path(patch, path = "/v1/environments/{env}/clusters/{name}", tag = "clusters", request_body = ClusterChange,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("If-Match" = Option<String>, Header, description = "Only if the cluster still has this `ETag`")),
    responses((status = 200, description = "The cluster as it is now", body = ClusterView, headers(("ETag" = String, description = "Its revision")))))]
pub(in crate::rest) async fn protect(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Operator, &environment)?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, state.limits.body_bytes).await?;
    let (on, reason) = read(&document)?;
    let if_revision = if_match(&parts.headers)?;
    let wish = Protection { environment, name, on, reason, if_revision };
    let cluster = state.service.protect(caller.actor(), wish).await?;
    let etag = [(header::ETAG, crate::rest::etag(cluster.revision))];
    Ok((etag, Json(ClusterView::from(&cluster))).into_response())
}

fn read(document: &Value) -> Result<(bool, Option<String>), Problem> {
    body::fields(document, |object| {
        let on = object.field("deletion_protection").required().boolean();
        let given = object.field("reason").is_present();
        let reason = if on == Some(false) || given { reason::read(object) } else { None };
        on.map(|on| (on, reason))
    })
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::{World, wanted};

    const CLUSTERS: &str = "/v1/environments/prod/clusters";
    const WEB: &str = "/v1/environments/prod/clusters/web";

    #[tokio::test]
    async fn hostile_row_28_a_protected_cluster_is_not_removed_until_someone_says_why_it_may_be() {
        let world = World::new().await;
        let mut body = wanted("web");
        body["deletion_protection"] = json!(true);
        let made = world.ask(Method::POST, CLUSTERS).json(&body).send().await;
        assert_eq!(made.json()["cluster"]["deletion_protection"], true, "{}", made.text());
        let remove = || world.ask(Method::DELETE, &format!("{WEB}?reason=story"));
        let refused = remove().send().await;
        assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::CONFLICT, "deletion-protected"));
        let patch = |body| world.ask(Method::PATCH, WEB).json(&body).send();
        assert_eq!(patch(json!({"deletion_protection": false})).await.pointers(), ["/reason"]);
        assert_eq!(remove().send().await.status, StatusCode::CONFLICT);
        let stale = world.ask(Method::PATCH, WEB).header("if-match", "\"7\"");
        let stale = stale.json(&json!({"deletion_protection": false, "reason": "x"})).send().await;
        assert_eq!(stale.problem(), "revision-changed");
        let open = patch(json!({"deletion_protection": false, "reason": "moved away"})).await;
        assert_eq!((open.status, &open.json()["deletion_protection"]), (StatusCode::OK, &json!(false)));
        assert_ne!(open.header("etag"), "");
        let noted = world.audit().await.pop().unwrap();
        assert_eq!((noted.action.as_str(), noted.detail.as_str()), ("cluster.unprotect", "moved away"));
        assert_eq!(remove().send().await.status, StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn hostile_row_11_a_change_names_the_protection_and_nothing_else() {
        let world = World::new().await;
        world.create("web").await;
        let patch = |body| world.ask(Method::PATCH, WEB).json(&body).send();
        assert_eq!(patch(json!({})).await.pointers(), ["/deletion_protection"]);
        assert_eq!(patch(json!(null)).await.pointers(), ["/deletion_protection"]);
        assert_eq!(patch(json!({"deletion_protection": "yes"})).await.pointers(), ["/deletion_protection"]);
        assert_eq!(patch(json!({"deletion_protection": true, "phase": "ready"})).await.pointers(), ["/phase"]);
        assert_eq!(patch(json!({"deletion_protection": true})).await.status, StatusCode::OK);
        let none = world.ask(Method::PATCH, &format!("{CLUSTERS}/none")).json(&json!({"deletion_protection": true}));
        assert_eq!(none.send().await.problem(), "not-found");
    }
}
