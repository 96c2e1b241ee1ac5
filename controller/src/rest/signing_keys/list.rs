//! `GET /v1/admin/signing-keys`: which keys tokens are checked with.

use axum::Json;
use axum::extract::{OriginalUri, State};

use super::{SigningKeys, problem};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;

/// The keys that tokens are checked with: the one that signs, and after a rotation the one before it.
#[utoipa::path(get, path = "/v1/admin/signing-keys", tag = "admin",
    responses((status = 200, description = "The keys", body = SigningKeys)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<SigningKeys>, Problem> {
    caller.require_admin()?;
    Params::read(&uri, &[])?;
    let ring = state.signing_keys.living(state.service.clock.now()).await.map_err(|error| problem(&error))?;
    Ok(Json(SigningKeys::from(&ring)))
}
