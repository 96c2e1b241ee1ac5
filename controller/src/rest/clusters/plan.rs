//! `POST /v1/environments/{env}/clusters/{name}/plan`: what a changed spec would do.
//!
//! The same weighing stands before a change: [`weigh`] is used by `update`, too. Operators only: a plan
//! tells whether a password is the stored one.

use aws_lc_rs::hmac;
use axum::Json;
use axum::extract::{Path, Request, State};
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::{ClusterSpec, Secrets};
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::intake::{Field, Notes};
use cratekube_common::rke::catalogue::Catalogue;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wanted;
use crate::plan::change::Change;
use crate::rest::body;
use crate::rest::caller::Caller;
use crate::rest::problem::{Mistake, Problem};
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::PlanView;
use crate::service::change::Present;
use crate::service::preflight::Preflight;

/// What a cluster is to become.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangedCluster)]
pub(in crate::rest) struct ChangedCluster {
    /// The whole spec; what is left out takes its default. But a registry that names a user and leaves
    /// its password out, or sends it masked (`***`), keeps the password stored under its URL.
    spec: crate::rest::openapi::Spec,
}

/// See what a changed spec would do: every difference with its class, the change of `cluster.yml`, what is
/// found on the hosts of the changed spec, and a digest under which exactly this can be asked for. Nothing is
/// recorded. The hosts are looked at while you wait, up to 20 seconds; where their agent cannot do it the plan
/// says why and holds all the rest.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters/{name}/plan", tag = "clusters", request_body = ChangedCluster,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("preflight" = Option<bool>, Query, description = "`false`: do not look at the hosts, and answer at once")),
    responses((status = 200, description = "What would happen", body = PlanView)))]
pub(in crate::rest) async fn plan(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Json<PlanView>, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Operator, &environment)?;
    let asked = Params::read(request.uri(), &["preflight"])?.flag_or("preflight", true)?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, state.limits.cluster_body_bytes).await?;
    let present = state.service.present(&environment, &name).await?;
    let weighed = weigh(&state, present, &document).await?;
    let preflight = match asked {
        true => state.service.preflight(&weighed.present, &weighed.spec).await,
        false => Preflight::NotRun,
    };
    Ok(Json(PlanView::of(&weighed, &preflight)))
}

/// A change, weighed against the cluster as it is.
#[derive(Debug)]
pub(in crate::rest) struct Weighed {
    /// The cluster as it is.
    pub(in crate::rest) present: Present,
    /// What it is to become.
    pub(in crate::rest) spec: ClusterSpec,
    /// The differences.
    pub(in crate::rest) changes: Vec<Change>,
    /// What will be regretted.
    pub(in crate::rest) warnings: Vec<Mistake>,
    /// Why the environment's policy refuses it.
    pub(in crate::rest) refused: Vec<String>,
    /// Names exactly this change of exactly this cluster by exactly this `rke`.
    pub(in crate::rest) digest: String,
}

/// Reads a changed spec and weighs it.
///
/// # Errors
/// 422 with every mistake in the spec.
pub(in crate::rest) async fn weigh(state: &RestState, present: Present, document: &Value) -> Result<Weighed, Problem> {
    let notes = Notes::default();
    read_shell(&Field::root(document, &notes));
    let read = |spec: &Value| intake::read_change(spec, &present.spec);
    let (spec, faults) = wanted::spec(state, document, notes.into_faults(), read).await?;
    let Some(spec) = spec.filter(|_| faults.is_acceptable()) else {
        return Err(Problem::validation(faults.errors));
    };
    let verdict = state.service.weigh_change(&present, &spec).await?;
    let changes = present.changes(&spec);
    let digest = digest(&state.mac_key, &present, &spec, &changes);
    let warnings = wanted::warnings(faults.warnings, verdict.warnings);
    Ok(Weighed { present, spec, changes, warnings, refused: verdict.refused, digest })
}

fn read_shell(root: &Field<'_>) {
    let Some(mut object) = root.object() else { return };
    let _ = object.field("spec").required().entries();
    object.finish();
}

