//! `DELETE /v1/environments/{env}/clusters/{name}`: asks for a cluster's removal.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::removal::DataPolicy;
use cratekube_common::intake::{Field, Notes, Object};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Accepted, accepted, if_match};
use crate::rest::body;
use crate::rest::caller::Caller;
use crate::rest::idempotency;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params, invalid};
use crate::rest::reason;
use crate::rest::state::RestState;
use crate::service::removal::UnwantedCluster;

/// Why a cluster goes, and what becomes of what it leaves.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Removal)]
pub(in crate::rest) struct Removal {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// What becomes of its volumes and their snapshots: `retain` keeps them, `snapshot` takes a last snapshot of
    /// each volume and deletes the volume, `delete` deletes both. Left out, they are kept: data that are gone
    /// do not come back.
    #[schema(default = "retain")]
    data_policy: Option<String>,
    /// True when the hosts are about to be terminated: then nobody cleans them.
    hosts_terminated: Option<bool>,
}

/// Ask for a cluster's removal. It is recorded when you are answered; watch the operation for its steps, each with
/// what it found and what it waits for, and read its residue report when it has ended.
#[utoipa::path(delete, path = "/v1/environments/{env}/clusters/{name}", tag = "clusters", request_body = Option<Removal>,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("reason" = Option<String>, Query, description = "Why, when it is not in the body; one of the two is required"),
        ("data_policy" = Option<String>, Query, description = "As in the body: `retain` (default), `snapshot` or `delete`"),
        ("hosts_terminated" = Option<bool>, Query, description = "As in the body"),
        ("If-Match" = Option<String>, Header, description = "Only if the cluster still has this `ETag`"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation")))))]
pub(in crate::rest) async fn remove(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let environment: EnvironmentName = query::name("env", &env)?;
    let name: ClusterName = query::name("name", &name)?;
    caller.require(Role::Operator, &environment)?;
    let (wanted, headers) = Wanted::read(&state, request).await?;
    let if_revision = if_match(&headers)?;
    let Wanted { reason, data_policy, hosts_terminated } = wanted;
    let action = format!("remove {environment}/{name}");
    let said = json!([reason, if_revision, data_policy, hosts_terminated]);
    let key = idempotency::key(&state, &headers, &action, &said)?;
    let unwanted = UnwantedCluster { environment, name, reason, data_policy, hosts_terminated, if_revision };
    let receipt = state.service.remove(caller.actor(), unwanted, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

/// What a removal is to be.
struct Wanted {
    reason: String,
    data_policy: DataPolicy,
    hosts_terminated: bool,
}

impl Wanted {
    async fn read(state: &RestState, request: Request) -> Result<(Self, HeaderMap), Problem> {
        let params = Params::read(request.uri(), &["reason", "data_policy", "hosts_terminated"])?;
        let (parts, sent) = request.into_parts();
        let document = body::optional_json(&parts.headers, sent, state.limits.body_bytes).await?;
        Ok((Self::from(&params, document.as_ref())?, parts.headers))
    }

    fn from(params: &Params, document: Option<&Value>) -> Result<Self, Problem> {
        let notes = Notes::default();
        let mut body = document.and_then(|document| Field::root(document, &notes).object_or_empty());
        let reason = reason::among(params, body.as_mut())?;
        let data_policy = policy(params, body.as_mut())?;
        let hosts_terminated = terminated(params, body.as_mut())?;
        body.into_iter().for_each(Object::finish);
        let mut faults = notes.into_faults();
        if reason.is_none() && faults.is_acceptable() {
            faults.errors.push(reason::missing());
        }
        let reason = reason.filter(|_| faults.is_acceptable()).ok_or_else(|| Problem::validation(faults.errors))?;
        Ok(Self { reason, data_policy, hosts_terminated })
    }
}

/// Data stay unless somebody says that they may go.
fn policy(params: &Params, body: Option<&mut Object<'_>>) -> Result<DataPolicy, Problem> {
    let in_query = params.parse::<DataPolicy>("data_policy")?;
    let field = body.map(|body| body.field("data_policy")).filter(Field::is_present);
    once("data_policy", in_query.is_some(), field.as_ref())?;
    let in_body = field.and_then(|field| field.parse());
    Ok(in_query.or(in_body).unwrap_or(DataPolicy::Retain))
}

fn terminated(params: &Params, body: Option<&mut Object<'_>>) -> Result<bool, Problem> {
    let in_query = params.flag("hosts_terminated")?;
    let field = body.map(|body| body.field("hosts_terminated")).filter(Field::is_present);
    once("hosts_terminated", params.text("hosts_terminated").is_some(), field.as_ref())?;
    Ok(in_query || field.and_then(|field| field.boolean()).unwrap_or(false))
}

fn once(parameter: &str, in_query: bool, in_body: Option<&Field<'_>>) -> Result<(), Problem> {
    match in_body {
        Some(_) if in_query => Err(invalid(parameter, "is given in the body too; give it once")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;
    use crate::store::conformance::house::hash;

    const WEB: &str = "/v1/environments/prod/clusters/web";

    async fn with_idle_cluster() -> World {
        let world = World::new().await;
        world.ready("web").await;
        world
    }

    #[tokio::test]
    async fn a_removal_is_recorded_with_its_reason_and_the_cluster_is_busy_then() {
        let world = with_idle_cluster().await;
        let answer = world.ask(Method::DELETE, WEB).json(&json!({"reason": "moved away"})).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["operation"]["kind"], &body["operation"]["reason"]),
            (&json!("remove"), &json!("moved away"))
        );
        assert_eq!(body["cluster"]["phase"], "removing");
        let again = world.ask(Method::DELETE, WEB).json(&json!({"reason": "again"})).send().await;
        assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "cluster-busy"));
        assert_eq!(again.json()["operation"], answer.header("location"));
        let audit = world.audit().await.pop().unwrap();
        assert_eq!((audit.action.as_str(), audit.detail.as_str()), ("cluster.remove", "moved away"));
    }

    #[tokio::test]
    async fn data_stay_unless_somebody_says_that_they_may_go_and_steps_are_told_what_they_need() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let silent = world.ask(Method::DELETE, &format!("{WEB}?reason=x")).send().await.json();
        let work = world.house.lease_one(built.bastion).await;
        let input = &work.input.0;
        assert_eq!((&input["policy"], &input["keep_snapshots"]), (&json!("retain"), &json!(true)));
        assert_eq!((&input["hosts"], &input["hosts_terminated"]), (&json!(["10.0.0.1"]), &json!(false)));
        assert_eq!((&input["confirm_pause_s"], &input["undelete_days"]), (&json!(300), &json!(30)));
        assert_eq!((&input["ca_sha256"], &input["earlier"]), (&json!(hash("ca")), &json!({})));
        let id = silent["operation"]["id"].as_str().unwrap();
        let detail = world.get(&format!("/v1/operations/{id}")).await.json();
        let kinds: Vec<_> = detail["tasks"].as_array().unwrap().iter().map(|task| task["kind"].clone()).collect();
        let all = ["freeze", "record", "release", "remove", "clean-hosts", "sweep", "confirm", "tombstone"];
        assert_eq!(kinds, all);
    }

    #[tokio::test]
    async fn the_policy_and_the_end_of_the_hosts_are_said_once_in_the_body_or_in_the_query() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let send = |path: String, body| world.ask(Method::DELETE, &path).json(&body).send();
        let odd = json!({"reason": "a", "data_policy": "shred", "hosts_terminated": "yes"});
        assert_eq!(send(WEB.into(), odd).await.pointers(), ["/data_policy", "/hosts_terminated"]);
        let twice = send(format!("{WEB}?data_policy=delete"), json!({"reason": "a", "data_policy": "delete"})).await;
        assert_eq!((twice.problem().as_str(), twice.pointers()), ("invalid-parameter", vec!["data_policy".to_owned()]));
        let odd = send(format!("{WEB}?data_policy=shred"), json!({"reason": "a"})).await;
        assert_eq!(odd.problem(), "invalid-parameter");
        let body = json!({"reason": "costs", "hosts_terminated": true});
        let answer = send(format!("{WEB}?data_policy=delete"), body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let input = world.house.lease_one(built.bastion).await.input.0;
        assert_eq!((&input["policy"], &input["keep_snapshots"]), (&json!("delete"), &json!(false)));
        assert_eq!(input["hosts_terminated"], true);
        let audit = world.audit().await.pop().unwrap();
        assert_eq!(audit.detail, "data are deleted: costs");
    }

    #[tokio::test]
    async fn a_removal_of_another_revision_than_the_one_seen_is_refused() {
        let world = with_idle_cluster().await;
        let etag = world.get(WEB).await.header("etag").to_owned();
        let because = format!("{WEB}?reason=story");
        let stale = world.ask(Method::DELETE, &because).header("if-match", "\"7\"").send().await;
        assert_eq!((stale.status, stale.problem().as_str()), (StatusCode::PRECONDITION_FAILED, "revision-changed"));
        assert_eq!(stale.header("etag"), etag);
        for odd in ["1", "W/\"1\"", "\"1\", \"2\"", "\"x\""] {
            let answer = world.ask(Method::DELETE, &because).header("if-match", odd).send().await;
            assert_eq!(answer.problem(), "invalid-parameter", "{odd}");
        }
        let answer = world.ask(Method::DELETE, &because).header("if-match", &etag).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn hostile_row_28_what_is_not_there_and_reasons_that_are_none_are_refused() {
        let world = with_idle_cluster().await;
        let missing = world.ask(Method::DELETE, "/v1/environments/prod/clusters/none?reason=x").send().await;
        assert_eq!((missing.status, missing.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"));
        let send = |path: String, body| world.ask(Method::DELETE, &path).json(&body).send();
        assert_eq!(send(WEB.into(), json!({"reason": 1})).await.pointers(), ["/reason"]);
        assert_eq!(send(WEB.into(), json!({"reason": "a", "force": true})).await.pointers(), ["/force"]);
        assert_eq!(send(WEB.into(), json!("x")).await.pointers(), [""]);
        assert_eq!(send(format!("{WEB}?reason=a"), json!({"reason": "b"})).await.pointers(), ["/reason"]);
        assert_eq!(send(WEB.into(), json!({"reason": "\u{1b}[31m"})).await.pointers(), ["/reason"]);
        assert_eq!(send(WEB.into(), json!({})).await.pointers(), ["/reason"]);
        let silent = world.ask(Method::DELETE, WEB).send().await;
        assert_eq!((silent.status, silent.pointers()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["/reason".to_owned()]));
        let operations = world.get("/v1/operations").await.json();
        assert_eq!(operations["items"].as_array().unwrap().len(), 1, "none of them was recorded");
    }
}
