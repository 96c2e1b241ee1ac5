//! `GET /v1/environments/{env}/clusters/{name}/health` and `POST …/verify`: how a cluster is, and a check of it.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use http::HeaderMap;
use serde_json::json;

use super::{Accepted, accepted, if_match};
use crate::rest::caller::Caller;
use crate::rest::idempotency;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::HealthView;

/// What the last check of a cluster found, and when its certificates run out. A cluster is checked after every
/// change, and by `verify`; nothing is asked of it here.
#[utoipa::path(get, path = "/v1/environments/{env}/clusters/{name}/health", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster")),
    responses((status = 200, description = "What is known", body = HealthView)))]
pub(in crate::rest) async fn health(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<HealthView>, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Viewer, &environment)?;
    Params::read(&uri, &[])?;
    let health = state.service.health(&environment, &name).await?;
    Ok(Json(HealthView::from(&health)))
}

/// Check a cluster as a user would: its API, its nodes, etcd, versions, access, certificates. One that does
/// not pass is `degraded` then.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/verify", tag = "clusters",
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("If-Match" = Option<String>, Header, description = "Only if the cluster still has this `ETag`"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn verify(
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
    let if_revision = if_match(&headers)?;
    let key = idempotency::key(&state, &headers, &format!("verify {environment}/{name}"), &json!(if_revision))?;
    let receipt = state.service.verify(caller.actor(), (environment, name, if_revision), key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cratekube_common::domain::cluster::health::{CertificateExpiry, Check, CheckOutcome, VerifyFindings};
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::run::{RunOutcome, RunReport};
    use cratekube_common::domain::task::TaskKind;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::rest::testing::World;
    use crate::store::EventFilter;
    use crate::store::conformance::house::{Bastion, failure};

    const WEB: &str = "/v1/environments/prod/clusters/web";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    async fn verify(world: &World) -> Value {
        let answer = world.ask(Method::POST, &format!("{WEB}/verify")).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.json()
    }

    /// The check that waits is made, and finds this.
    async fn checked(world: &World, bastion: Bastion, outcome: RunOutcome, expiry: Duration) {
        let work = world.house.lease_one(bastion).await;
        assert_eq!(work.kind, TaskKind::Verify);
        world.house.start(bastion, &work).await;
        let well = outcome == RunOutcome::Succeeded;
        let (name, outcome_of) = ("nodes".to_owned(), if well { CheckOutcome::Ok } else { CheckOutcome::Failed });
        let findings = VerifyFindings {
            checked_at: world.house.now(),
            kubernetes_version: Some("v1.30.14".into()),
            checks: vec![Check { name, outcome: outcome_of, detail: "2 of 2 are ready".into() }],
            certificates: vec![CertificateExpiry { name: "api".into(), not_after: world.house.now().after(expiry) }],
        };
        let report = RunReport {
            findings: Some(serde_json::to_value(&findings).unwrap()),
            generation: None,
            rke: None,
            ..world.house.report(&work, outcome)
        };
        world.house.settle(bastion, report).await;
    }

    async fn told(world: &World) -> usize {
        let filter = EventFilter {
            environments: vec!["*".parse().unwrap()],
            kinds: vec!["cluster.certificates-expiring".into()],
            ..EventFilter::default()
        };
        world.house.store.events(0, filter, 10).await.unwrap().items.len()
    }

    #[tokio::test]
    async fn a_check_is_an_operation_and_its_findings_are_shown_until_they_are_stale() {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        let unknown = world.get(&format!("{WEB}/health")).await.json();
        assert_eq!((&unknown["status"], &unknown["checked_at"]), (&json!("unknown"), &json!(null)), "{unknown}");
        let accepted = verify(&world).await;
        assert_eq!(
            (&accepted["operation"]["kind"], &accepted["cluster"]["phase"]),
            (&json!("verify"), &json!("ready"))
        );
        checked(&world, bastion, RunOutcome::Succeeded, DAY * 365).await;
        let health = world.get(&format!("{WEB}/health")).await.json();
        assert_eq!((&health["status"], &health["stale"]), (&json!("healthy"), &json!(false)), "{health}");
        assert_eq!((&health["checks"][0]["name"], &health["checks"][0]["outcome"]), (&json!("nodes"), &json!("ok")));
        assert_eq!(
            health["links"]["operation"],
            format!("/v1/operations/{}", accepted["operation"]["id"].as_str().unwrap())
        );
        let cluster = world.get(WEB).await.json();
        assert_eq!(cluster["certificates_expire_at"], health["certificates"][0]["not_after"]);
        assert_eq!(cluster["phase"], "ready");
        world.house.clock.advance(DAY + Duration::from_secs(1));
        assert_eq!(world.get(&format!("{WEB}/health")).await.json()["stale"], true);
        assert_eq!(told(&world).await, 0, "nothing runs out soon");
        let entry = world.audit().await.into_iter().find(|e| e.action == "cluster.verify").unwrap();
        assert_eq!(entry.object, "prod/web");
    }

    #[tokio::test]
    async fn a_cluster_that_does_not_pass_is_degraded_and_keeps_what_was_found() {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        verify(&world).await;
        checked(&world, bastion, RunOutcome::Failed(failure(FailureClass::Worker)), DAY * 365).await;
        let health = world.get(&format!("{WEB}/health")).await.json();
        assert_eq!((&health["status"], &health["phase"]), (&json!("unhealthy"), &json!("degraded")), "{health}");
    }

    #[tokio::test]
    async fn a_certificate_that_runs_out_within_a_month_is_told_of_once() {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        verify(&world).await;
        checked(&world, bastion, RunOutcome::Succeeded, DAY * 40).await;
        assert_eq!(told(&world).await, 0);
        world.house.clock.advance(DAY * 11);
        world.house.store.purge_expired(world.house.now()).await.unwrap();
        world.house.store.purge_expired(world.house.now()).await.unwrap();
        assert_eq!(told(&world).await, 1, "by housekeeping, without another check");
        let admin = world.token(cratekube_common::domain::environment::Role::Admin, "*");
        let summary = world.ask_as(&admin, Method::GET, "/v1/admin/summary").send().await.json();
        let finding = summary["items"].as_array().unwrap().iter().find(|f| f["kind"] == "cluster-certificates");
        let finding = finding.unwrap_or_else(|| panic!("{summary:#}"));
        assert_eq!((&finding["severity"], &finding["subject"]["link"]), (&json!("warning"), &json!(WEB)));
        let figures = world.house.store.figures().await.unwrap();
        let ends = world.get(WEB).await.json()["certificates_expire_at"].as_str().unwrap().to_owned();
        assert_eq!(figures.first_cluster_certificate_ends.map(|at| at.to_string()), Some(ends));
        verify(&world).await;
        checked(&world, bastion, RunOutcome::Succeeded, DAY * 29).await;
        assert_eq!(told(&world).await, 1, "of the same certificate");
        verify(&world).await;
        checked(&world, bastion, RunOutcome::Succeeded, DAY * 20).await;
        assert_eq!(told(&world).await, 2, "of another one");
    }

    #[tokio::test]
    async fn what_is_not_there_has_no_health_and_what_is_worked_on_is_not_checked_beside_it() {
        let world = World::new().await;
        assert_eq!(world.get(&format!("{WEB}/health")).await.status, StatusCode::NOT_FOUND);
        world.create("web").await;
        let busy = world.ask(Method::POST, &format!("{WEB}/verify")).send().await;
        assert_eq!((busy.status, busy.problem().as_str()), (StatusCode::CONFLICT, "cluster-busy"));
        assert_eq!(world.get(&format!("{WEB}/health")).await.json()["status"], "unknown");
    }
}
