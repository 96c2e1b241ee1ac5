//! `DELETE /v1/environments/{env}/clusters/{name}`: asks for a cluster's removal.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
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
use crate::rest::views::PreviewView;
use crate::service::ServiceError;
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
///
/// With `dry_run=true` nothing is recorded or changed, and no reason is needed: you are told what would go, with
/// what it costs in a month. The cluster's agent looks at the cloud for that; where it cannot be asked, the
/// answer has what earlier removals recorded, and says in `unverified` why it knows no more.
#[utoipa::path(delete, path = "/v1/environments/{env}/clusters/{name}", tag = "clusters", request_body = Option<Removal>,
    params(("env" = String, Path, description = "Environment"), ("name" = String, Path, description = "Cluster"),
        ("reason" = Option<String>, Query, description = "Why, when it is not in the body; one of the two is required"),
        ("data_policy" = Option<String>, Query, description = "As in the body: `retain` (default), `snapshot` or `delete`"),
        ("hosts_terminated" = Option<bool>, Query, description = "As in the body"),
        ("dry_run" = Option<bool>, Query, description = "Only tell what would happen"),
        ("If-Match" = Option<String>, Header, description = "Only if the cluster still has this `ETag`"),
        crate::rest::openapi::IdempotencyHeader),
    responses((status = 202, description = "Recorded", body = Accepted, headers(("Location" = String, description = "The operation"))),
        (status = 200, description = "What would happen, with `dry_run`", body = PreviewView)))]
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
    let Some(reason) = reason else {
        let place = (&environment, &name);
        let preview = state.service.preview_removal(place, data_policy, hosts_terminated).await?;
        if let Some(revision) = if_revision.filter(|revision| *revision != preview.cluster.revision) {
            tracing::debug!(revision, "a preview of another revision was asked for");
            return Err(ServiceError::Changed(preview.cluster.revision).into());
        }
        return Ok(Json(PreviewView::from(&preview)).into_response());
    };
    let action = format!("remove {environment}/{name}");
    let said = json!([reason, if_revision, data_policy, hosts_terminated]);
    let key = idempotency::key(&state, &headers, &action, &said)?;
    let unwanted = UnwantedCluster { environment, name, reason, data_policy, hosts_terminated, if_revision };
    let receipt = state.service.remove(caller.actor(), unwanted, key).await?;
    accepted(&state, &receipt, Vec::new()).await
}

/// What a removal is to be.
struct Wanted {
    /// None for a dry run.
    reason: Option<String>,
    data_policy: DataPolicy,
    hosts_terminated: bool,
}

impl Wanted {
    async fn read(state: &RestState, request: Request) -> Result<(Self, HeaderMap), Problem> {
        let params = Params::read(request.uri(), &["reason", "data_policy", "hosts_terminated", "dry_run"])?;
        let (parts, sent) = request.into_parts();
        let document = body::optional_json(&parts.headers, sent, state.limits.body_bytes).await?;
        Ok((Self::from(&params, document.as_ref())?, parts.headers))
    }

    fn from(params: &Params, document: Option<&Value>) -> Result<Self, Problem> {
        let notes = Notes::default();
        let mut body = document.and_then(|document| Field::root(document, &notes).object_or_empty());
        let dry_run = params.flag("dry_run")?;
        let said = |body: &mut Object<'_>| body.field("reason").is_present();
        let silent = params.text("reason").is_none() && !body.as_mut().is_some_and(said);
        // A reason that is none is a mistake of a dry run, too; that there is none is not.
        let reason = if dry_run && silent { None } else { reason::among(params, body.as_mut())? };
        let data_policy = policy(params, body.as_mut())?;
        let hosts_terminated = terminated(params, body.as_mut())?;
        body.into_iter().for_each(Object::finish);
        let mut faults = notes.into_faults();
        if reason.is_none() && faults.is_acceptable() && !dry_run {
            faults.errors.push(reason::missing());
        }
        if !faults.is_acceptable() {
            return Err(Problem::validation(faults.errors));
        }
        Ok(Self { reason: reason.filter(|_| !dry_run), data_policy, hosts_terminated })
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
    use cratekube_common::domain::query::QueryKind;
    use cratekube_common::domain::secret::Secret;
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
    async fn a_removal_whose_agent_is_away_is_accepted_waits_and_says_why() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let asked = world.ask(Method::DELETE, &format!("{WEB}?reason=x")).send().await;
        assert_eq!(asked.status, StatusCode::ACCEPTED);
        let waits = async || world.get(asked.header("location")).await.json();
        let away = waits().await;
        assert!(away["waiting_for"].as_str().unwrap().ends_with("is offline."), "{away}");
        assert_eq!(away["tasks"][0]["blocker"], away["waiting_for"], "the step names what it waits for");
        let _agent = world.connect(built.bastion, Vec::new()).await;
        let here = waits().await;
        assert_eq!(here["waiting_for"], "Agent bastion-1 is to take it.");
    }

    #[tokio::test]
    async fn a_dry_run_tells_what_would_go_and_what_it_costs_and_records_nothing() {
        let world = World::new().await;
        let built = world.ready("web").await;
        let path = format!("{WEB}?dry_run=true&data_policy=delete");
        let before = world.audit().await.len();
        let away = world.ask(Method::DELETE, &path).send().await;
        assert_eq!(away.status, StatusCode::OK, "{}", away.text());
        let away = away.json();
        assert!(away["unverified"].as_str().unwrap().contains("not connected"), "{away}");
        assert_eq!((&away["cloud"], &away["monthly_cents_freed"]), (&json!(null), &json!(null)));
        let mut agent = world.connect(built.bastion, vec![QueryKind::RemovalPreview]).await;
        let answering = async {
            let question = agent.asked().await;
            assert_eq!(
                (&question.input["policy"], &question.input["record"]["objects"]),
                (&json!("delete"), &json!([]))
            );
            let entry =
                json!({"kind": "volume", "id": "vol-1", "region": "r", "fate": "would_go", "monthly_cents": 80});
            let tally = json!({"found": 1, "deleted": 0, "already_gone": 0, "would_go": 1, "left": 0, "kept": 0,
                "monthly_cents_freed": 80, "monthly_cents_left": 0, "monthly_cents_kept": 0});
            let seen = json!({"verdict": "left", "dry_run": true, "policy": "delete", "at": "2026-11-25T12:00:00Z",
                "prices": "list", "tally": tally, "entries": [entry]});
            agent.answer(&question, Ok(Secret::new(seen.to_string())));
        };
        let (answer, ()) = tokio::join!(world.ask(Method::DELETE, &path).send(), answering);
        let told = answer.json();
        assert_eq!(
            (&told["unverified"], &told["monthly_cents_freed"], &told["prices"]),
            (&json!(null), &json!(80), &json!("list"))
        );
        assert_eq!(told["cloud"]["entries"][0]["id"], "vol-1");
        assert_eq!((&told["steps"][0], &told["hosts"]), (&json!("freeze"), &json!(["10.0.0.1"])));
        assert_eq!(told["refused_because"], json!([]));
        assert_eq!(world.get(WEB).await.json()["phase"], "ready");
        assert_eq!(world.get("/v1/operations").await.json()["items"].as_array().unwrap().len(), 1);
        assert_eq!(world.audit().await.len(), before, "nothing was done");
        let stale = world.ask(Method::DELETE, &path).header("if-match", "\"7\"").send().await;
        assert_eq!(stale.problem(), "revision-changed");
        let odd = world.ask(Method::DELETE, &path).json(&json!({"reason": " "})).send().await;
        assert_eq!(odd.pointers(), ["/reason"]);
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
