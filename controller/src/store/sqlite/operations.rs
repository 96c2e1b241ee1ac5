//! Reading operations and their attempts.
//!
//! A list over many environments asks each environment for its newest and merges: so an account that
//! may see one small environment does not pay for the others.

use std::time::Duration;

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{OperationId, VolumeId};
use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::domain::operation::{Operation, OperationState};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::fault::Fault;
use super::page;
use super::rows::{self, ATTEMPT, OPERATION, key};
use crate::plan::assignment::{self, Waiting};
use crate::store::{AttemptRecord, OperationFilter, Page, PageRequest, TaskRecord};

/// An operation, without the reason it waits for.
pub(super) fn bare(db: &Connection, id: OperationId) -> Result<Option<Operation>, Fault> {
    let sql = format!("SELECT {OPERATION} FROM operations WHERE id = ?1");
    Ok(db.prepare_cached(&sql)?.query_row([key(id)], rows::operation).optional()?)
}

/// An operation.
pub(super) fn by_id(db: &Connection, id: OperationId) -> Result<Option<Operation>, Fault> {
    let mut operation = bare(db, id)?;
    if let Some(operation) = &mut operation {
        explain(db, operation)?;
    }
    Ok(operation)
}

/// Operations, newest first.
pub(super) fn list(db: &Connection, filter: &OperationFilter, request: &PageRequest) -> Result<Page<Operation>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let everywhere = filter.environments.iter().any(EnvironmentPattern::is_any);
    let mut found = Vec::new();
    if everywhere && filter.environment.is_none() && filter.state.is_none() && filter.cluster.is_none() {
        found = select(db, None, filter, before, limit)?;
    } else {
        for environment in environments(db, filter)? {
            found.extend(select(db, Some(&environment), filter, before, limit)?);
        }
        found.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let page = page::cut(found, request.limit, |(seq, _)| seq.to_string());
    let mut items: Vec<Operation> = page.items.into_iter().map(|(_, operation)| operation).collect();
    for operation in &mut items {
        explain(db, operation)?;
    }
    Ok(Page { items, next: page.next })
}

/// The attempts of an operation, oldest first.
pub(super) fn attempts(db: &Connection, operation: OperationId) -> Result<Vec<AttemptRecord>, Fault> {
    let sql = format!("SELECT {ATTEMPT} FROM attempts WHERE operation = ?1 ORDER BY seq");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map([key(operation)], rows::attempt)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The environments that a filter allows.
fn environments(db: &Connection, filter: &OperationFilter) -> Result<Vec<EnvironmentName>, Fault> {
    let allowed = |name: &EnvironmentName| filter.environments.iter().any(|pattern| pattern.matches(name));
    if let Some(name) = &filter.environment {
        return Ok(Some(name.clone()).filter(allowed).into_iter().collect());
    }
    let mut select = db.prepare_cached("SELECT name FROM environments")?;
    let names = select.query_map([], |row| rows::word(row, 0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().filter(allowed).collect())
}

fn select(
    db: &Connection,
    environment: Option<&EnvironmentName>,
    filter: &OperationFilter,
    before: i64,
    limit: i64,
) -> Result<Vec<(i64, Operation)>, Fault> {
    let mut sql = format!("SELECT {OPERATION}, seq FROM operations WHERE seq < ?1");
    let mut values = vec![Value::from(before), Value::from(limit)];
    let conditions = [
        ("environment", environment.map(key)),
        ("cluster", filter.cluster.as_ref().map(key)),
        ("state", filter.state.map(key)),
    ];
    for (column, value) in conditions.into_iter().filter_map(|(column, value)| Some((column, value?))) {
        values.push(Value::from(value));
        sql.push_str(&format!(" AND {column} = ?{}", values.len()));
    }
    sql.push_str(" ORDER BY seq DESC LIMIT ?2");
    let read = |row: &Row<'_>| Ok((row.get("seq")?, rows::operation(row)?));
    let mut select = db.prepare_cached(&sql)?;
    Ok(select.query_map(params_from_iter(values), read)?.collect::<Result<_, _>>()?)
}

/// Says why an operation waits, as far as the store knows: who is connected it does not know.
fn explain(db: &Connection, operation: &mut Operation) -> Result<(), Fault> {
    let waiting = match operation.state {
        OperationState::Queued => Some(waiting(db, operation)?),
        state if state.is_terminal() => None,
        _ => match lost(db, operation.id)? {
            None if between(db, operation.id)? => Some(waiting(db, operation)?),
            lost => lost,
        },
    };
    operation.waiting_for = waiting.map(|waiting| assignment::waiting_for(&operation.environment, &waiting));
    Ok(())
}

/// Whether a run of an operation is out of touch.
fn lost(db: &Connection, id: OperationId) -> Result<Option<Waiting>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT (SELECT name FROM agents WHERE id = attempts.agent) FROM attempts WHERE operation = ?1 AND state = 'unknown'",
    )?;
    Ok(select.query_row([key(id)], |row| Ok(Waiting::Lost { agent: rows::word(row, 0)? })).optional()?)
}

