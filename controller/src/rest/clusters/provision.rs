//! `POST /v1/environments/{env}/clusters/{name}/provision`: brings a cluster to its spec again.

use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use http::HeaderMap;
use serde_json::json;

use super::{Accepted, accepted};
use crate::rest::caller::Caller;
use crate::rest::idempotency;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;

/// Bring a cluster to its spec again that failed or is degraded, after its state was brought back for
/// example, or whose removal was cancelled or has failed. `rke` goes on from what is there. It is not
/// started where a removal has cleaned hosts of the cluster's etcd, or may have, for it would build an empty cluster
/// or leave a member of etcd dead; the failure names the hosts, and says how data that are still there are kept.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/provision", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn provision(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Operator, &environment)?;
    Params::read(&uri, &[])?;
    let key = idempotency::key(&state, &headers, &format!("provision {environment}/{name}"), &json!(null))?;
    let receipt = state.service.provision_again(caller.actor(), environment, name, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::run::RunOutcome;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    #[tokio::test]
    async fn a_cluster_whose_state_was_brought_back_is_brought_to_its_spec_again() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let again = || world.ask(Method::POST, "/v1/environments/prod/clusters/web/provision");
        let ready = again().send().await;
        assert_eq!((ready.status, ready.problem().as_str()), (StatusCode::CONFLICT, "not-allowed-now"));
        let recover = world.ask(Method::POST, "/v1/environments/prod/clusters/web/recover-state");
        recover.json(&json!({"reason": "torn by hand"})).send().await;
        let task = world.house.lease_one(built.bastion).await;
        world.house.start(built.bastion, &task).await;
        world.house.settle(built.bastion, world.house.report(&task, RunOutcome::Succeeded)).await;
        let cluster = world.get("/v1/environments/prod/clusters/web").await.json();
        assert_eq!(cluster["phase"], "degraded", "{cluster:#}");
        let first = again().header("idempotency-key", "k").send().await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
        let same = again().header("idempotency-key", "k").send().await;
        assert_eq!(first.header("location"), same.header("location"));
        let task = world.house.lease_rke(built.bastion).await;
        world.house.start(built.bastion, &task).await;
        world.house.settle(built.bastion, world.house.report(&task, RunOutcome::Succeeded)).await;
        world.house.take_steps(built.bastion, task.operation).await;
        assert_eq!(world.get("/v1/environments/prod/clusters/web").await.json()["phase"], "ready");
        let none = world.ask(Method::POST, "/v1/environments/prod/clusters/none/provision").send().await;
        assert_eq!(none.status, StatusCode::NOT_FOUND);
    }
}
