//! `PUT /v1/environments/{env}/clusters/{name}`: asks for a cluster to become what a changed spec says.
//!
//! What a change costs decides what is asked of its sender: nothing for a *safe* one; for a
//! *disruptive* one `allow=disruptive`, or the digest of a plan that showed it; for one that *loses
//! data* `allow=loses_data`, plan or not. What is *impossible* is refused whatever is allowed.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::intake::Fault;
use http::{HeaderMap, header};
use serde_json::json;

use super::plan::{ChangedCluster, Weighed, weigh};
use super::{Accepted, accepted, if_match, wanted};
use crate::plan::change::{Change, ChangeClass, worst};
use crate::rest::caller::Caller;
use crate::rest::problem::{Kind, Problem};
use crate::rest::query::{self, Params, invalid};
use crate::rest::state::RestState;
use crate::rest::views::ClusterView;
use crate::rest::{body, etag, idempotency};
use crate::service::ServiceError;
use crate::service::change::WantedSpec;

/// Change a cluster: send the whole spec, and in `If-Match` the `ETag` of the cluster that you looked
/// at. A spec that says what holds already, on a cluster that is ready, is answered with 200 and the
/// cluster, and nothing is done; on one that is degraded or failed it is applied once more.
#[utoipa::path(put, path = "/v1/environments/{env}/clusters/{name}", tag = "clusters", request_body = ChangedCluster,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("If-Match" = String, Header, description = "The cluster's `ETag`, or `*` for whatever it is; required"),
        ("allow" = Option<String>, Query, description = "What the change may cost, separated by commas: `disruptive`, `loses_data` (which includes the other)"),
        ("plan_digest" = Option<String>, Query, description = "The `digest` of a plan: refused if anything would not be as it showed. Allows what the plan showed to be disruptive"),
        crate::rest::openapi::IdempotencyHeader),
    responses(
        (status = 200, description = "Nothing to do: the cluster is as the spec says", body = ClusterView, headers(("ETag" = String, description = "Its revision"))),
        (status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn update(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Operator, &environment)?;
    let params = Params::read(request.uri(), &["allow", "plan_digest"])?;
    let consent = Consent::read(&params)?;
    let (parts, body) = request.into_parts();
    let revision = required_match(&parts.headers)?;
    let document = body::json(&parts.headers, body, state.limits.cluster_body_bytes).await?;
    let asked = json!([document, revision, params.text("allow"), params.text("plan_digest")]);
    let key = idempotency::key(&state, &parts.headers, &format!("change {environment}/{name}"), &asked)?;
    // Before anything is weighed: the first request has moved the revision on.
    if let Some(receipt) = state.service.repeated(caller.actor(), key.as_ref()).await? {
        return accepted(&state, &receipt, Vec::new()).await;
    }
    let present = state.service.present(&environment, &name).await?;
    if revision.is_some_and(|revision| revision != present.cluster.revision) {
        return Err(ServiceError::Changed(present.cluster.revision).into());
    }
    let weighed = weigh(&state, present, &document).await?;
    consent.check(&weighed)?;
    if weighed.changes.is_empty() && weighed.present.is_reached() {
        return Ok(unchanged(&weighed.present.cluster));
    }
    let Weighed { present, spec, changes, warnings, .. } = weighed;
    let wanted = WantedSpec { present, spec, warnings: wanted::words(&warnings), detail: summary(&changes) };
    let receipt = state.service.reconfigure(caller.actor(), wanted, key).await?;
    accepted(&state, &receipt, warnings).await
}

fn required_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    if headers.contains_key(header::IF_MATCH) {
        return if_match(headers);
    }
    Err(Problem::parameter(Kind::MatchRequired, "If-Match", "is required: whose changes would you overwrite?"))
}

fn unchanged(cluster: &Cluster) -> Response {
    ([(header::ETAG, etag(cluster.revision))], Json(ClusterView::from(cluster))).into_response()
}