/// Whether an operation has a task that may be leased: it stands between two of them.
fn between(db: &Connection, id: OperationId) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM tasks WHERE operation = ?1 AND state = 'queued')";
    Ok(db.prepare_cached(sql)?.query_row([key(id)], |row| row.get(0))?)
}

/// The tasks of an operation, in their order.
pub(super) fn tasks(db: &Connection, operation: OperationId) -> Result<Vec<TaskRecord>, Fault> {
    let mut select =
        db.prepare_cached("SELECT id, kind, state, findings FROM tasks WHERE operation = ?1 ORDER BY ordinal")?;
    let read = |row: &Row<'_>| {
        Ok(TaskRecord {
            id: rows::word(row, 0)?,
            kind: rows::word(row, 1)?,
            state: rows::word(row, 2)?,
            findings: rows::document_or_null(row, 3)?,
        })
    };
    Ok(select.query_map([key(operation)], read)?.collect::<Result<_, _>>()?)
}

/// Whether an operation waits to be tried again.
fn retry(db: &Connection, id: OperationId) -> Result<Option<Waiting>, Fault> {
    let mut select = db.prepare_cached(
        "SELECT delay_ms, (SELECT count(*) FROM attempts WHERE task = tasks.id AND operation = ?1 AND state <> 'released') \
         FROM tasks WHERE operation = ?1 AND state = 'queued' AND delay_ms > 0",
    )?;
    let read =
        |row: &Row<'_>| Ok(Waiting::Retry { wait: Duration::from_millis(rows::count(row, 0)?), attempts: row.get(1)? });
    Ok(select.query_row([key(id)], read).optional()?)
}

fn waiting(db: &Connection, operation: &Operation) -> Result<Waiting, Fault> {
    if let Some(retry) = retry(db, operation.id)? {
        return Ok(retry);
    }
    let mut locked = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM attempts WHERE cluster_id = ?1 AND state IN ('leased', 'started', 'unknown'))",
    )?;
    let cluster = key(operation.cluster_id);
    if locked.query_row([&cluster], |row| row.get(0))? {
        return Ok(Waiting::Locked);
    }
    let mut volume = db.prepare_cached("SELECT volume FROM clusters WHERE id = ?1")?;
    match volume.query_row([&cluster], |row| rows::word_or_null::<VolumeId>(row, 0))? {
        Some(volume) => volume_agent(db, volume),
        None => Ok(Waiting::NewCluster { agent_enrolled: agent_for(db, &operation.environment)? }),
    }
}

fn volume_agent(db: &Connection, volume: VolumeId) -> Result<Waiting, Fault> {
    let mut select = db.prepare_cached(
        "SELECT name, state, coalesce(facts ->> '$.slots', 0), \
             (SELECT count(*) FROM attempts WHERE agent = agents.id AND state IN ('leased', 'started', 'unknown')) \
         FROM agents WHERE id = (SELECT agent FROM volumes WHERE id = ?1) AND state <> 'revoked'",
    )?;
    let read = |row: &Row<'_>| {
        let (slots, running) = (row.get(2)?, row.get(3)?);
        Ok(Waiting::VolumeAgent { name: rows::word(row, 0)?, state: rows::word(row, 1)?, online: None, running, slots })
    };
    Ok(select.query_row(params![key(volume)], read).optional()?.unwrap_or(Waiting::VolumeUnserved(volume)))
}

fn agent_for(db: &Connection, environment: &EnvironmentName) -> Result<bool, Fault> {
    let mut select = db.prepare_cached("SELECT DISTINCT environments FROM agents WHERE state = 'active'")?;
    let mut patterns = select.query_map([], |row| rows::word::<EnvironmentPattern>(row, 0))?;
    patterns.try_fold(false, |found, pattern| Ok(found || pattern?.matches(environment)))
}
