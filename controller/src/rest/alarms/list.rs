//! `GET /v1/admin/alarms`: what has to be looked at, newest first.

use axum::Json;
use axum::extract::{OriginalUri, State};

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::{Params, invalid};
use crate::rest::state::RestState;
use crate::rest::views::{AlarmView, Listing};

/// Alarms, newest first. One that was acknowledged is listed for 90 days more; the audit log keeps it.
#[utoipa::path(get, path = "/v1/admin/alarms", tag = "admin",
    params(crate::rest::openapi::PageQuery,
        ("state" = Option<String>, Query, description = "`open` or `acknowledged`; both when absent")),
    responses((status = 200, description = "A page", body = Listing<AlarmView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<AlarmView>>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor", "state"])?;
    let open = match params.text("state") {
        None => None,
        Some("open") => Some(true),
        Some("acknowledged") => Some(false),
        Some(_) => return Err(invalid("state", "must be `open` or `acknowledged`")),
    };
    let wanted = params.text("state").unwrap_or_default();
    let scope = Scope { route: "alarms", filters: &[wanted], subject: &caller.actor().subject };
    let found = state.service.alarms(open, params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(AlarmView::from).collect(), next }))
}
