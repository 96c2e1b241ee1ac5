//! `DELETE /v1/admin/api-keys/{id}`: ends an API key and the tokens that were made from it.

use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::id::ApiKeyId;
use http::StatusCode;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::state::RestState;

/// End an API key; tokens that were made from it count no more, and their streams are cut.
#[utoipa::path(delete, path = "/v1/admin/api-keys/{id}", tag = "admin",
    params(("id" = String, Path, description = "The key's id")),
    responses((status = 204, description = "It counts no more")))]
pub(in crate::rest) async fn revoke(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<StatusCode, Problem> {
    let id: ApiKeyId = caller.administered(&uri, &id)?;
    state.service.revoke_api_key(caller.actor(), &state.tokens, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
