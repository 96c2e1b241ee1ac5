//! Access to clusters that was given out: that it was, and what it means for the cluster.

use cratekube_common::domain::cluster::{ADMIN_KUBECONFIG, Condition};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::fault::Fault;
use super::rows::{self, key};
use super::{audit, events};
use crate::store::KubeconfigIssued;

/// Said of a cluster whose administrators' credentials were given out.
const MARK: &str = "A kubeconfig for administrators was issued. What its holder made of it may outlive it: only a \
                    rotation of the cluster's CA takes it all back.";

/// Notes that a kubeconfig was issued; false when the cluster is gone.
pub(super) fn note_kubeconfig(db: &Connection, request: &KubeconfigIssued) -> Result<bool, Fault> {
    let mut select = db.prepare_cached("SELECT conditions FROM clusters WHERE id = ?1 AND phase <> 'removed'")?;
    let found = select.query_row([key(request.cluster)], |row| rows::document::<Vec<Condition>>(row, 0)).optional()?;
    let Some(mut conditions) = found else { return Ok(false) };
    if request.administrators && !conditions.iter().any(|condition| condition.kind == ADMIN_KUBECONFIG) {
        conditions.push(Condition { kind: ADMIN_KUBECONFIG.into(), message: MARK.into() });
        db.prepare_cached("UPDATE clusters SET conditions = ?2, updated_at = ?3 WHERE id = ?1")?.execute(params![
            key(request.cluster),
            rows::json(&conditions)?,
            request.now.as_millis(),
        ])?;
    }
    events::cluster(db, "cluster.kubeconfig-issued", request.cluster, &json!({"what": request.detail}))?;
    audit::append(db, &request.audit, request.now)?;
    Ok(true)
}
