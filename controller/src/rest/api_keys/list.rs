//! `GET /v1/admin/api-keys`: API keys, newest first, those that ended lately too.

use axum::Json;
use axum::extract::{OriginalUri, State};

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::{ApiKeyView, Listing};

/// API keys, newest first; those that ended are shown for 30 days more. The keys themselves are not kept.
#[utoipa::path(get, path = "/v1/admin/api-keys", tag = "admin", params(crate::rest::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<ApiKeyView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<ApiKeyView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "api-keys", filters: &[], subject: &caller.actor().subject };
    let found = state.service.api_keys(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(ApiKeyView::from).collect(), next }))
}
