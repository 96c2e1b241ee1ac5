//! `GET /v1/admin/agents/{id}`: one agent.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use cratekube_common::domain::id::AgentId;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::AgentView;

/// One agent.
#[utoipa::path(get, path = "/v1/admin/agents/{id}", tag = "admin", params(("id" = String, Path, description = "Agent")),
    responses((status = 200, description = "The agent", body = AgentView)))]
pub(in crate::rest) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<AgentView>, Problem> {
    caller.require_admin()?;
    Params::read(&uri, &[])?;
    let id: AgentId = id.parse().map_err(|_| Problem::not_found())?;
    let found = state.service.agent(id).await?;
    Ok(Json(AgentView::from(&found)))
}
