//! `POST /v1/environments/{env}/clusters/{name}/kubeconfig`: access to a cluster, for a while.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use cratekube_common::domain::cluster::access::{AccessRole, DEFAULT_TTL, KubeconfigRequest, MAX_TTL, MIN_TTL};
use cratekube_common::domain::cluster::resource::DEFAULT_NAMESPACE;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName, check_label};
use cratekube_common::intake::{Field, Notes, Object};
use cratekube_common::runtime::settings::parse_duration;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::{body, reason};
use crate::service::kubeconfig::WantedKubeconfig;

/// Longest body: four short fields.
const BODY_BYTES: usize = 16 * 1024;

/// What kind of access is wanted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KubeconfigRequest)]
pub(in crate::rest) struct WantedAccess {
    /// `view` (a viewer may ask for it), `edit` or `admin` (an operator), all three in one namespace; or
    /// `cluster-admin` (an administrator of the environment, with a reason).
    #[schema(example = "edit")]
    role: String,
    /// In which namespace, `workspace` when absent; not for `cluster-admin`.
    namespace: Option<String>,
    /// How long it lives, `10m` to `24h`, four hours when absent; not for `cluster-admin`, which lives as long as
    /// the cluster's CA.
    #[schema(example = "8h")]
    ttl: Option<String>,
    /// Why; required for `cluster-admin`, and kept in the audit log.
    reason: Option<String>,
}

/// A kubeconfig. It is kept nowhere: ask for another one when it is lost.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct KubeconfigAnswer {
    /// The text of the file.
    kubeconfig: String,
    role: &'static str,
    namespace: Option<String>,
    /// When its token ends; the cluster may have allowed less than was asked for.
    expires_at: String,
}

/// Get a kubeconfig that is good for a while. It is made by the cluster's agent while you wait (503 while
/// the agent is not connected), passes through, and is stored nowhere. The one for `cluster-admin` lives as
/// long as the cluster's CA, and marks the cluster (`admin-kubeconfig-issued`) until that is rotated.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/kubeconfig", tag = "clusters",
    request_body = WantedAccess,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster")),
    responses((status = 200, description = "The kubeconfig", body = KubeconfigAnswer)))]
pub(in crate::rest) async fn kubeconfig(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Json<KubeconfigAnswer>, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Viewer, &environment)?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, BODY_BYTES).await?;
    let (request, reason) = read(&document)?;
    caller.require(request.role.needs(), &environment)?;
    let role = request.role.as_str();
    let namespace = (!request.namespace.is_empty()).then(|| request.namespace.clone());
    let wanted = WantedKubeconfig { environment, name, request, reason };
    let issued = state.service.kubeconfig(caller.actor(), wanted).await?;
    let (kubeconfig, expires_at) = (issued.kubeconfig.expose().to_owned(), issued.expires_at.to_string());
    Ok(Json(KubeconfigAnswer { kubeconfig, role, namespace, expires_at }))
}

fn read(document: &Value) -> Result<(KubeconfigRequest, Option<String>), Problem> {
    let notes = Notes::default();
    let made = Field::root(document, &notes).object().and_then(|mut object| {
        let role: Option<AccessRole> = object.field("role").required().parse();
        let namespace = namespace(&mut object, role);
        let ttl = ttl(&mut object, role);
        let reason = match role {
            Some(AccessRole::ClusterAdmin) => reason::read(&mut object).map(Some),
            _ if object.field("reason").is_present() => reason::read(&mut object).map(Some),
            _ => Some(None),
        };
        object.finish();
        Some((KubeconfigRequest { role: role?, namespace: namespace?, ttl: ttl? }, reason?))
    });
    let faults = notes.into_faults();
    made.filter(|_| faults.is_acceptable()).ok_or_else(|| Problem::validation(faults.errors))
}

