//! `GET /v1/admin/orphans`: what is there and belongs to nothing that is known: clusters on state volumes, and
//! objects in the cloud.

use axum::Json;
use axum::extract::{OriginalUri, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::cursor::{self, Scope};
use super::orphan_scans::Found;
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::Listing;
use crate::store::Orphan;

/// A cluster on a state volume that the controller does not know, or knows otherwise. It is left alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Orphan)]
pub(super) struct OrphanView {
    /// The volume.
    volume: String,
    /// The cluster's id.
    cluster: String,
    /// Its environment.
    environment: String,
    /// Its name.
    name: String,
    /// The highest fence that was accepted for it.
    fence: Option<u64>,
    /// Its newest good generation.
    generation: Option<u64>,
    /// Why it is listed here, in a sentence.
    reason: String,
    /// When it was found.
    found_at: String,
}

/// What is there and belongs to nothing that is known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Orphans {
    /// Clusters on state volumes.
    #[serde(flatten)]
    page: Listing<OrphanView>,
    /// What the last scan found in the cloud; none before the first one has ended.
    cloud: Option<Found>,
}

impl From<&Orphan> for OrphanView {
    fn from(orphan: &Orphan) -> Self {
        Self {
            volume: orphan.volume.to_string(),
            cluster: orphan.cluster.to_string(),
            environment: orphan.environment.to_string(),
            name: orphan.name.to_string(),
            fence: orphan.fence.map(|fence| fence.0),
            generation: orphan.generation,
            reason: orphan.reason.clone(),
            found_at: orphan.found_at.to_string(),
        }
    }
}

/// Clusters that were found on state volumes after the controller was restored from a backup, and that it does
/// not know: made since the backup, or on another volume than on record. Their hosts run on, and nothing is
/// done to them. With them, what the last scan of the cloud found (`/v1/admin/orphan-scans`).
#[utoipa::path(get, path = "/v1/admin/orphans", tag = "admin", params(super::openapi::PageQuery),
    responses((status = 200, description = "A page", body = Orphans)))]
pub(super) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Orphans>, Problem> {
    caller.require_admin()?;
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let scope = Scope { route: "orphans", filters: &[], subject: &caller.actor().subject };
    let found = state.service.orphans(params.page(&state, &scope)?).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    let page = Listing { items: found.items.iter().map(OrphanView::from).collect(), next };
    let cloud = state.service.last_orphan_scan().await?;
    Ok(Json(Orphans { page, cloud: cloud.as_ref().map(Found::from) }))
}
