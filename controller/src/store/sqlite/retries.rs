//! Tasks that wait to be tried again. How long is on record, the waiting itself is not: it is done with
//! the controller's monotonic clock, so that no jump of the wall clock changes it; after a restart a task
//! waits anew.

use std::time::Duration;

use cratekube_common::domain::id::{OperationId, TaskId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::fault::Fault;
use super::rows::{self, key};

/// Tasks that wait, oldest first.
pub(super) fn delayed(db: &Connection) -> Result<Vec<(TaskId, Duration)>, Fault> {
    let mut select =
        db.prepare_cached("SELECT id, delay_ms FROM tasks WHERE state = 'queued' AND delay_ms > 0 ORDER BY seq")?;
    let read = |row: &Row<'_>| Ok((rows::word(row, 0)?, Duration::from_millis(rows::count(row, 1)?)));
    Ok(select.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// The wait of a task is over.
pub(super) fn release(db: &Connection, task: TaskId) -> Result<Option<OperationId>, Fault> {
    let mut update = db.prepare_cached(
        "UPDATE tasks SET delay_ms = 0 WHERE id = ?1 AND state = 'queued' AND delay_ms > 0 RETURNING operation",
    )?;
    Ok(update.query_row([key(task)], |row| rows::word(row, 0)).optional()?)
}
