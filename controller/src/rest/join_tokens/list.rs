//! `GET /v1/admin/join-tokens`: join tokens, newest first, without their secrets.

use axum::Json;
use axum::extract::{OriginalUri, State};

use super::JoinTokenView;
use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::Listing;

/// Join tokens, newest first. Ended ones are forgotten after a while, used ones after a month.
#[utoipa::path(get, path = "/v1/admin/join-tokens", tag = "admin", params(crate::rest::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Listing<JoinTokenView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<JoinTokenView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "join-tokens", filters: &[], subject: &caller.actor().subject };
    let found = state.service.join_tokens(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(JoinTokenView::from).collect(), next }))
}
