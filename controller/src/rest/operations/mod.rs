//! `/v1/operations`.

pub(super) mod abandon;
pub(super) mod cancel;
pub(super) mod list;
pub(super) mod residue;
pub(super) mod retry;
pub(super) mod show;

use std::time::Duration;

use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::Operation;

use super::caller::Caller;
use super::limits::MAX_WAIT;
use super::problem::Problem;
use super::state::RestState;

/// How much longer than others a route may take: the longest `?wait=`.
pub(super) fn patience(route: &str) -> Duration {
    if route == "/v1/operations/{id}" { MAX_WAIT } else { Duration::ZERO }
}

/// An operation that the caller may see. Whatever is not one is not there.
pub(super) async fn visible_operation(state: &RestState, caller: &Caller, id: &str) -> Result<Operation, Problem> {
    let id: OperationId = id.parse().map_err(|_| Problem::not_found())?;
    let operation = state.service.operation(id).await?;
    if caller.sees(&operation.environment) {
        return Ok(operation);
    }
    let reason = format!("no role in {}, where this operation is", operation.environment);
    Err(Problem::not_found().refused(&caller.actor().subject, reason))
}
