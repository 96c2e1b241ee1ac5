//! `POST /v1/environments/{env}/clusters/{name}/rotate-certificates`: new certificates, and when asked a new CA.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::run::{RotatedService, Rotation};
use cratekube_common::intake::{Field, Notes, Object};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Accepted, accepted, if_match};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::{body, idempotency, reason};
use crate::service::rotation::WantedRotation;

/// Which certificates are to be renewed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct CertificateRotation {
    /// Of these services only; of all when absent: `kube-apiserver`, `kube-controller-manager`,
    /// `kube-scheduler`, `kubelet`, `kube-proxy`, `etcd`.
    services: Option<Vec<String>>,
    /// With a new CA: every credential that the old one made ends, kubeconfigs of administrators too. All
    /// services are restarted. For administrators of the environment, with a reason.
    ca: Option<bool>,
    /// Why; required for a new CA, and kept in the audit log.
    reason: Option<String>,
}

/// Renew the certificates of a cluster. Its services are restarted one after the other. A new CA is made only
/// when asked for, and takes the mark `admin-kubeconfig-issued` from the cluster.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/rotate-certificates", tag = "clusters",
    request_body = Option<CertificateRotation>,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("If-Match" = Option<String>, Header, description = "Only if the cluster still has this `ETag`"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn rotate(
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
    let (rotation, reason) = read(document.as_ref().unwrap_or(&json!({})))?;
    if rotation.ca {
        caller.require(Role::Admin, &environment)?;
    }
    let if_revision = if_match(&parts.headers)?;
    let asked = json!([rotation, reason, if_revision]);
    let key = idempotency::key(&state, &parts.headers, &format!("rotate {environment}/{name}"), &asked)?;
    let wanted = WantedRotation { environment, name, rotation, reason, if_revision };
    let receipt = state.service.rotate_certificates(caller.actor(), wanted, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

fn read(document: &Value) -> Result<(Rotation, Option<String>), Problem> {
    let notes = Notes::default();
    let made = Field::root(document, &notes).object().and_then(|mut object| {
        let ca = object.field("ca").boolean().unwrap_or(false);
        let services = services(&mut object, ca);
        let told = ca || object.field("reason").is_present();
        let reason = if told { reason::read(&mut object).map(Some) } else { Some(None) };
        object.finish();
        Some((Rotation { ca, services }, reason?))
    });
    let faults = notes.into_faults();
    made.filter(|_| faults.is_acceptable()).ok_or_else(|| Problem::validation(faults.errors))
}

fn services(object: &mut Object<'_>, ca: bool) -> Vec<RotatedService> {
    let field = object.field("services");
    if ca && field.is_present() {
        field.error("does not go with a new CA, which renews the certificates of all services: leave it out");
    }
    let mut services: Vec<RotatedService> = field.items().unwrap_or_default().iter().filter_map(Field::parse).collect();
    services.sort_unstable();
    services.dedup();
    services
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::generation::Manifest;
    use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
    use cratekube_common::domain::task::TaskKind;
    use http::{Method, StatusCode};

    use super::*;
    use crate::rest::testing::{Answer, World};
    use crate::store::KubeconfigIssued;
    use crate::store::conformance::house::{Bastion, entry, failure, hash};

    const WEB: &str = "/v1/environments/prod/clusters/web";

    async fn ask(world: &World, role: Role, body: Value) -> Answer {
        let path = format!("{WEB}/rotate-certificates");
        world.ask_as(&world.token(role, "prod"), Method::POST, &path).json(&body).send().await
    }

    async fn taken(world: &World, bastion: Bastion) -> Assignment {
        let work = world.house.lease_one(bastion).await;
        assert_eq!(work.kind, TaskKind::RotateCertificates);
        world.house.start(bastion, &work).await;
        work
    }

    /// The rotation ends with a state that carries this CA.
    async fn rotated(world: &World, bastion: Bastion, work: &Assignment, ca: &str, outcome: RunOutcome) {
        let report = world.house.report(work, outcome);
        let generation = report.generation.clone().map(|sealed| Manifest { ca_sha256: Some(hash(ca)), ..sealed });
        world.house.settle(bastion, RunReport { generation, ..report }).await;
    }

    async fn marked(world: &World, work: &Assignment) {
        let request = KubeconfigIssued {
            cluster: work.cluster,
            administrators: true,
            detail: String::new(),
            audit: entry("cluster.kubeconfig", "prod/web"),
            now: world.house.now(),
        };
        assert!(world.house.store.note_kubeconfig(request).await.unwrap());
    }

    fn marks(cluster: &Value) -> bool {
        cluster["conditions"].to_string().contains("admin-kubeconfig-issued")
    }

    #[tokio::test]
    async fn certificates_are_renewed_by_an_operation_that_says_which() {
        let world = World::new().await;
        let built = world.ready("web").await;
        marked(&world, &built.task).await;
        let answer = ask(&world, Role::Operator, json!({"services": ["kubelet", "etcd", "kubelet"]})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        assert_eq!(answer.json()["operation"]["kind"], "rotate-certificates");
        let work = taken(&world, built.bastion).await;
        assert_eq!(work.input.0["rotation"], json!({"ca": false, "services": ["kubelet", "etcd"]}));
        assert_eq!(world.get(WEB).await.json()["phase"], "updating");
        rotated(&world, built.bastion, &work, "ca", RunOutcome::Succeeded).await;
        let cluster = world.get(WEB).await.json();
        assert_eq!(cluster["generation"], 2);
        assert!(marks(&cluster), "the same CA takes nothing back");
        let entry = world.audit().await.into_iter().find(|e| e.action == "cluster.rotate-certificates").unwrap();
        assert_eq!(entry.detail, "of kubelet, etcd");
    }

    #[tokio::test]
    async fn hostile_row_28_a_new_ca_needs_an_administrator_and_a_reason_and_takes_old_access_back() {
        let world = World::new().await;
        let built = world.ready("web").await;
        marked(&world, &built.task).await;
        let silent = ask(&world, Role::Admin, json!({"ca": true, "services": ["etcd"], "x": 1})).await;
        assert_eq!(silent.pointers(), ["/services", "/reason", "/x"], "{}", silent.text());
        let weak = ask(&world, Role::Operator, json!({"ca": true, "reason": "leaked"})).await;
        assert_eq!(weak.problem(), "forbidden");
        let answer = ask(&world, Role::Admin, json!({"ca": true, "reason": "leaked"})).await;
        assert_eq!((answer.status, &answer.json()["operation"]["reason"]), (StatusCode::ACCEPTED, &json!("leaked")));
        let work = taken(&world, built.bastion).await;
        assert_eq!(work.input.0["rotation"]["ca"], true);
        rotated(&world, built.bastion, &work, "new", RunOutcome::Succeeded).await;
        let cluster = world.get(WEB).await.json();
        assert_eq!(cluster["ca_sha256"], hash("new"));
        assert!(!marks(&cluster), "{cluster}");
    }

    #[tokio::test]
    async fn a_ca_that_nobody_asked_for_is_not_accepted_from_a_rotation_either() {
        let world = World::new().await;
        let built = world.ready("web").await;
        ask(&world, Role::Operator, json!({})).await;
        let work = taken(&world, built.bastion).await;
        rotated(&world, built.bastion, &work, "new", RunOutcome::Succeeded).await;
        let cluster = world.get(WEB).await.json();
        assert_eq!((&cluster["phase"], &cluster["failure"]["class"]), (&json!("degraded"), &json!("state")));
        assert_eq!(cluster["ca_sha256"], hash("ca"), "the record stays what it was");
    }

    #[tokio::test]
    async fn a_rotation_that_failed_is_repeated_as_it_was_asked_for() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let asked = ask(&world, Role::Admin, json!({"ca": true, "reason": "leaked"})).await;
        let work = taken(&world, built.bastion).await;
        rotated(&world, built.bastion, &work, "new", RunOutcome::Failed(failure(FailureClass::Worker))).await;
        let cluster = world.get(WEB).await.json();
        assert_eq!(
            (&cluster["phase"], &cluster["ca_sha256"]),
            (&json!("degraded"), &json!(hash("new"))),
            "where it is now"
        );
        let id = asked.json()["operation"]["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/operations/{id}/retry");
        assert_eq!(world.ask(Method::POST, &path).send().await.problem(), "forbidden");
        let again = world.ask_as(&world.token(Role::Admin, "prod"), Method::POST, &path).send().await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
        assert_eq!(taken(&world, built.bastion).await.input.0["rotation"]["ca"], true);
    }
}
