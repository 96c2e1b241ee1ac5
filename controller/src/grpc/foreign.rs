//! An agent that speaks of a run that was never its own: refused, and an alarm.

use cratekube_common::domain::alarm::{AlarmKind, NewAlarm};
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::{AttemptId, SessionId};
use cratekube_proto::status::Refusal;
use tonic::Status;

use super::peer::Caller;
use super::{GrpcState, store_status};
use crate::service::conversation::Unheard;
use crate::store::RingAlarm;

/// What an agent is answered whose word was not taken.
pub async fn unheard(state: &GrpcState, caller: &Caller, why: Unheard) -> Status {
    match why {
        Unheard::Store(error) => store_status(&error),
        Unheard::Foreign(attempt) => foreign(state, caller, attempt).await,
    }
}

/// Rings, and answers the refusal.
pub async fn foreign(state: &GrpcState, caller: &Caller, attempt: AttemptId) -> Status {
    let (agent, name, address) = (caller.agent.id, &caller.agent.name, &caller.address);
    let detail = format!("agent {name} spoke from {address} of a run that was never its own");
    let audit = AuditEntry {
        actor: agent.to_string(),
        origin: address.clone(),
        action: "agent.foreign-run".into(),
        object: attempt.to_string(),
        outcome: AuditOutcome::Refused,
        detail: detail.clone(),
        request_id: state.mint.id::<SessionId>().to_string(),
    };
    // By agent: one that tries many runs fills no list.
    let alarm =
        NewAlarm { kind: AlarmKind::ForeignRun, object: agent.to_string(), cluster: None, agent: Some(agent), detail };
    match state.store.ring_alarm(RingAlarm { alarm, audit, now: state.clock.now() }).await {
        Ok(true) => {
            tracing::error!(alarm = true, %agent, %name, address, %attempt, "an agent spoke of a run that was never its own");
        }
        Ok(false) => tracing::warn!(%agent, %attempt, "an agent spoke again of a run that was never its own"),
        Err(error) => {
            tracing::error!(alarm = true, %agent, %attempt, %error, "an agent spoke of a run that was never its own, and the alarm could not be kept");
        }
    }
    Refusal::Forbidden.status("the run is another agent's")
}
