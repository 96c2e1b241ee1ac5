//! `POST /v1/environments/{env}/clusters`: asks for a cluster.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::intake::{Fault, Field, Notes};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Accepted, accepted, wanted};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::state::RestState;
use crate::rest::{body, idempotency, query};
use crate::service::ServiceError;
use crate::service::clusters::WantedCluster;

/// A cluster that is wanted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewCluster)]
pub(in crate::rest) struct NewCluster {
    /// Its name within the environment: an RFC 1123 label.
    #[schema(example = "web", min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: String,
    /// Whether a removal is refused until this is taken away; `false` when absent.
    deletion_protection: Option<bool>,
    /// What it is to be.
    spec: crate::rest::openapi::Spec,
}

/// Ask for a cluster. It is recorded when you are answered; watch the operation for the rest.
#[utoipa::path(post, path = "/v1/environments/{env}/clusters", tag = "clusters", request_body = NewCluster,
    params(("env" = String, Path, description = "Environment"), crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn create(
    State(state): State<RestState>,
    caller: Caller,
    Path(env): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    caller.require(Role::Operator, &environment)?;
    query::Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, state.limits.cluster_body_bytes).await?;
    let key = idempotency::key(&state, &parts.headers, &format!("create {environment}"), &document)?;
    let (Shell { name, deletion_protection }, spec, warnings) = read(&state, &document).await?;
    let verdict = state.service.weigh_new(&environment, &spec).await?;
    if !verdict.refused.is_empty() {
        return Err(ServiceError::Policy(verdict.refused).into());
    }
    let warnings = wanted::warnings(warnings, verdict.warnings);
    let wanted = WantedCluster { environment, name, deletion_protection, spec, warnings: wanted::words(&warnings) };
    let receipt = state.service.provision(caller.actor(), wanted, key).await?;
    accepted(&state, &receipt, warnings).await
}

/// Reads the whole document and finds every mistake in it, the version's too.
async fn read(state: &RestState, document: &Value) -> Result<(Shell, ClusterSpec, Vec<Fault>), Problem> {
    let notes = Notes::default();
    let shell = read_shell(&Field::root(document, &notes));
    let (spec, faults) = wanted::spec(state, document, notes.into_faults(), intake::read).await?;
    match (shell, spec) {
        (Some(shell), Some(spec)) if faults.is_acceptable() => Ok((shell, spec, faults.warnings)),
        _ => Err(Problem::validation(faults.errors)),
    }
}

/// What stands around the spec.
struct Shell {
    name: ClusterName,
    deletion_protection: bool,
}

