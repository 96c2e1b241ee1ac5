//! `DELETE /v1/admin/join-tokens/{id}`: takes back a join token that was not used.

use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::id::JoinTokenId;
use http::StatusCode;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::state::RestState;

/// Take back a join token that was not used.
#[utoipa::path(delete, path = "/v1/admin/join-tokens/{id}", tag = "admin",
    params(("id" = String, Path, description = "Join token")),
    responses((status = 204, description = "It is gone")))]
pub(in crate::rest) async fn withdraw(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<StatusCode, Problem> {
    let id: JoinTokenId = caller.administered(&uri, &id)?;
    state.service.withdraw_join_token(caller.actor(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
