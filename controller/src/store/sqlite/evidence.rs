//! What was refused and is kept as evidence: reports and pieces of output of superseded runs.
//!
//! Within bounds: the first ones of an attempt, so that whoever floods cannot wash them out, and the
//! newest ones of an agent, which may name attempts that never were. Of output the place, size and
//! checksum are kept: the bytes are on the agent's volume.

use aws_lc_rs::digest::{SHA256, digest};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AgentId, AttemptId};
use cratekube_common::domain::run::RunReport;
use cratekube_common::domain::time::Timestamp;
use data_encoding::HEXLOWER;
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::fault::Fault;
use super::page;
use super::rows::{self, key};
use crate::store::{Evidence, Page, PageRequest};

/// Pieces of one sort, of one agent and one attempt.
const PER_ATTEMPT: usize = 8;
/// Pieces of one agent.
const PER_AGENT: i64 = 256;

/// Keeps a report that is not applied.
pub(super) fn keep_report(
    db: &Connection,
    agent: AgentId,
    report: &RunReport,
    document: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    keep(db, "report", (agent, report.attempt, report.fence), document, now)
}

/// Keeps what can be said of output that is not stored.
pub(super) fn keep_output(
    db: &Connection,
    run: (AgentId, AttemptId, Fence),
    offset: u64,
    data: &[u8],
    now: Timestamp,
) -> Result<(), Fault> {
    let sha256 = HEXLOWER.encode(digest(&SHA256, data).as_ref());
    let document = json!({"offset": offset, "bytes": data.len(), "sha256": sha256}).to_string();
    keep(db, "output", run, &document, now)
}

fn keep(
    db: &Connection,
    kind: &str,
    (agent, attempt, fence): (AgentId, AttemptId, Fence),
    document: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    let (attempt, agent) = (key(attempt), key(agent));
    let mut kept =
        db.prepare_cached("SELECT report FROM quarantine WHERE attempt = ?1 AND agent = ?2 AND kind = ?3")?;
    let kept = kept.query_map(params![attempt, agent, kind], |row| row.get::<_, String>(0))?;
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    if kept.len() >= PER_ATTEMPT || kept.iter().any(|known| known == document) {
        return Ok(());
    }
    let fence = i64::try_from(fence.0).unwrap_or(i64::MAX);
    db.prepare_cached(
        "INSERT INTO quarantine (attempt, agent, fence, report, at, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![attempt, agent, fence, document, now.as_millis(), kind])?;
    let trim = "DELETE FROM quarantine WHERE seq IN \
                (SELECT seq FROM quarantine WHERE agent = ?1 ORDER BY seq DESC LIMIT -1 OFFSET ?2)";
    db.prepare_cached(trim)?.execute(params![agent, PER_AGENT])?;
    Ok(())
}

/// What is kept, newest first.
pub(super) fn list(db: &Connection, request: &PageRequest) -> Result<Page<Evidence>, Fault> {
    let Some((before, limit)) = page::descending(request) else { return Ok(page::empty()) };
    let mut select = db.prepare_cached(
        "SELECT seq, kind, attempt, agent, fence, report, at FROM quarantine WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Evidence {
            number: rows::count(row, 0)?,
            kind: row.get(1)?,
            attempt: row.get(2)?,
            agent: rows::word(row, 3)?,
            fence: Fence(rows::count(row, 4)?),
            document: rows::document(row, 5)?,
            at: rows::time(row, 6)?,
        })
    };
    let found = select.query_map(params![before, limit], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(found, request.limit, |evidence| evidence.number.to_string()))
}
