//! `POST /v1/admin/ca/{rotate,switch,roll-back,finish}`: the steps of a rotation.
//!
//! What a step means is decided in [`plan::ca_rotation`](crate::plan::ca_rotation). Here: nobody is locked out by
//! mistake, and nothing is done that the audit log does not tell of.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{BehindView, CaView, MOST_NAMED, behind};
use crate::pki::PkiError;
use crate::pki::authority::AuthorityNow;
use crate::plan::ca_rotation::{self, Step};
use crate::rest::caller::Caller;
use crate::rest::problem::{Kind, Problem};
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::{body, reason};
use crate::service::agents::AgentNow;
use crate::store::Bar;

/// Agents that a problem names in its sentence; all are in its member `behind`.
const IN_A_SENTENCE: usize = 5;

/// Why a step is taken.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct CaStep {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// Why a step is taken, and whether agents may be left behind by it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct CaStepOver {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Take it although agents have not taken the new CA over: they cannot connect after it. Those that are still
    /// behind when the rotation is finished are revoked, and must be enrolled again.
    #[schema(default = false)]
    leave_behind: Option<bool>,
}

/// Begin a rotation: a new root is made and trusted beside the old one. Agents that are connected take it over by
/// themselves, without a run noticing. Give `/ca.pem` to whoever trusts the old one before you switch.
#[utoipa::path(post, path = "/v1/admin/ca/rotate", tag = "admin", request_body = CaStep,
    responses((status = 200, description = "The CA as it is now", body = CaView)))]
pub(in crate::rest) async fn rotate(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<Json<CaView>, Problem> {
    take(&state, &caller, request, Step::Begin).await
}

/// Have the listeners show certificates of the new root. Join tokens that were made before and not used are of no
/// more use. Refused while an agent has not taken the new root over, unless it is left behind.
#[utoipa::path(post, path = "/v1/admin/ca/switch", tag = "admin", request_body = CaStepOver,
    responses((status = 200, description = "The CA as it is now", body = CaView)))]
pub(in crate::rest) async fn switch(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<Json<CaView>, Problem> {
    take(&state, &caller, request, Step::Switch).await
}

/// Go back to the root from before the rotation: listeners show its certificates again, agents are certified by it
/// again. The other one stays trusted until the rotation is finished. Join tokens that were made since the switch and
/// not used are of no more use.
#[utoipa::path(post, path = "/v1/admin/ca/roll-back", tag = "admin", request_body = CaStep,
    responses((status = 200, description = "The CA as it is now", body = CaView)))]
pub(in crate::rest) async fn roll_back(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<Json<CaView>, Problem> {
    take(&state, &caller, request, Step::RollBack).await
}

/// End a rotation: the root that does not stay is trusted no more, and its key is gone. It cannot be undone. Refused
/// while an agent has not taken the one that stays over, unless it is left behind.
#[utoipa::path(post, path = "/v1/admin/ca/finish", tag = "admin", request_body = CaStepOver,
    responses((status = 200, description = "The CA as it is now", body = CaView)))]
pub(in crate::rest) async fn finish(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<Json<CaView>, Problem> {
    take(&state, &caller, request, Step::Finish).await
}

async fn take(state: &RestState, caller: &Caller, request: Request, step: Step) -> Result<Json<CaView>, Problem> {
    caller.require_admin()?;
    Params::read(request.uri(), &[])?;
    let (parts, sent) = request.into_parts();
    let document = body::json(&parts.headers, sent, state.limits.body_bytes).await?;
    let leaves = matches!(step, Step::Switch | Step::Finish);
    let (reason, leave_behind) = read(&document, leaves)?;
    // What it is judged by holds until it is taken.
    let turn = state.changeover.turn().await;
    let before = turn.now();
    ca_rotation::change(before.progress, step, state.service.clock.now()).map_err(|fault| problem(&fault.into()))?;
    let behind = if leaves { behind(state, &before).await? } else { Vec::new() };
    if !behind.is_empty() && !leave_behind {
        return Err(left_behind(&behind));
    }
    let all = names(&behind, MOST_NAMED);
    let detail = if behind.is_empty() { reason } else { format!("{reason} (left behind: {all})") };
    // Before it is done: a step of which nobody can say who took it must not be.
    let note = |detail| state.service.note_ca_step(caller.actor(), step, before.stays.fingerprint.clone(), detail);
    note(detail).await?;
    if step == Step::Finish {
        leave_behind_for_good(state, caller, &before, leave_behind).await?;
    }
    let now = match turn.take(step).await {
        Ok(now) => now,
        Err(error) => {
            note(format!("it could not be taken to its end: {error}")).await?;
            return Err(problem(&error));
        }
    };
    tracing::warn!(
        step = step.as_str(),
        stays = now.stays.fingerprint,
        shown = now.shown,
        by = caller.actor().subject,
        "a step of the CA's rotation is taken"
    );
    Ok(Json(CaView::of(state, now).await?))
}

/// Agents that are left behind for good are revoked first: they could not connect, and their names and volumes are
/// to be free for those that are enrolled in their places. It is looked again, for what was on its way to the store
/// before is there by now.
async fn leave_behind_for_good(
    state: &RestState,
    caller: &Caller,
    before: &AuthorityNow,
    leave_behind: bool,
) -> Result<(), Problem> {
    loop {
        let left = behind(state, before).await?;
        if left.is_empty() {
            return Ok(());
        }
        if !leave_behind {
            return Err(left_behind(&left));
        }
        for now in left {
            let reason = "left behind by the rotation of the CA".to_owned();
            state.service.bar_agent(caller.actor(), now.agent.id, Bar::Revoke, reason).await?;
        }
    }
}

fn read(document: &Value, leaves: bool) -> Result<(String, bool), Problem> {
    body::fields(document, |object| {
        let reason = reason::read(object);
        let leave_behind = leaves && object.field("leave_behind").boolean().unwrap_or(false);
        reason.map(|reason| (reason, leave_behind))
    })
}

fn left_behind(behind: &[AgentNow]) -> Problem {
    let named = names(behind, IN_A_SENTENCE);
    let detail = format!("the certificate of {named} is not from the CA that stays");
    let views: Vec<BehindView> = behind.iter().map(BehindView::from).collect();
    Problem::new(Kind::AgentsBehind, detail).with_member("behind", json!(views))
}

fn names(agents: &[AgentNow], most: usize) -> String {
    let named: Vec<&str> = agents.iter().take(most).map(|now| now.agent.name.as_str()).collect();
    let more = agents.len().saturating_sub(named.len());
    let named = named.join(", ");
    if more == 0 { named } else { format!("{named} and at least {more} more") }
}

fn problem(error: &PkiError) -> Problem {
    match error {
        PkiError::Step(fault) => Problem::new(Kind::CaPhase, fault.to_string()),
        error => {
            tracing::error!(%error, "a step of the CA's rotation could not be taken to its end");
            Problem::new(Kind::CaStep, "the controller's log says what went wrong")
        }
    }
}