/// The namespace that goes with a role; empty where none does.
fn namespace(object: &mut Object<'_>, role: Option<AccessRole>) -> Option<String> {
    let field = object.field("namespace");
    match (role, field.is_present()) {
        (Some(AccessRole::ClusterAdmin), true) => {
            field.error("is not for `cluster-admin`, which is good everywhere: leave it out");
            None
        }
        (Some(AccessRole::ClusterAdmin), false) => Some(String::new()),
        (_, false) => Some(DEFAULT_NAMESPACE.to_owned()),
        (_, true) => {
            let name = field.string()?;
            field.check(check_label(name).map(|()| name.to_owned()))
        }
    }
}

fn ttl(object: &mut Object<'_>, role: Option<AccessRole>) -> Option<Duration> {
    let field = object.field("ttl");
    if !field.is_present() {
        return Some(DEFAULT_TTL);
    }
    if role == Some(AccessRole::ClusterAdmin) {
        field.error("is not for `cluster-admin`, which only a rotation of the cluster's CA ends: leave it out");
        return None;
    }
    let ttl = field.check(parse_duration(field.string()?))?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Some(ttl);
    }
    field.error("must be from `10m` to `24h`: ask for another one then");
    None
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::cluster::access::IssuedKubeconfig;
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::query::QueryKind;
    use cratekube_common::domain::run::RunOutcome;
    use cratekube_common::domain::secret::Secret;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use super::*;
    use crate::rest::testing::{Agent, Answer, World};
    use crate::store::EventFilter;
    use crate::store::conformance::house::{Bastion, failure};

    const KUBECONFIG: &str = "/v1/environments/prod/clusters/web/kubeconfig";
    const TOKEN: &str = "canary-token-4711";

    async fn world() -> (World, Bastion, Agent) {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        let agent = world.connect(bastion, vec![QueryKind::Kubeconfig]).await;
        (world, bastion, agent)
    }

    fn edit() -> Value {
        json!({"role": "edit", "namespace": "shop", "ttl": "8h"})
    }

    async fn ask(world: &World, role: Role, body: &Value) -> Answer {
        world.ask_as(&world.token(role, "prod"), Method::POST, KUBECONFIG).json(body).send().await
    }

    /// Asks, and has the agent answer.
    async fn issued(world: &World, agent: &mut Agent, role: Role, body: &Value) -> (KubeconfigRequest, Answer) {
        let answering = async {
            let query = agent.asked().await;
            let expires_at = world.house.now().after(Duration::from_secs(60));
            let made = IssuedKubeconfig { kubeconfig: Secret::new(format!("token: {TOKEN}")), expires_at };
            agent.answer(&query, Ok(made.to_json()));
            KubeconfigRequest::from_json(&query.input).unwrap()
        };
        tokio::join!(answering, ask(world, role, body))
    }

    #[tokio::test]
    async fn a_kubeconfig_passes_through_and_is_kept_nowhere() {
        let (world, bastion, mut agent) = world().await;
        let (asked, answer) = issued(&world, &mut agent, Role::Operator, &edit()).await;
        assert_eq!((asked.role, asked.namespace.as_str()), (AccessRole::Edit, "shop"));
        assert_eq!(asked.ttl.as_secs(), 28_800);
        assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"), "{}", answer.text());
        let body = answer.json();
        assert_eq!((&body["kubeconfig"], &body["role"]), (&json!(format!("token: {TOKEN}")), &json!("edit")));
        assert_eq!(body["expires_at"], world.house.now().after(Duration::from_secs(60)).to_string());
        let entry = world.audit().await.pop().unwrap();
        assert_eq!((entry.action.as_str(), entry.object.as_str()), ("cluster.kubeconfig", "prod/web"));
        assert!(entry.detail.starts_with("role edit in shop until "), "{}", entry.detail);
        let cluster = world.get("/v1/environments/prod/clusters/web").await.json();
        assert!(!cluster["conditions"].to_string().contains("admin-kubeconfig"), "{cluster}");
        world.house.store.close().await;
        for file in std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let bytes = if file.is_file() { std::fs::read(&file).unwrap() } else { Vec::new() };
            let held = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
            assert!(!held, "{} has it", file.display());
        }
        assert_eq!(agent.connected.session, world.presence.of(bastion.agent).unwrap().session);
    }

    #[tokio::test]
    async fn hostile_row_22_a_role_in_the_environment_gives_no_more_than_its_own_in_the_cluster() {
        let (world, _, _agent) = world().await;
        for (role, wanted) in [
            (Role::Viewer, "edit"),
            (Role::Viewer, "admin"),
            (Role::Viewer, "cluster-admin"),
            (Role::Operator, "cluster-admin"),
        ] {
            let body = match wanted {
                "cluster-admin" => json!({"role": wanted, "reason": "x"}),
                wanted => json!({"role": wanted, "namespace": "shop"}),
            };
            let answer = ask(&world, role, &body).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::FORBIDDEN, "forbidden"),
                "{role} {wanted}"
            );
            assert!(world.audit().await.pop().unwrap().action.ends_with("/kubeconfig"), "and it is in the audit log");
        }
    }

    #[tokio::test]
    async fn hostile_row_28_one_for_administrators_needs_a_reason_and_marks_the_cluster_for_good() {
        let (world, bastion, mut agent) = world().await;
        let silent = ask(&world, Role::Admin, &json!({"role": "cluster-admin"})).await;
        assert_eq!(silent.pointers(), ["/reason"], "{}", silent.text());
        let body = json!({"role": "cluster-admin", "reason": "etcd is full"});
        let (asked, answer) = issued(&world, &mut agent, Role::Admin, &body).await;
        assert_eq!((asked.role, asked.namespace.as_str()), (AccessRole::ClusterAdmin, ""));
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(world.audit().await.pop().unwrap().detail.ends_with(": etcd is full"));
        let marks = async || {
            let cluster = world.get("/v1/environments/prod/clusters/web").await.json();
            let conditions = cluster["conditions"].as_array().unwrap().clone();
            conditions.iter().filter(|c| c["kind"] == "admin-kubeconfig-issued").count()
        };
        assert_eq!(marks().await, 1);
        issued(&world, &mut agent, Role::Admin, &body).await;
        assert_eq!(marks().await, 1, "once is enough");
        let changed = crate::rest::testing::changed(|spec| spec["nodes"][0]["labels"] = json!({"a": "b"}));
        let put = world.ask(Method::PUT, "/v1/environments/prod/clusters/web").header("if-match", "*");
        assert_eq!(put.json(&changed).send().await.status, StatusCode::ACCEPTED);
        let task = world.house.lease_rke(bastion).await;
        world.house.start(bastion, &task).await;
        world.house.settle(bastion, world.house.report(&task, RunOutcome::Succeeded)).await;
        world.house.take_steps(bastion, task.operation).await;
        assert_eq!(marks().await, 1, "neither a run of rke up nor a step takes anything back");
        let filter = EventFilter {
            environments: vec!["*".parse().unwrap()],
            kinds: vec!["cluster.kubeconfig-issued".into()],
            ..EventFilter::default()
        };
        let events = world.house.store.events(0, filter, 10).await.unwrap().items;
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].cluster.as_ref().unwrap().as_str(), "web");
    }

    #[tokio::test]
    async fn an_agent_that_is_away_or_too_old_is_told_of_and_nothing_is_recorded() {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        let before = world.audit().await.len();
        let away = ask(&world, Role::Operator, &edit()).await;
        assert_eq!((away.status, away.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "agent-away"));
        assert_eq!(away.header("retry-after"), "30");
        assert!(away.text().contains("agent bastion-1 is not connected"), "{}", away.text());
        let _old = world.connect(bastion, Vec::new()).await;
        let old = ask(&world, Role::Operator, &edit()).await;
        assert_eq!((old.status, old.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "agent-too-old"));
        assert!(old.text().contains("agent bastion-1 (version 0.1.0) does not answer"), "{}", old.text());
        assert_eq!(world.audit().await.len(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_cannot_or_does_not_answer_is_told_of_in_a_bounded_time() {
        let (world, _, mut agent) = world().await;
        let refusing = async {
            let query = agent.asked().await;
            agent.answer(&query, Err(failure(FailureClass::Unreachable)));
        };
        let ((), refused) = tokio::join!(refusing, async { ask(&world, Role::Operator, &edit()).await });
        assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::BAD_GATEWAY, "agent-could-not"));
        assert_eq!(refused.json()["failure"]["class"], "unreachable");
        let odd = async {
            let query = agent.asked().await;
            agent.answer(&query, Ok(Secret::new(format!("{TOKEN} is no JSON"))));
        };
        let ((), odd) = tokio::join!(odd, async { ask(&world, Role::Operator, &edit()).await });
        assert_eq!(odd.status, StatusCode::BAD_GATEWAY);
        assert!(!odd.text().contains(TOKEN), "{}", odd.text());
        let before = tokio::time::Instant::now();
        let silent = ask(&world, Role::Operator, &edit()).await;
        assert_eq!(silent.json()["failure"]["class"], "timeout", "{}", silent.text());
        assert_eq!(before.elapsed().as_secs(), 20, "simulated time");
    }

    #[tokio::test]
    async fn hostile_row_34_an_answer_counts_once_on_the_session_that_it_was_asked_on() {
        let (world, bastion, mut first) = world().await;
        let other = world.house.bastion("bastion-2", "*").await;
        let mut stranger = world.connect(other, vec![QueryKind::Kubeconfig]).await;
        let forged = || {
            let made = IssuedKubeconfig { kubeconfig: Secret::new("forged"), expires_at: world.house.now() };
            Ok(made.to_json())
        };
        let answering = async {
            let query = first.asked().await;
            stranger.answer(&query, forged());
            // The agent connects again: what was asked on the old session is not answered on the new one.
            let second = world.connect(bastion, vec![QueryKind::Kubeconfig]).await;
            second.answer(&query, forged());
            first.answer(&query, forged());
        };
        let ((), answer) = tokio::join!(answering, async { ask(&world, Role::Operator, &edit()).await });
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
        assert!(stranger.connected.orders.try_recv().is_err(), "and nobody else is asked");
    }

    #[tokio::test]
    async fn every_mistake_of_a_request_is_named_and_a_cluster_without_an_api_gives_no_access() {
        let (world, _, _agent) = world().await;
        for (body, pointers) in [
            (json!({}), vec!["/role"]),
            (json!({"role": "god"}), vec!["/role"]),
            (json!({"role": "view", "namespace": "../x", "ttl": "25h"}), vec!["/namespace", "/ttl"]),
            (json!({"role": "view", "namespace": "x", "ttl": "1s", "force": true}), vec!["/ttl", "/force"]),
            (json!({"role": "cluster-admin", "namespace": "x", "ttl": "1h"}), vec!["/namespace", "/ttl", "/reason"]),
            (json!({"role": "view", "namespace": "x", "reason": " "}), vec!["/reason"]),
        ] {
            let answer = ask(&world, Role::Admin, &body).await;
            assert_eq!(answer.pointers(), pointers, "{body}");
        }
        world.create("new").await;
        let early = world.ask(Method::POST, "/v1/environments/prod/clusters/new/kubeconfig").json(&edit()).send().await;
        assert_eq!((early.status, early.problem().as_str()), (StatusCode::CONFLICT, "not-allowed-now"));
        let none = world.ask(Method::POST, "/v1/environments/prod/clusters/none/kubeconfig").json(&edit()).send().await;
        assert_eq!(none.status, StatusCode::NOT_FOUND);
    }
}
