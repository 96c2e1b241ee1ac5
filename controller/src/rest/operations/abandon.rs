//! `POST /v1/operations/{id}/abandon`: ends a removal that cannot be finished.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;

use super::visible_operation;
use crate::rest::caller::Caller;
use crate::rest::clusters::{Accepted, accepted};
use crate::rest::problem::Problem;
use crate::rest::reason::{self, Reason};
use crate::rest::state::RestState;
use crate::service::clusters::Receipt;

/// End a removal that cannot be finished. The cluster counts as removed and its name is free; whatever of it is
/// left stays and goes on costing: the residue report lists what is known of that. What its agent keeps of it
/// on the state volume stays too, and keeps another cluster of the name from being built on that volume.
/// Refused while a run of it is at work, or its end is not known.
#[utoipa::path(post, path = "/v1/operations/{id}/abandon", tag = "operations", request_body = Reason,
    params(("id" = String, Path, description = "The removal")),
    responses((status = 202, description = "The cluster counts as removed", body = Accepted,
        headers(("Location" = String, description = "The removal")))))]
pub(in crate::rest) async fn abandon(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let operation = visible_operation(&state, &caller, &id).await?;
    caller.require(Role::Admin, &operation.environment)?;
    let (reason, _) = reason::said(&state, request).await?;
    let operation = state.service.abandon(caller.actor(), operation.id, reason).await?;
    accepted(&state, &Receipt { operation, replayed: false }, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::run::RunOutcome;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::{Answer, World};
    use crate::store::conformance::house::failure;

    const WEB: &str = "/v1/environments/prod/clusters/web";

    async fn removal(world: &World) -> String {
        let answer = world.ask(Method::DELETE, &format!("{WEB}?reason=x")).send().await;
        answer.json()["operation"]["id"].as_str().unwrap().to_owned()
    }

    async fn abandon(world: &World, role: Role, id: &str) -> Answer {
        let token = world.token(role, "prod");
        let ask = world.ask_as(&token, Method::POST, &format!("/v1/operations/{id}/abandon"));
        ask.json(&json!({"reason": "the account is closed"})).send().await
    }

    #[tokio::test]
    async fn hostile_row_28_an_admin_with_a_reason_ends_a_removal_and_what_stays_is_told() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let id = removal(&world).await;
        let work = world.house.lease_one(built.bastion).await;
        world.house.step(built.bastion, &work, RunOutcome::Failed(failure(FailureClass::Unreachable))).await;
        assert_eq!(abandon(&world, Role::Operator, &id).await.problem(), "forbidden");
        let token = world.token(Role::Admin, "prod");
        let silent = world.ask_as(&token, Method::POST, &format!("/v1/operations/{id}/abandon")).send().await;
        assert_eq!(silent.pointers(), ["/reason"]);
        let answer = abandon(&world, Role::Admin, &id).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let body = answer.json();
        assert_eq!((&body["operation"]["state"], &body["cluster"]["phase"]), (&json!("failed"), &json!("removed")));
        let conditions = body["cluster"]["conditions"].to_string();
        assert!(conditions.contains("residue") && conditions.contains(&id), "{conditions}");
        let report = world.get(&format!("/v1/operations/{id}/residue")).await.json()["report"].clone();
        assert_eq!((&report["verdict"], &report["abandoned"]["by"]), (&json!("unverified"), &json!("ann")));
        let audit = world.audit().await.into_iter().find(|entry| entry.action == "operation.abandon").unwrap();
        assert_eq!((audit.object, audit.detail.as_str()), (id.clone(), "the account is closed"));
        assert_eq!(abandon(&world, Role::Admin, &id).await.problem(), "operation-over");
        world.create("web").await;
    }

    #[tokio::test]
    async fn a_removal_that_waits_is_abandoned_and_one_at_work_or_out_of_touch_is_not() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let id = removal(&world).await;
        let work = world.house.lease_one(built.bastion).await;
        assert_eq!(abandon(&world, Role::Admin, &id).await.problem(), "run-holds-cluster");
        world.house.start(built.bastion, &work).await;
        world.house.store.lose_attempts(vec![work.attempt], world.house.now()).await.unwrap();
        assert_eq!(abandon(&world, Role::Admin, &id).await.problem(), "run-holds-cluster");
        world.house.force("prod", "web", Vec::new()).await;
        let again = world.ask(Method::POST, &format!("/v1/operations/{id}/retry")).send().await.json();
        let again = again["operation"]["id"].as_str().unwrap().to_owned();
        assert_eq!(abandon(&world, Role::Admin, &id).await.problem(), "cluster-busy");
        let body = abandon(&world, Role::Admin, &again).await.json();
        assert_eq!((&body["operation"]["state"], &body["cluster"]["phase"]), (&json!("cancelled"), &json!("removed")));
        assert!(world.house.lease(built.bastion, 4).await.is_empty(), "nothing of it begins any more");
    }

    #[tokio::test]
    async fn what_is_no_removal_or_succeeded_is_not_abandoned() {
        let world = World::new().await;
        let provision = world.create("web").await;
        assert_eq!(abandon(&world, Role::Admin, &provision).await.problem(), "not-allowed-now");
        let id = removal(&world).await;
        assert_eq!(abandon(&world, Role::Admin, &id).await.problem(), "operation-over");
        let other = world.token(Role::Admin, "dev");
        let path = format!("/v1/operations/{id}/abandon");
        let foreign = world.ask_as(&other, Method::POST, &path).json(&json!({"reason": "x"})).send().await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    }
}
