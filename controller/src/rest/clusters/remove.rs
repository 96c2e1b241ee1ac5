//! `DELETE /v1/environments/{env}/clusters/{name}`: asks for a cluster's removal.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use serde_json::json;

use super::{Accepted, accepted, if_match};
use crate::rest::caller::Caller;
use crate::rest::idempotency;
use crate::rest::problem::Problem;
use crate::rest::query;
use crate::rest::reason::{self, Reason};
use crate::rest::state::RestState;
use crate::service::clusters::UnwantedCluster;

/// Ask for a cluster's removal. It is recorded when you are answered; watch the operation for the rest.
#[utoipa::path(delete, path = "/v1/environments/{env}/clusters/{name}", tag = "clusters", request_body = Option<Reason>,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("reason" = Option<String>, Query, description = "Why, when there is no body; one of the two is required"),
        ("If-Match" = Option<String>, Header, description = "Only if the cluster still has this `ETag`"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn remove(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Operator, &environment)?;
    let (reason, headers) = reason::said(&state, request).await?;
    let if_revision = if_match(&headers)?;
    let action = format!("remove {environment}/{name}");
    let key = idempotency::key(&state, &headers, &action, &json!([reason, if_revision]))?;
    let unwanted = UnwantedCluster { environment, name, reason, if_revision };
    let receipt = state.service.remove(caller.actor(), unwanted, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    const WEB: &str = "/v1/environments/prod/clusters/web";

    async fn with_idle_cluster() -> World {
        let world = World::new().await;
        world.ready("web").await;
        world
    }

    #[tokio::test]
    async fn a_removal_is_recorded_with_its_reason_and_the_cluster_is_busy_then() {
        let world = with_idle_cluster().await;
        let answer = world.ask(Method::DELETE, WEB).json(&json!({"reason": "moved away"})).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["operation"]["kind"], &body["operation"]["reason"]),
            (&json!("remove"), &json!("moved away"))
        );
        assert_eq!(body["cluster"]["phase"], "removing");
        let again = world.ask(Method::DELETE, WEB).json(&json!({"reason": "again"})).send().await;
        assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "cluster-busy"));
        assert_eq!(again.json()["operation"], answer.header("location"));
        let audit = world.audit().await.pop().unwrap();
        assert_eq!((audit.action.as_str(), audit.detail.as_str()), ("cluster.remove", "moved away"));
    }

    #[tokio::test]
    async fn a_removal_of_another_revision_than_the_one_seen_is_refused() {
        let world = with_idle_cluster().await;
        let etag = world.get(WEB).await.header("etag").to_owned();
        let because = format!("{WEB}?reason=story");
        let stale = world.ask(Method::DELETE, &because).header("if-match", "\"7\"").send().await;
        assert_eq!((stale.status, stale.problem().as_str()), (StatusCode::PRECONDITION_FAILED, "revision-changed"));
        assert_eq!(stale.header("etag"), etag);
        for odd in ["1", "W/\"1\"", "\"1\", \"2\"", "\"x\""] {
            let answer = world.ask(Method::DELETE, &because).header("if-match", odd).send().await;
            assert_eq!(answer.problem(), "invalid-parameter", "{odd}");
        }
        let answer = world.ask(Method::DELETE, &because).header("if-match", &etag).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn hostile_row_28_what_is_not_there_and_reasons_that_are_none_are_refused() {
        let world = with_idle_cluster().await;
        let missing = world.ask(Method::DELETE, "/v1/environments/prod/clusters/none?reason=x").send().await;
        assert_eq!((missing.status, missing.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"));
        let send = |path: String, body| world.ask(Method::DELETE, &path).json(&body).send();
        assert_eq!(send(WEB.into(), json!({"reason": 1})).await.pointers(), ["/reason"]);
        assert_eq!(send(WEB.into(), json!({"reason": "a", "force": true})).await.pointers(), ["/force"]);
        assert_eq!(send(WEB.into(), json!("x")).await.pointers(), [""]);
        assert_eq!(send(format!("{WEB}?reason=a"), json!({"reason": "b"})).await.pointers(), ["/reason"]);
        assert_eq!(send(WEB.into(), json!({"reason": "\u{1b}[31m"})).await.pointers(), ["/reason"]);
        assert_eq!(send(WEB.into(), json!({})).await.pointers(), ["/reason"]);
        let silent = world.ask(Method::DELETE, WEB).send().await;
        assert_eq!((silent.status, silent.pointers()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["/reason".to_owned()]));
        let operations = world.get("/v1/operations").await.json();
        assert_eq!(operations["items"].as_array().unwrap().len(), 1, "none of them was recorded");
    }
}