fn read_shell(root: &Field<'_>) -> Option<Shell> {
    let mut object = root.object()?;
    let name = object.field("name").required().parse();
    let deletion_protection = object.field("deletion_protection").boolean().unwrap_or(false);
    let _ = object.field("spec").required().entries();
    object.finish();
    Some(Shell { name: name?, deletion_protection })
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::run::RkeBinary;
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::plan::policy::{Policy, Rule};

    use crate::rest::testing::{World, wanted};

    const CLUSTERS: &str = "/v1/environments/prod/clusters";

    #[tokio::test]
    async fn a_cluster_is_recorded_and_the_answer_says_where_to_watch() {
        let world = World::new().await;
        let answer = world.ask(Method::POST, CLUSTERS).header("x-request-id", "r-1").json(&wanted("web")).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let body = answer.json();
        let id = body["operation"]["id"].as_str().unwrap();
        assert_eq!(answer.header("location"), format!("/v1/operations/{id}"));
        assert_eq!(body["operation"]["state"], "queued");
        assert_eq!(body["cluster"]["name"], "web");
        assert_eq!(body["warnings"][0]["pointer"], "/spec/kubernetes_version");
        let audit = world.audit().await;
        assert_eq!((audit[0].action.as_str(), audit[0].object.as_str()), ("cluster.provision", "prod/web"));
        assert_eq!((audit[0].actor.as_str(), audit[0].request_id.as_str()), ("ann", "r-1"));
        tokio::time::timeout(std::time::Duration::from_secs(1), world.watch.work()).await.unwrap();
    }

    #[tokio::test]
    async fn hostile_row_07_a_password_is_sealed_and_never_shown_or_kept_as_it_is() {
        let world = World::new().await;
        let answer = world.ask(Method::POST, CLUSTERS).json(&wanted("web")).send().await;
        let shown =
            [answer.text(), world.get(&format!("{CLUSTERS}/web")).await.text(), world.get(CLUSTERS).await.text()];
        for text in &shown {
            assert!(!text.contains("canary-secret"), "{text}");
        }
        assert_eq!(answer.json()["cluster"]["spec"]["private_registries"][0]["password"], "***");
        let holds = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        let mut sealed = false;
        for file in std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let bytes = if file.is_file() { std::fs::read(&file).unwrap() } else { Vec::new() };
            assert!(!holds(&bytes, b"canary-secret"), "{}", file.display());
            sealed |= holds(&bytes, b"24-terces-yranac");
        }
        assert!(sealed, "what the vault made of it is kept");
    }

    #[tokio::test]
    async fn a_version_whose_images_need_a_subscription_is_named_or_refused_before_an_hour_is_lost() {
        let mut body = wanted("web");
        body["spec"]["kubernetes_version"] = json!("v1.32.13-rancher1-2");
        let world = World::new().await;
        let answer = world.ask(Method::POST, CLUSTERS).json(&body).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let warnings = answer.json()["warnings"].to_string();
        assert!(warnings.contains("Extended Life"), "{warnings}");
        let kept = answer.json()["operation"]["warnings"].to_string();
        assert!(kept.contains("Extended Life"), "{kept}");
        let rule = Rule { allow_extended_life: Some(false), ..Rule::default() };
        let strict = World::under(Policy { default: rule, environments: Vec::new() }).await;
        let refused = strict.ask(Method::POST, CLUSTERS).json(&body).send().await;
        assert_eq!(refused.problem(), "refused-by-policy");
        assert!(strict.house.store.environments().await.unwrap().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn an_rke_below_the_floor_is_named_or_refused() {
        let floor = Rule { refuse_below_floor: true, ..Rule::default() };
        for (policy, status) in [(Rule::default(), StatusCode::ACCEPTED), (floor, StatusCode::UNPROCESSABLE_ENTITY)] {
            let world = World::under(Policy { default: policy, environments: Vec::new() }).await;
            let bastion = world.house.bastion("bastion-1", "prod").await;
            let mut connection = world.house.connection(bastion, Vec::new());
            let rke = RkeBinary { version: "v1.4.18".into(), sha256: "00".into(), rehearsal: false };
            connection.facts.rke = Some(rke);
            world.house.store.connect_agent(connection).await.unwrap();
            let answer = world.ask(Method::POST, CLUSTERS).json(&wanted("web")).send().await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(answer.text().contains("CVE-2023-32191"), "{}", answer.text());
        }
    }

    #[tokio::test]
    async fn an_rke_below_the_floor_that_takes_the_work_later_is_refused_then() {
        let floor = Rule { refuse_below_floor: true, ..Rule::default() };
        let world = World::under(Policy { default: floor, environments: Vec::new() }).await;
        let id = world.create("web").await;
        let bastion = world.house.bastion("bastion-1", "prod").await;
        let rke = RkeBinary { version: "v1.4.18".into(), sha256: "00".into(), rehearsal: false };
        let mut agent = world.connect_with(bastion, Vec::new(), Some(rke)).await;
        agent.ready().await;
        let operation = world.get(&format!("/v1/operations/{id}")).await.json();
        assert_eq!((&operation["state"], &operation["failure"]["class"]), (&json!("failed"), &json!("config")));
        assert!(operation["failure"]["message"].as_str().unwrap().contains("CVE-2023-32191"), "{operation}");
        let told = agent.connected.orders.try_recv();
        assert!(!matches!(told, Ok(crate::service::conversation::Order::Assign(_))), "nothing is sent: {told:?}");
    }

    #[tokio::test]
    async fn every_mistake_is_named_at_once_with_its_place() {
        let world = World::new().await;
        world.house.bastion("bastion-1", "*").await;
        let body = json!({"name": "Web_1", "state": "succeeded", "spec": {
            "kubernetes_version": "v1.31.4-rancher1-1",
            "nodes": [{"address": "10.0.0.1", "roles": ["boss"]}],
            "addons_include": ["/etc/shadow"],
        }});
        let answer = world.ask(Method::POST, CLUSTERS).json(&body).send().await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.problem(), "validation");
        let pointers = answer.pointers();
        for expected in [
            "/name",
            "/state",
            "/spec/nodes/0/roles/0",
            "/spec/addons_include",
            "/spec/kubernetes_version",
            "/spec/nodes",
        ] {
            assert!(pointers.iter().any(|p| p == expected), "{expected} is not in {pointers:?}");
        }
        assert!(answer.text().contains("v1.30.14-rancher1-1"), "the nearest version is proposed");
        assert!(world.house.store.environments().await.unwrap().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn hostile_row_11_fields_that_are_not_for_clients_are_refused() {
        let world = World::new().await;
        let mut body = wanted("web");
        for field in ["role", "env_id", "state", "id", "phase", "revision"] {
            body[field] = json!("admin");
        }
        body["spec"]["volume"] = json!("x");
        let answer = world.ask(Method::POST, CLUSTERS).json(&body).send().await;
        assert_eq!(answer.problem(), "validation");
        assert_eq!(answer.pointers().len(), 7, "{}", answer.text());
    }

    #[tokio::test]
    async fn shapes_that_are_no_description_are_refused_with_their_place() {
        let world = World::new().await;
        for (body, pointers) in [
            (json!([]), vec![""]),
            (json!({}), vec!["/name", "/spec"]),
            (json!({"name": "web", "spec": []}), vec!["/spec"]),
            (json!({"name": 1, "spec": "x"}), vec!["/name", "/spec"]),
        ] {
            let answer = world.ask(Method::POST, CLUSTERS).json(&body).send().await;
            assert_eq!(answer.problem(), "validation", "{body}");
            assert_eq!(answer.pointers(), pointers, "{body}");
        }
    }

    #[tokio::test]
    async fn hostile_row_26_the_same_key_makes_one_cluster_and_another_body_is_refused() {
        let world = World::new().await;
        let send = |token: String, body: serde_json::Value| {
            let ask = world.ask_as(&token, Method::POST, CLUSTERS).header("idempotency-key", "k-1").json(&body);
            ask.send()
        };
        let token = world.token(cratekube_common::domain::environment::Role::Operator, "*");
        let answers: Vec<_> =
            futures::future::join_all((0..20).map(|_| send(token.clone(), wanted("web")))).await.into_iter().collect();
        let locations: std::collections::BTreeSet<_> =
            answers.iter().map(|a| a.header("location").to_owned()).collect();
        assert_eq!((answers.len(), locations.len()), (20, 1));
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (StatusCode::ACCEPTED, answers[0].text()));
        }
        assert_eq!(world.get(CLUSTERS).await.json()["items"].as_array().unwrap().len(), 1);
        assert_eq!(send(token.clone(), wanted("other")).await.problem(), "idempotency-key-reused");
        let mut password = wanted("web");
        password["spec"]["private_registries"][0]["password"] = json!("another");
        assert_eq!(send(token, password).await.problem(), "idempotency-key-reused");
        let bob = world.token_of("bob", cratekube_common::domain::environment::Role::Operator, "*");
        assert_eq!(
            send(bob, wanted("bobs")).await.status,
            StatusCode::ACCEPTED,
            "another subject's key is another key"
        );
    }

    #[tokio::test]
    async fn keys_that_are_no_keys_and_names_that_are_taken_are_refused() {
        let world = World::new().await;
        world.create("web").await;
        let long = "k".repeat(256);
        for key in ["", "a b", &long, "é"] {
            let ask = world.ask(Method::POST, CLUSTERS).header("idempotency-key", key).json(&wanted("x"));
            assert_eq!(ask.send().await.problem(), "invalid-parameter", "{key:?}");
        }
        let again = world.ask(Method::POST, CLUSTERS).json(&wanted("web")).send().await;
        assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "cluster-exists"));
    }
}
