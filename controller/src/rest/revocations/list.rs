//! `GET /v1/admin/revocations`: revocations that may concern a living token, newest first.

use axum::Json;
use axum::extract::{OriginalUri, State};

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::{Listing, RevocationView};

/// Revocations, newest first. One that concerns no living token any more is forgotten; the audit log keeps it.
#[utoipa::path(get, path = "/v1/admin/revocations", tag = "admin", params(crate::rest::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<RevocationView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<RevocationView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "revocations", filters: &[], subject: &caller.actor().subject };
    let found = state.service.revocations(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(RevocationView::from).collect(), next }))
}