/// Keyed, because the spec holds passwords, and a plain hash of one could be guessed offline.
fn digest(key: &hmac::Key, present: &Present, spec: &ClusterSpec, changes: &[Change]) -> String {
    let classes: Vec<_> = changes.iter().map(|change| (&change.pointer, change.class.as_str())).collect();
    let rke = present.rke.as_ref().map(|rke| (&rke.version, &rke.sha256));
    let message = json!([
        "cratekube/plan/v1",
        present.cluster.id,
        present.cluster.revision,
        spec.to_json(Secrets::Reveal),
        classes,
        rke,
        present.offered,
        Catalogue::get(),
    ]);
    data_encoding::HEXLOWER.encode(hmac::sign(key, message.to_string().as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::query::QueryKind;
    use cratekube_common::domain::secret::Secret;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::plan::policy::{Policy, Rule};
    use crate::rest::testing::{World, changed};
    use crate::store::conformance::house::failure;

    const WEB: &str = "/v1/environments/prod/clusters/web";
    const PLAN: &str = "/v1/environments/prod/clusters/web/plan";

    async fn plan(world: &World, body: &Value) -> Value {
        let answer = world.ask(Method::POST, PLAN).json(body).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    #[tokio::test]
    async fn a_plan_shows_every_change_its_class_the_diff_and_what_is_not_known() {
        let world = World::new().await;
        world.ready("web").await;
        let body = changed(|spec| {
            spec["nodes"].as_array_mut().unwrap().push(json!({"address": "10.0.0.2", "roles": ["worker"]}));
            spec["network"] = json!({"pod_cidr": "10.99.0.0/16"});
            spec["profile"] = json!("cis");
        });
        let mut plan = plan(&world, &body).await;
        assert_eq!(plan["cluster"]["revision"], 1);
        assert_eq!(plan["digest"].as_str().unwrap().len(), 64);
        for varying in ["digest", "cluster"] {
            plan[varying].take();
        }
        insta::assert_json_snapshot!("plan", plan);
        assert_eq!(world.get(WEB).await.json()["revision"], 1, "nothing was recorded");
        assert!(world.audit().await.iter().all(|entry| !entry.action.contains("plan")));
    }

    #[tokio::test]
    async fn the_same_spec_changes_nothing_and_the_digest_names_everything() {
        let world = World::new().await;
        world.ready("web").await;
        let same = plan(&world, &changed(|_| {})).await;
        assert_eq!((&same["class"], &same["changes"], &same["diff"]), (&Value::Null, &json!([]), &json!("")));
        let masked = plan(&world, &changed(|spec| spec["private_registries"][0]["password"] = json!("***"))).await;
        assert_eq!(masked, same, "a masked password is the stored one");
        let other =
            plan(&world, &changed(|spec| spec["private_registries"][0]["password"] = json!("canary-new"))).await;
        assert_eq!(other["changes"][0]["pointer"], "/spec/private_registries/0/password");
        assert_ne!(other["digest"], same["digest"], "also what is not shown is named");
        assert_eq!((&other["diff"], &other["changes"][0]["to"]), (&json!(""), &json!("***")));
        assert!(!other.to_string().contains("canary"), "{other}");
    }

    #[tokio::test]
    async fn mistakes_are_named_and_others_see_nothing() {
        let world = World::new().await;
        world.ready("web").await;
        let bad = changed(|spec| {
            spec["nodes"][0]["roles"] = json!(["boss"]);
            spec["kubernetes_version"] = json!("v1.31.4-rancher1-1");
        });
        let answer = world.ask(Method::POST, PLAN).json(&bad).send().await;
        assert_eq!(answer.problem(), "validation");
        let pointers = answer.pointers();
        assert!(pointers.contains(&"/spec/nodes/0/roles/0".to_owned()), "{pointers:?}");
        assert!(pointers.contains(&"/spec/kubernetes_version".to_owned()), "{pointers:?}");
        let stray = world.ask(Method::POST, PLAN).json(&json!({"spec": {}, "revision": 9})).send().await;
        assert!(stray.pointers().contains(&"/revision".to_owned()));
        let viewer = world.token(Role::Viewer, "prod");
        let answer = world.ask_as(&viewer, Method::POST, PLAN).json(&changed(|_| {})).send().await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "a plan would tell whether a password is right");
        let none = world.ask(Method::POST, "/v1/environments/prod/clusters/none/plan").json(&changed(|_| {}));
        assert_eq!(none.send().await.problem(), "not-found");
    }

    fn two_nodes() -> Value {
        changed(|spec| {
            spec["nodes"].as_array_mut().unwrap().push(json!({"address": "10.0.0.2", "roles": ["worker"]}));
        })
    }

    /// What an agent that looked at both hosts says: the second one is not ready.
    fn looked() -> Secret {
        let ssh = |result: &str, more: Value| {
            let mut check = json!({"name": "ssh", "result": result, "detail": "port 22 is \u{1b}[2J"});
            for (key, value) in more.as_object().unwrap() {
                check[key] = value.clone();
            }
            json!([check])
        };
        let bad = ssh("failed", json!({"class": "unreachable", "remedy": "See that sshd runs."}));
        let failure = json!({"class": "unreachable", "message": "1 of 2 hosts are not ready", "line": null,
            "retryable": true, "remedy": "See that sshd runs."});
        let hosts =
            json!([{"address": "10.0.0.1", "checks": ssh("ok", json!({}))}, {"address": "10.0.0.2", "checks": bad}]);
        Secret::new(json!({"failure": failure, "hosts": hosts}).to_string())
    }

    #[tokio::test]
    async fn the_hosts_of_the_changed_spec_are_looked_at_by_their_agent_and_the_digest_is_none_the_wiser() {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        let mut agent = world.connect(bastion, vec![QueryKind::Preflight]).await;
        let body = two_nodes();
        let answering = async {
            let query = agent.asked().await;
            agent.answer(&query, Ok(looked()));
            query
        };
        let (query, found) = tokio::join!(answering, plan(&world, &body));
        assert_eq!(query.kind, QueryKind::Preflight);
        assert_eq!(query.input["spec"]["nodes"][1]["address"], "10.0.0.2");
        assert!(!query.input.to_string().contains("canary"), "passwords stay here: {}", query.input);
        let preflight = &found["preflight"];
        assert_eq!((&preflight["state"], &preflight["why"]), (&json!("failed"), &Value::Null));
        assert_eq!(preflight["failure"]["class"], "unreachable");
        assert_eq!(preflight["hosts"][0]["checks"][0]["result"], "ok");
        assert_eq!(preflight["hosts"][1]["checks"][0]["remedy"], "See that sshd runs.");
        assert!(!found.to_string().contains("\\u001b"), "what hosts say is harmless to look at");
        let unasked = world.ask(Method::POST, &format!("{PLAN}?preflight=false")).json(&body).send().await.json();
        let none = json!({"state": "not run", "why": null, "failure": null, "hosts": []});
        assert_eq!((&unasked["preflight"], &unasked["digest"]), (&none, &found["digest"]));
        assert!(agent.connected.orders.try_recv().is_err(), "nobody is asked then");
        let odd = world.ask(Method::POST, &format!("{PLAN}?preflight=perhaps")).json(&body).send().await;
        assert_eq!(odd.problem(), "invalid-parameter");
        assert!(world.audit().await.iter().all(|entry| !entry.action.contains("plan")), "nothing was recorded");
    }

    #[tokio::test(start_paused = true)]
    async fn a_plan_is_answered_also_when_the_hosts_cannot_be_looked_at_and_says_why() {
        let world = World::new().await;
        let bastion = world.ready("web").await.bastion;
        let unavailable = |plan: &Value, why: &str| {
            let preflight = &plan["preflight"];
            assert_eq!((&preflight["state"], &preflight["hosts"]), (&json!("unavailable"), &json!([])));
            assert!(preflight["why"].as_str().unwrap().contains(why), "{preflight:#}");
        };
        let body = two_nodes();
        let away = plan(&world, &body).await;
        unavailable(&away, "agent bastion-1 is not connected");
        let old = world.connect(bastion, Vec::new()).await;
        unavailable(&plan(&world, &two_nodes()).await, "does not answer questions of the kind preflight");
        drop(old);
        let mut agent = world.connect(bastion, vec![QueryKind::Preflight]).await;
        for (answer, why) in [
            (Err(failure(FailureClass::Config)), failure(FailureClass::Config).message.as_str()),
            (Ok(Secret::new("canary")), "the agent's answer cannot be read"),
            (
                Ok(Secret::new(r#"{"failure": null, "hosts": [{"address": "canary", "checks": "x"}]}"#)),
                "cannot be read",
            ),
        ] {
            let answering = async {
                let query = agent.asked().await;
                agent.answer(&query, answer);
            };
            let ((), found) = tokio::join!(answering, plan(&world, &body));
            unavailable(&found, why);
            assert_eq!((&found["digest"], &found["changes"]), (&away["digest"], &away["changes"]));
            assert!(!found.to_string().contains("canary"), "{found}");
        }
        let before = tokio::time::Instant::now();
        unavailable(&plan(&world, &two_nodes()).await, "did not answer within 20 s");
        assert_eq!(before.elapsed().as_secs(), 20, "simulated time");
    }

    #[tokio::test]
    async fn a_policy_is_said_in_the_plan() {
        let rule = Rule { allow_extended_life: Some(false), ..Rule::default() };
        let world = World::under(Policy { default: rule, environments: Vec::new() }).await;
        world.ready("web").await;
        let plan = plan(&world, &changed(|_| {})).await;
        assert_eq!(plan["refused"], json!([]));
    }
}
