//! A database that was put back from a backup: nothing of before is honoured in it.
//!
//! Every cluster's fence moves into an epoch of its own, far above what can have been given out since the
//! backup; runs that were at work are unknown, and keep their clusters locked; join tokens end; tokens of
//! users count no more; numbers of events go on where no reader has been. No volume is worked on
//! before it was looked through ([`super::inventory`]).

use rusqlite::{Connection, OptionalExtension, params};

use cratekube_common::domain::id::VolumeId;

use super::fault::Fault;
use super::rows::{self, int, key};
use super::users;
use crate::store::{BeginRestored, RestoredStore};

/// Fences of one epoch: more than a cluster has runs in the time between two restores.
const EPOCH_BITS: u32 = 20;
/// Numbers of events between those of a backup and those after its restore.
const EVENTS_APART: i64 = 1 << 32;

/// Whether a volume, `?1`, was looked through since the newest restore.
const LOOKED_THROUGH: &str = "SELECT NOT EXISTS (SELECT 1 FROM restores) OR EXISTS (SELECT 1 FROM looked_through \
     WHERE volume = ?1 AND restore = (SELECT max(number) FROM restores))";

/// Makes a database that was put back one in which nothing of before is honoured.
pub(super) fn begin(db: &Connection, request: &BeginRestored) -> Result<RestoredStore, Fault> {
    let now = request.now.as_millis();
    db.execute("INSERT INTO restores (at, made_at) VALUES (?1, ?2)", params![now, request.made_at.as_millis()])?;
    // By the time, too: the same backup may be restored twice, with runs in between.
    let seconds = u64::try_from(now / 1_000).unwrap_or(0);
    let epoch = int(seconds << EPOCH_BITS)?;
    db.execute("UPDATE clusters SET fence = max(fence + ?1, ?2)", params![1_i64 << EPOCH_BITS, epoch])?;
    // Also what was only leased: it may have been started since.
    let unknown = db.execute(
        "UPDATE attempts SET state = 'unknown', started_at = coalesce(started_at, leased_at) \
         WHERE state IN ('leased', 'started', 'unknown')",
        [],
    )?;
    db.execute("UPDATE join_tokens SET expires_at = min(expires_at, ?1) WHERE used_at IS NULL", [now])?;
    db.execute("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'events'", [EVENTS_APART])?;
    users::revoke(db, &request.revocation, &request.audit)?;
    let number = |sql: &str| db.query_row(sql, [], |row| rows::count(row, 0));
    Ok(RestoredStore {
        clusters: number("SELECT count(*) FROM clusters WHERE phase <> 'removed'")?,
        unknown: u64::try_from(unknown).unwrap_or(u64::MAX),
        volumes: number("SELECT count(*) FROM volumes")?,
    })
}

/// Whether a volume may be worked on.
pub(super) fn is_looked_through(db: &Connection, volume: VolumeId) -> Result<bool, Fault> {
    Ok(db.prepare_cached(LOOKED_THROUGH)?.query_row([key(volume)], |row| row.get(0))?)
}

/// Whether every volume on record may be worked on: a cluster that belongs to none may be on any of them.
pub(super) fn all_looked_through(db: &Connection) -> Result<bool, Fault> {
    let newest =
        db.prepare_cached("SELECT max(number) FROM restores")?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
    let Some(newest) = newest else { return Ok(true) };
    let sql = "SELECT 1 FROM volumes v WHERE NOT EXISTS \
               (SELECT 1 FROM looked_through l WHERE l.volume = v.id AND l.restore = ?1) LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row([newest], |_| Ok(())).optional()?.is_none())
}

/// Those of some volumes that are still to be looked through.
pub(super) fn to_look_through(db: &Connection, volumes: &[VolumeId]) -> Result<Vec<VolumeId>, Fault> {
    let mut found = Vec::new();
    for volume in volumes {
        if !is_looked_through(db, *volume)? {
            found.push(*volume);
        }
    }
    Ok(found)
}

/// Notes that a volume was looked through.
pub(super) fn looked_through(db: &Connection, volume: VolumeId) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO looked_through (volume, restore) SELECT ?1, max(number) FROM restores HAVING max(number) IS NOT NULL \
         ON CONFLICT (volume) DO UPDATE SET restore = excluded.restore",
    )?
    .execute([key(volume)])?;
    Ok(())
}
