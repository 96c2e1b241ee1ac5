//! `POST /v1/operations/{id}/retry`: asks for the same again that an operation did not do.

use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::operation::OperationKind;
use http::HeaderMap;
use serde_json::json;

use super::visible_operation;
use crate::rest::caller::Caller;
use crate::rest::clusters::{Accepted, accepted};
use crate::rest::idempotency;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;

/// Ask again for what a failed or cancelled operation did not do: a new operation of the same kind on the
/// same cluster, with `retry_of` naming the old one. `rke` goes on from what is there.
#[utoipa::path(post, path = "/v1/operations/{id}/retry", tag = "operations",
    params(("id" = String, Path, description = "The operation to repeat"), crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The new operation")))))]
pub(in crate::rest) async fn retry(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let failed = visible_operation(&state, &caller, &id).await?;
    // A new CA takes everybody's access away: who may not ask for one may not repeat it.
    let sharp = failed.kind == OperationKind::RotateCertificates && failed.reason.is_some();
    caller.require(if sharp { Role::Admin } else { Role::Operator }, &failed.environment)?;
    let key = idempotency::key(&state, &headers, &format!("retry {}", failed.id), &json!(null))?;
    let receipt = state.service.retry(caller.actor(), &failed, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::run::RunOutcome;
    use http::{Method, StatusCode};

    use crate::rest::testing::World;
    use crate::store::conformance::house::failure;

    #[tokio::test]
    async fn a_failed_operation_is_repeated_once_per_key_and_names_what_it_repeats() {
        let world = World::new().await;
        let id = world.create("web").await;
        let path = format!("/v1/operations/{id}/retry");
        let early = world.ask(Method::POST, &path).send().await;
        assert_eq!((early.status, early.problem().as_str()), (StatusCode::CONFLICT, "operation-not-over"));
        let work = world.work().await;
        world.settle(&work, RunOutcome::Failed(failure(FailureClass::Docker))).await;
        let first = world.ask(Method::POST, &path).header("idempotency-key", "k").send().await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
        let again = world.ask(Method::POST, &path).header("idempotency-key", "k").send().await;
        assert_eq!(first.header("location"), again.header("location"));
        let operation = world.get(first.header("location")).await.json();
        assert_eq!((&operation["retry_of"], &operation["kind"]), (&id.as_str().into(), &"provision".into()));
        let busy = world.ask(Method::POST, &path).send().await;
        assert_eq!(busy.problem(), "cluster-busy");
    }

    #[tokio::test]
    async fn what_succeeded_and_what_is_not_that_cluster_any_more_is_not_repeated() {
        let world = World::new().await;
        let id = world.create("web").await;
        let cancelled = format!("/v1/operations/{id}/cancel");
        world.ask(Method::POST, &cancelled).send().await;
        world.ask(Method::DELETE, "/v1/environments/prod/clusters/web?reason=x").send().await;
        world.create("web").await;
        let gone = world.ask(Method::POST, &format!("/v1/operations/{id}/retry")).send().await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND, "another cluster has the name: {}", gone.text());
        let work = world.work().await;
        let done = world.settle(&work, RunOutcome::Succeeded).await;
        let done = world.ask(Method::POST, &format!("/v1/operations/{done}/retry")).send().await;
        assert_eq!(done.problem(), "operation-over");
    }
}
