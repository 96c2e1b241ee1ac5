//! Rows and columns to domain values and back. A column that does not hold what it should is damage,
//! told by SQLite's own conversion error with the column's number.

use std::fmt::Display;
use std::str::FromStr;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::cluster::{Cluster, intake};
use cratekube_common::domain::operation::Operation;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::intake::{Field, Notes, parse_json};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Error, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::store::AttemptRecord;

/// Columns of [`operation`], in order.
pub(super) const OPERATION: &str = "id, kind, state, environment, cluster, cluster_id, requested_by, reason, \
     created_at, started_at, ended_at, progress, failure, warnings, output_bytes, retry_of, request_id";
/// Columns of [`cluster`], in order.
pub(super) const CLUSTER: &str = "id, environment, name, phase, spec, revision, volume, operation, generation, \
     ca_sha256, failure, conditions, created_at, updated_at, deletion_protection, certificates_expire_at";
/// Columns of [`attempt`], in order.
pub(super) const ATTEMPT: &str = "id, task, kind, state, agent, fence, leased_at, started_at, ended_at, failure, rke, \
     output_offset, output_bytes, taken_over";

fn unreadable(column: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, Error> {
    let read = |e: FromSqlError| unreadable(column, e.to_string());
    row.get_ref(column)?.as_str().map_err(read)
}

fn optional<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r str>, Error> {
    let read = |e: FromSqlError| unreadable(column, e.to_string());
    row.get_ref(column)?.as_str_or_null().map_err(read)
}

/// A column with a word, a name or an id.
pub(super) fn word<T: FromStr<Err = String>>(row: &Row<'_>, column: usize) -> Result<T, Error> {
    text(row, column)?.parse().map_err(|e: String| unreadable(column, e))
}

/// The same, or NULL.
pub(super) fn word_or_null<T: FromStr<Err = String>>(row: &Row<'_>, column: usize) -> Result<Option<T>, Error> {
    optional(row, column)?.map(|t| t.parse().map_err(|e: String| unreadable(column, e))).transpose()
}

/// A column with JSON.
pub(super) fn document<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, Error> {
    serde_json::from_str(text(row, column)?).map_err(|e| unreadable(column, e))
}

/// The same, or NULL.
pub(super) fn document_or_null<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, Error> {
    optional(row, column)?.map(|t| serde_json::from_str(t).map_err(|e| unreadable(column, e))).transpose()
}

/// A column with a point in time.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Error> {
    row.get(column).map(Timestamp::from_millis)
}

/// The same, or NULL.
pub(super) fn time_or_null(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// A column with a count.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

/// The same, or NULL.
pub(super) fn count_or_null(row: &Row<'_>, column: usize) -> Result<Option<u64>, Error> {
    let number: Option<i64> = row.get(column)?;
    number.map(|n| u64::try_from(n).map_err(|_| Error::IntegralValueOutOfRange(column, n))).transpose()
}

/// A count as SQLite takes it.
pub(super) fn int(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Damaged(format!("{number} is more than can be stored")))
}

/// An id or a word as SQLite takes it.
pub(super) fn key(value: impl Display) -> String {
    value.to_string()
}

/// JSON as SQLite takes it.
pub(super) fn json(value: &impl Serialize) -> Result<String, Fault> {
    Ok(serde_json::to_string(value)?)
}

/// JSON or NULL.
pub(super) fn json_or_null(value: Option<&impl Serialize>) -> Result<Option<String>, Fault> {
    value.map(json).transpose()
}

/// An operation from columns [`OPERATION`].
pub(super) fn operation(row: &Row<'_>) -> Result<Operation, Error> {
    Ok(Operation {
        id: word(row, 0)?,
        kind: word(row, 1)?,
        state: word(row, 2)?,
        environment: word(row, 3)?,
        cluster: word(row, 4)?,
        cluster_id: word(row, 5)?,
        requested_by: row.get(6)?,
        reason: row.get(7)?,
        created_at: time(row, 8)?,
        started_at: time_or_null(row, 9)?,
        ended_at: time_or_null(row, 10)?,
        progress: document_or_null(row, 11)?,
        failure: document_or_null(row, 12)?,
        warnings: document(row, 13)?,
        waiting_for: None,
        output_bytes: count(row, 14)?,
        retry_of: word_or_null(row, 15)?,
        request_id: row.get(16)?,
    })
}

/// A cluster from columns [`CLUSTER`].
pub(super) fn cluster(row: &Row<'_>) -> Result<Cluster, Error> {
    Ok(Cluster {
        id: word(row, 0)?,
        environment: word(row, 1)?,
        name: word(row, 2)?,
        phase: word(row, 3)?,
        spec: spec_column(row, 4)?,
        revision: count(row, 5)?,
        volume: word_or_null(row, 6)?,
        operation: word_or_null(row, 7)?,
        generation: count_or_null(row, 8)?,
        ca_sha256: row.get(9)?,
        failure: document_or_null(row, 10)?,
        conditions: document(row, 11)?,
        created_at: time(row, 12)?,
        updated_at: time(row, 13)?,
        deletion_protection: row.get("deletion_protection")?,
        certificates_expire_at: time_or_null(row, 15)?,
    })
}

/// An attempt from columns [`ATTEMPT`].
pub(super) fn attempt(row: &Row<'_>) -> Result<AttemptRecord, Error> {
    Ok(AttemptRecord {
        id: word(row, 0)?,
        task: word(row, 1)?,
        kind: word(row, 2)?,
        state: word(row, 3)?,
        agent: word(row, 4)?,
        fence: Fence(count(row, 5)?),
        leased_at: time(row, 6)?,
        started_at: time_or_null(row, 7)?,
        ended_at: time_or_null(row, 8)?,
        failure: document_or_null(row, 9)?,
        rke: document_or_null(row, 10)?,
        output_offset: count(row, 11)?,
        output_bytes: count(row, 12)?,
        taken_over: row.get(13)?,
    })
}

/// A column with a spec.
pub(super) fn spec_column(row: &Row<'_>, column: usize) -> Result<ClusterSpec, Error> {
    spec(text(row, column)?).map_err(|e| unreadable(column, e))
}

/// Reads a stored spec. It was checked when it was accepted; only its shape is read here.
pub(super) fn spec(document: &str) -> Result<ClusterSpec, String> {
    let value = parse_json(document.as_bytes()).map_err(|e| e.to_string())?;
    let notes = Notes::default();
    let spec = intake::read_spec(&Field::root(&value, &notes));
    match (spec, notes.into_faults().errors.first()) {
        (Some(spec), None) => Ok(spec),
        (_, fault) => Err(fault.map_or_else(|| "it is not a spec".into(), ToString::to_string)),
    }
}
