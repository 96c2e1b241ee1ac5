//! `POST /v1/operations/{id}/cancel`: ends an operation.

use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;

use super::visible_operation;
use crate::rest::caller::Caller;
use crate::rest::clusters::{Accepted, accepted};
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::service::clusters::Receipt;

/// End an operation. One that waits never starts; of one that runs, `rke` is ended (TERM, then KILL), what
/// it left is sealed, and the operation becomes `cancelled` then. Asking twice changes nothing.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", tag = "operations",
    params(("id" = String, Path, description = "Operation")),
    responses((status = 202, description = "Cancelled, or `cancelling`: watch it", body = Accepted,
        headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn cancel(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let operation = visible_operation(&state, &caller, &id).await?;
    caller.require(Role::Operator, &operation.environment)?;
    let operation = state.service.cancel(caller.actor(), operation.id).await?;
    accepted(&state, &Receipt { operation, replayed: false }, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::run::RunOutcome;
    use http::{Method, StatusCode};

    use crate::rest::testing::World;
    use crate::store::conformance::house::failure;

    fn path(id: &str) -> String {
        format!("/v1/operations/{id}/cancel")
    }

    #[tokio::test]
    async fn hostile_row_51_what_waits_is_cancelled_at_once_and_never_starts() {
        let world = World::new().await;
        let id = world.create("web").await;
        for _ in 0..2 {
            let answer = world.ask(Method::POST, &path(&id)).send().await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
            let body = answer.json();
            assert_eq!(body["operation"]["state"], "cancelled");
            assert_eq!(body["cluster"]["failure"]["class"], "cancelled");
            assert_eq!(answer.header("location"), format!("/v1/operations/{id}"));
        }
        let bastion = world.house.bastion("bastion-1", "*").await;
        assert!(world.house.lease(bastion, 4).await.is_empty());
        let asked: Vec<_> = world.audit().await.into_iter().filter(|e| e.action == "operation.cancel").collect();
        assert_eq!((asked.len(), asked[0].object.as_str()), (1, id.as_str()), "one change, one entry");
    }

    #[tokio::test]
    async fn what_runs_is_cancelling_until_its_run_has_ended() {
        let world = World::new().await;
        let id = world.create("web").await;
        let work = world.work().await;
        let body = world.ask(Method::POST, &path(&id)).send().await.json();
        assert_eq!(body["operation"]["state"], "cancelling");
        world.settle(&work, RunOutcome::Failed(failure(FailureClass::Cancelled))).await;
        assert_eq!(world.get(&format!("/v1/operations/{id}")).await.json()["state"], "cancelled");
    }

    #[tokio::test]
    async fn what_has_ended_otherwise_and_what_is_anothers_is_refused() {
        let world = World::new().await;
        world.ready("web").await;
        let operations = world.get("/v1/operations").await.json();
        let id = operations["items"][0]["id"].as_str().unwrap().to_owned();
        let over = world.ask(Method::POST, &path(&id)).send().await;
        assert_eq!((over.status, over.problem().as_str()), (StatusCode::CONFLICT, "operation-over"));
        let viewer = world.token(Role::Viewer, "prod");
        assert_eq!(world.ask_as(&viewer, Method::POST, &path(&id)).send().await.status, StatusCode::FORBIDDEN);
        let other = world.token(Role::Operator, "dev");
        assert_eq!(world.ask_as(&other, Method::POST, &path(&id)).send().await.status, StatusCode::NOT_FOUND);
    }
}
