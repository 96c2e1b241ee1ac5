//! `POST /v1/environments/{env}/clusters/{name}/recover-state`: brings lost or damaged state back.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Accepted, accepted};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::{body, idempotency, reason};
use crate::service::clusters::LostState;

/// What is to be brought back, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct StateRecovery {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// From this sealed generation and no other. Otherwise from the newest good one, and where none is left,
    /// from the cluster itself.
    #[schema(minimum = 1)]
    generation: Option<u64>,
}

/// Bring lost or damaged state back. Only state that is whole and carries the CA on record is believed. The
/// cluster is `degraded` afterwards: its state is back, and `rke` has not run on it yet. One that failed
/// stays `failed` when the recovery fails.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/recover-state", tag = "clusters",
    request_body = StateRecovery,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn recover_state(
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
    let document = body::optional_json(&parts.headers, body, state.limits.body_bytes).await?;
    let (reason, generation) = read(document.as_ref().unwrap_or(&json!({})))?;
    let action = format!("recover-state {environment}/{name}");
    let key = idempotency::key(&state, &parts.headers, &action, &json!([reason, generation]))?;
    let lost = LostState { environment, name, reason, generation };
    let receipt = state.service.recover_state(caller.actor(), lost, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

fn read(document: &Value) -> Result<(String, Option<u64>), Problem> {
    body::fields(document, |object| {
        let reason = reason::read(object);
        let generation = object.field("generation").integer(1..=i64::MAX.unsigned_abs());
        reason.map(|reason| (reason, generation))
    })
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::run::Recovery;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    const RECOVER: &str = "/v1/environments/prod/clusters/web/recover-state";

    #[tokio::test]
    async fn recovery_is_recorded_with_its_reason_and_the_generation_reaches_the_agent() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let ask = || world.ask(Method::POST, RECOVER);
        let wrong = ask().json(&json!({"generation": 0, "stray": 1})).send().await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(wrong.pointers(), ["/reason", "/generation", "/stray"], "{}", wrong.text());
        let answer = ask().json(&json!({"reason": "torn by hand", "generation": 1})).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let body = answer.json();
        assert_eq!((&body["operation"]["kind"], &body["cluster"]["phase"]), (&json!("recover-state"), &json!("ready")));
        let busy = ask().json(&json!({"reason": "again"})).send().await;
        assert_eq!(busy.status, StatusCode::CONFLICT);
        let task = world.house.lease_one(built.bastion).await;
        world.house.start(built.bastion, &task).await;
        assert_eq!(task.recovery, Some(Recovery { generation: Some(1), newest_recorded: 1 }));
        assert_eq!(world.get("/v1/environments/prod/clusters/web").await.json()["phase"], "updating");
        let entry = world.audit().await.into_iter().find(|e| e.action == "cluster.recover-state").unwrap();
        assert_eq!(entry.detail, "torn by hand");
    }

    #[tokio::test]
    async fn a_cluster_that_never_had_state_has_none_to_bring_back() {
        let world = World::new().await;
        world.create("web").await;
        let answer = world.ask(Method::POST, RECOVER).json(&json!({"reason": "x"})).send().await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text());
    }
}
