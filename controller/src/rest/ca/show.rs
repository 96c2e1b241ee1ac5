//! `GET /v1/admin/ca`: the CA, and how far its rotation is.

use axum::Json;
use axum::extract::{OriginalUri, State};

use super::CaView;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;

/// The CA that agents and listeners are certified by, how far its rotation is, and which agents have not taken
/// the new one over.
#[utoipa::path(get, path = "/v1/admin/ca", tag = "admin",
    responses((status = 200, description = "The CA", body = CaView)))]
pub(in crate::rest) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<CaView>, Problem> {
    caller.require_admin()?;
    Params::read(&uri, &[])?;
    Ok(Json(CaView::of(&state, state.changeover.authority().now()).await?))
}
