//! `GET /v1/admin/audit`: the audit log, in pages or as a copy of all that matches.

mod export;
#[cfg(test)]
mod tests;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use super::caller::Caller;
use super::cursor::{self, Scope};
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::{AuditEntryView, Listing};
use crate::store::AuditFilter;

/// Media type of a copy: one entry a line.
const LINES: &str = "application/x-ndjson";
/// What can be asked for, in a fixed order.
const FILTERS: [&str; 6] = ["actor", "action", "object", "outcome", "since", "until"];

/// The audit log, newest first. `Accept: application/x-ndjson` answers everything that matches, one
/// JSON document a line; that is noted in the log itself.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "admin",
    params(super::openapi::PageQuery,
        ("actor" = Option<String>, Query, description = "By this actor"),
        ("action" = Option<String>, Query, description = "This action: `cluster.remove`, `token.exchange`, …; of refusals the method and route"),
        ("object" = Option<String>, Query, description = "On this object: `prod/web`, an id; of refusals the path"),
        ("outcome" = Option<String>, Query, description = "`allowed` or `refused`"),
        ("since" = Option<String>, Query, description = "Not before this time (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Before this time (RFC 3339)"),
        ("Accept" = Option<String>, Header, description = "`application/x-ndjson` for all of it")),
    responses((status = 200, description = "A page; or lines", content((Listing<AuditEntryView> = "application/json"), (String = "application/x-ndjson")))))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &[&["limit", "cursor"], FILTERS.as_slice()].concat())?;
    let filter = AuditFilter {
        actor: params.text("actor").map(ToOwned::to_owned),
        action: params.text("action").map(ToOwned::to_owned),
        object: params.text("object").map(ToOwned::to_owned),
        outcome: params.parse("outcome")?,
        since: params.parse("since")?,
        until: params.parse("until")?,
    };
    if wants_lines(&headers) {
        return export::export(&state, &caller, &params, filter).await;
    }
    let filters = FILTERS.map(|key| params.text(key).unwrap_or_default());
    let scope = Scope { route: "audit", filters: &filters, subject: &caller.actor().subject };
    let found = state.service.audit_entries(filter, params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(AuditEntryView::from).collect(), next }).into_response())
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let wanted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = wanted.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.into_iter().any(|kind| kind.eq_ignore_ascii_case(LINES))
}
