//! Values that the caller sealed: sealed anew, all of them in one transaction.

use cratekube_common::domain::id::ClusterId;
use rusqlite::{Connection, params};

use super::fault::Fault;
use super::rows::{self, key};

/// Seals the secrets of every cluster anew. `anew` answers nothing for one that is so already. What is
/// overwritten is wiped from the file, too.
pub(super) fn reseal(
    db: &Connection,
    anew: impl Fn(ClusterId, &[u8]) -> Result<Option<Vec<u8>>, String>,
) -> Result<u64, Fault> {
    db.pragma_update(None, "secure_delete", true)?;
    let mut select = db.prepare("SELECT id, sealed_secrets FROM clusters WHERE sealed_secrets IS NOT NULL")?;
    let read = |row: &rusqlite::Row<'_>| Ok((rows::word::<ClusterId>(row, 0)?, row.get::<_, Vec<u8>>(1)?));
    let found = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    let mut update = db.prepare("UPDATE clusters SET sealed_secrets = ?2 WHERE id = ?1")?;
    for (cluster, sealed) in &found {
        let fault = |why| Fault::Damaged(format!("the secrets of cluster {cluster}: {why}"));
        if let Some(sealed) = anew(*cluster, sealed).map_err(fault)? {
            update.execute(params![key(cluster), sealed])?;
        }
    }
    Ok(u64::try_from(found.len()).unwrap_or(u64::MAX))
}
