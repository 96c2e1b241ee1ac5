//! `POST /v1/environments/{env}/clusters/{name}/force-unlock`: gives up a run whose end is not known.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};

use super::{Accepted, accepted};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query;
use crate::rest::reason::{self, Reason};
use crate::rest::state::RestState;
use crate::service::clusters::Receipt;

/// Give up the run that holds a cluster while its agent is out of touch. Its operation fails; whatever
/// comes of the run later is kept as evidence and not applied. Make sure that its `rke` is not at work.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/force-unlock", tag = "clusters",
    request_body = Reason,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster")),
    responses((status = 202, description = "The cluster is free", body = Accepted,
        headers(("Location" = String, description = "The operation that was given up")))))]
pub(in crate::rest) async fn force_unlock(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Admin, &environment)?;
    let (reason, _) = reason::said(&state, request).await?;
    let operation = state.service.force_unlock(caller.actor(), environment, name, reason).await?;
    accepted(&state, &Receipt { operation, replayed: false }, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;

    const UNLOCK: &str = "/v1/environments/prod/clusters/web/force-unlock";

    #[tokio::test]
    async fn an_admin_with_a_reason_frees_a_cluster_whose_run_is_lost_and_nobody_else_does() {
        let world = World::new().await;
        let id = world.create("web").await;
        let admin = world.token(Role::Admin, "prod");
        let ask = |token: &str| world.ask_as(token, Method::POST, UNLOCK);
        let idle = ask(&admin).json(&json!({"reason": "x"})).send().await;
        assert_eq!((idle.status, idle.problem().as_str()), (StatusCode::CONFLICT, "not-locked"));
        let work = world.work().await;
        world.house.store.lose_attempts(vec![work.task.attempt], world.house.now()).await.unwrap();
        let waits = world.get(&format!("/v1/operations/{id}")).await.json();
        assert_eq!((&waits["state"], &waits["attempts"][1]["state"]), (&"running".into(), &"unknown".into()));
        assert!(waits["waiting_for"].as_str().unwrap().contains("force-unlock"), "{waits}");
        let operator = world.ask(Method::POST, UNLOCK).json(&json!({"reason": "x"})).send().await;
        assert_eq!(operator.status, StatusCode::FORBIDDEN);
        assert_eq!(ask(&admin).send().await.pointers(), ["/reason"]);
        let done = ask(&admin).json(&json!({"reason": "the bastion burnt down"})).send().await;
        assert_eq!(done.status, StatusCode::ACCEPTED, "{}", done.text());
        let body = done.json();
        assert_eq!((&body["operation"]["state"], &body["cluster"]["phase"]), (&"failed".into(), &"failed".into()));
        assert!(body["operation"]["failure"]["message"].as_str().unwrap().contains("the bastion burnt down"));
        let entry = world.audit().await.pop().unwrap();
        assert_eq!((entry.action.as_str(), entry.detail.as_str()), ("cluster.force-unlock", "the bastion burnt down"));
    }
}