/// What a change comes to, for the audit.
fn summary(changes: &[Change]) -> String {
    let said = |change: &Change| format!("{} {}", change.class, change.pointer);
    let (shown, rest) = changes.split_at(changes.len().min(20));
    let mut words: Vec<String> = shown.iter().map(said).collect();
    if !rest.is_empty() {
        words.push(format!("and {} more", rest.len()));
    }
    if words.is_empty() { "the same spec again".into() } else { words.join(", ") }
}

/// What the sender agrees to.
struct Consent {
    allowed: ChangeClass,
    digest: Option<String>,
}

impl Consent {
    fn read(params: &Params) -> Result<Self, Problem> {
        let mut allowed = ChangeClass::Safe;
        for word in params.text("allow").into_iter().flat_map(|text| text.split(',')) {
            let class = [ChangeClass::Disruptive, ChangeClass::LosesData].into_iter().find(|c| c.as_str() == word);
            let class =
                class.ok_or_else(|| invalid("allow", "must be `disruptive`, `loses_data`, or both with a comma"))?;
            allowed = allowed.max(class);
        }
        let digest = params.text("plan_digest").map(ToOwned::to_owned);
        Ok(Self { allowed, digest })
    }

    fn check(&self, weighed: &Weighed) -> Result<(), Problem> {
        if self.digest.as_ref().is_some_and(|digest| *digest != weighed.digest) {
            let detail = "the cluster, the spec or the agent's rke is not what the plan was made of";
            return Err(Problem::new(Kind::PlanChanged, detail));
        }
        let of = |class: ChangeClass| weighed.changes.iter().filter(move |change| change.class >= class);
        if worst(&weighed.changes) == Some(ChangeClass::Impossible) {
            let faults = faults(of(ChangeClass::Impossible));
            return Err(Problem::mistakes(Kind::Impossible, "the cluster cannot become this", faults));
        }
        if !weighed.refused.is_empty() {
            return Err(ServiceError::Policy(weighed.refused.clone()).into());
        }
        let seen = if self.digest.is_some() { ChangeClass::Disruptive } else { ChangeClass::Safe };
        let allowed = self.allowed.max(seen);
        match worst(&weighed.changes).filter(|worst| *worst > allowed) {
            None => Ok(()),
            Some(class) => {
                let detail = format!("it needs `allow={class}`");
                let above = weighed.changes.iter().filter(|change| change.class > allowed);
                Err(Problem::mistakes(Kind::ConsentRequired, detail, faults(above)))
            }
        }
    }
}

