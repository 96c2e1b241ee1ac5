//! `POST /v1/admin/ca/{rotate,switch,roll-back,finish}`: the steps of a rotation.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{BehindView, CaView};
use crate::pki::PkiError;
use crate::plan::ca_rotation::Step;
use crate::rest::caller::Caller;
use crate::rest::problem::{Kind, Problem};
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::{body, reason};
use crate::service::ca::{CaStepError, WantedCaStep};

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
    let (reason, leave_behind) = read(&document, step)?;
    let wanted = WantedCaStep { step, reason, leave_behind };
    let now = state.service.take_ca_step(&state.changeover, caller.actor(), wanted).await?;
    Ok(Json(CaView::of(state, now).await?))
}

fn read(document: &Value, step: Step) -> Result<(String, bool), Problem> {
    body::fields(document, |object| {
        let reason = reason::read(object);
        let leave_behind = step.may_leave_behind() && object.field("leave_behind").boolean().unwrap_or(false);
        reason.map(|reason| (reason, leave_behind))
    })
}

impl From<CaStepError> for Problem {
    fn from(error: CaStepError) -> Self {
        let told = error.to_string();
        match error {
            CaStepError::Service(error) => error.into(),
            CaStepError::Behind(behind) => {
                let views: Vec<BehindView> = behind.iter().map(BehindView::from).collect();
                Self::new(Kind::AgentsBehind, told).with_member("behind", json!(views))
            }
            CaStepError::Pki(PkiError::Step(_)) => Self::new(Kind::CaPhase, told),
            CaStepError::Pki(error) => {
                tracing::error!(%error, "a step of the CA's rotation could not be taken to its end");
                Self::new(Kind::CaStep, "the controller's log says what went wrong")
            }
        }
    }
}