fn faults<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<Fault> {
    let fault = |change: &Change| Fault {
        pointer: format!("/spec{}", change.pointer),
        detail: format!("{}: {}", change.class, change.because),
    };
    changes.map(fault).collect()
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::run::RunOutcome;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::plan::policy::{Policy, Rule};
    use crate::rest::testing::{Answer, World, changed};
    use crate::store::conformance::house::failure;

    const WEB: &str = "/v1/environments/prod/clusters/web";

    async fn put(world: &World, query: &str, etag: &str, body: &Value) -> Answer {
        world.ask(Method::PUT, &format!("{WEB}{query}")).header("if-match", etag).json(body).send().await
    }

    fn with_worker() -> Value {
        changed(|spec| {
            spec["nodes"].as_array_mut().unwrap().push(json!({"address": "10.0.0.2", "roles": ["worker"]}));
        })
    }

    fn without_snapshots() -> Value {
        changed(|spec| spec["etcd_snapshots"] = json!({"enabled": false}))
    }

    fn without_ingress() -> Value {
        changed(|spec| spec["addons"] = json!({"ingress": false}))
    }

    #[tokio::test]
    async fn a_safe_change_is_recorded_with_what_it_changes() {
        let world = World::new().await;
        world.ready("web").await;
        let answer = put(&world, "", "\"1\"", &with_worker()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["operation"]["kind"], &body["operation"]["state"]),
            (&"reconfigure".into(), &"queued".into())
        );
        assert_eq!(answer.header("location"), format!("/v1/operations/{}", body["operation"]["id"].as_str().unwrap()));
        assert_eq!((&body["cluster"]["revision"], &body["cluster"]["nodes"]), (&2.into(), &2.into()));
        let audit = world.audit().await.pop().unwrap();
        assert_eq!((audit.action.as_str(), audit.detail.as_str()), ("cluster.reconfigure", "safe /nodes/1"));
        let busy = put(&world, "", "\"2\"", &changed(|_| {})).await;
        assert_eq!(busy.problem(), "consent-required", "a node would go");
        let busy = put(&world, "?allow=disruptive", "\"2\"", &changed(|_| {})).await;
        assert_eq!((busy.status, busy.problem().as_str()), (StatusCode::CONFLICT, "cluster-busy"));
    }

    #[tokio::test]
    async fn hostile_row_07_a_password_that_is_not_sent_again_stays_and_is_never_shown() {
        let world = World::new().await;
        world.ready("web").await;
        let mut body = with_worker();
        body["spec"]["private_registries"][0]["password"] = json!("***");
        let answer = put(&world, "", "\"1\"", &body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let revisions = world.get(&format!("{WEB}/revisions")).await.text();
        for text in [answer.text(), revisions, world.get(WEB).await.text(), format!("{:?}", world.audit().await)] {
            assert!(!text.contains("canary"), "{text}");
        }
        let environment = "prod".parse().unwrap();
        let present = world.house.store.present_cluster(&environment, &"web".parse().unwrap()).await.unwrap().unwrap();
        let sealed = String::from_utf8_lossy(&present.sealed_secrets.unwrap()).chars().rev().collect::<String>();
        assert!(sealed.contains("canary-secret-42"), "the stored password goes on");
        body["spec"]["private_registries"][0] = json!({"url": "elsewhere.example", "user": "u", "password": "***"});
        let refused = put(&world, "", "\"2\"", &body).await;
        assert_eq!(refused.pointers(), ["/spec/private_registries/0/password"], "nothing is stored for another place");
    }

    #[tokio::test]
    async fn a_change_must_say_what_it_saw() {
        let world = World::new().await;
        world.ready("web").await;
        let blind = world.ask(Method::PUT, WEB).json(&with_worker()).send().await;
        assert_eq!((blind.status, blind.problem().as_str()), (StatusCode::PRECONDITION_REQUIRED, "if-match-required"));
        let stale = put(&world, "", "\"7\"", &with_worker()).await;
        assert_eq!((stale.status, stale.header("etag")), (StatusCode::PRECONDITION_FAILED, "\"1\""));
        assert_eq!(put(&world, "", "1", &with_worker()).await.problem(), "invalid-parameter");
        assert_eq!(put(&world, "?allow=impossible", "\"1\"", &with_worker()).await.problem(), "invalid-parameter");
        assert_eq!(put(&world, "", "*", &with_worker()).await.status, StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn what_a_change_costs_must_be_allowed() {
        let world = World::new().await;
        world.ready("web").await;
        let refused = put(&world, "", "\"1\"", &without_ingress()).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "consent-required")
        );
        assert_eq!(refused.pointers(), ["/spec/addons/ingress"]);
        assert!(refused.text().contains("allow=disruptive"));
        for (query, accepted) in [("", false), ("?allow=disruptive", false), ("?allow=disruptive,loses_data", true)] {
            let answer = put(&world, query, "\"1\"", &without_snapshots()).await;
            assert_eq!(answer.status == StatusCode::ACCEPTED, accepted, "{query}: {}", answer.text());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_whatever_is_allowed() {
        let world = World::new().await;
        world.ready("web").await;
        let body = changed(|spec| {
            spec["network"] = json!({"plugin": "calico", "pod_cidr": "10.99.0.0/16"});
            spec["nodes"][0]["address"] = json!("10.0.0.9");
            spec["addons"] = json!({"ingress": false});
        });
        let answer = put(&world, "?allow=disruptive,loses_data", "\"1\"", &body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "impossible-change"));
        assert_eq!(answer.pointers(), ["/spec/nodes", "/spec/nodes", "/spec/network/plugin", "/spec/network/pod_cidr"]);
        assert_eq!(world.get(WEB).await.json()["revision"], 1);
    }

    #[tokio::test]
    async fn a_plan_that_was_seen_allows_what_it_showed_and_nothing_else() {
        let world = World::new().await;
        world.ready("web").await;
        let digest = |body: Value| {
            let ask = world.ask(Method::POST, &format!("{WEB}/plan")).json(&body);
            async move { ask.send().await.json()["digest"].as_str().unwrap().to_owned() }
        };
        let seen = digest(without_ingress()).await;
        let other = put(&world, &format!("?plan_digest={seen}"), "\"1\"", &without_snapshots()).await;
        assert_eq!((other.status, other.problem().as_str()), (StatusCode::CONFLICT, "plan-changed"));
        let costly = digest(without_snapshots()).await;
        let costly = put(&world, &format!("?plan_digest={costly}"), "\"1\"", &without_snapshots()).await;
        assert_eq!(costly.problem(), "consent-required", "losing data is allowed by name only");
        let accepted = put(&world, &format!("?plan_digest={seen}"), "*", &without_ingress()).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text());
        let id = accepted.json()["operation"]["id"].as_str().unwrap().to_owned();
        world.ask(Method::POST, &format!("/v1/operations/{id}/cancel")).send().await;
        let late = put(&world, &format!("?plan_digest={seen}"), "*", &without_ingress()).await;
        assert_eq!(late.problem(), "plan-changed", "the revision moved on since");
    }

    #[tokio::test]
    async fn what_holds_already_is_nothing_to_do_and_is_applied_again_where_it_does_not_hold() {
        let world = World::new().await;
        let work = world.ready("web").await;
        let same = put(&world, "", "\"1\"", &changed(|_| {})).await;
        assert_eq!((same.status, same.header("etag")), (StatusCode::OK, "\"1\""));
        assert_eq!((&same.json()["phase"], same.header("location")), (&json!("ready"), ""));
        put(&world, "", "\"1\"", &with_worker()).await;
        let task = world.house.lease_one(work.bastion).await;
        world.house.start(work.bastion, &task).await;
        let outcome = RunOutcome::Failed(failure(cratekube_common::domain::failure::FailureClass::Docker));
        world.house.settle(work.bastion, world.house.report(&task, outcome)).await;
        assert_eq!(world.get(WEB).await.json()["phase"], "degraded");
        let again = put(&world, "", "\"2\"", &with_worker()).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
        assert_eq!(again.json()["cluster"]["revision"], 2);
        assert_eq!(world.audit().await.pop().unwrap().detail, "the same spec again");
    }

    #[tokio::test]
    async fn hostile_row_26_a_repeated_change_is_one_although_the_revision_moved_on() {
        let world = World::new().await;
        world.ready("web").await;
        let send = |body: Value| {
            let ask =
                world.ask(Method::PUT, WEB).header("if-match", "\"1\"").header("idempotency-key", "k-1").json(&body);
            ask.send()
        };
        let first = send(with_worker()).await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
        let second = send(with_worker()).await;
        assert_eq!((second.status, second.header("location")), (StatusCode::ACCEPTED, first.header("location")));
        assert_eq!(second.header("idempotency-replayed"), "true");
        assert_eq!(send(without_ingress()).await.problem(), "idempotency-key-reused");
    }

    #[tokio::test]
    async fn a_policy_refuses_a_change() {
        let strict = Rule { allow_extended_life: Some(false), ..Rule::default() };
        let world = World::under(Policy { default: strict, environments: Vec::new() }).await;
        world.ready("web").await;
        let mut versions = crate::store::conformance::house::facts(world.house.id());
        versions.kubernetes_versions.push("v1.31.14-rancher1-1".into());
        let bastion = world.house.bastion("bastion-2", "*").await;
        let mut connection = world.house.connection(bastion, Vec::new());
        connection.facts = versions;
        world.house.store.connect_agent(connection).await.unwrap();
        let upgrade = changed(|spec| spec["kubernetes_version"] = json!("v1.31.14-rancher1-1"));
        let refused = put(&world, "?allow=disruptive", "\"1\"", &upgrade).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "refused-by-policy")
        );
        let mirrored = changed(|spec| {
            spec["kubernetes_version"] = json!("v1.31.14-rancher1-1");
            spec["private_registries"][0]["is_default"] = json!(true);
        });
        let accepted = put(&world, "?allow=disruptive", "\"1\"", &mirrored).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text());
    }
}
