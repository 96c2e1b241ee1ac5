//! An agent connects: its facts are recorded, its volumes become its own, its runs get their word.
//!
//! What becomes of every attempt is decided by [`plan::reconcile`](crate::plan::reconcile).

use std::collections::{BTreeSet, HashSet};

use cratekube_common::domain::agent::{AgentFacts, AgentState};
use cratekube_common::domain::attempt::{self, AttemptEvent, Fence};
use cratekube_common::domain::id::{AgentId, AttemptId, VolumeId};
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::RunVerdict;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{self, json, key};
use super::{agents, attempts, events};
use crate::plan::reconcile::{Recorded, reconcile};
use crate::store::ConnectAgent;

/// Said of attempts that an agent was given and never began.
const NEVER_STARTED: &str = "the agent connected and does not hold it";
const RECORDED: &str = "SELECT a.id, a.agent, a.cluster_id, a.volume, a.fence, a.state, a.started_at IS NOT NULL, \
     o.state FROM attempts a JOIN operations o ON o.id = a.operation";

/// Records a connection and answers what becomes of each held run.
pub(super) fn connect(db: &Connection, request: &ConnectAgent) -> Result<Vec<(AttemptId, RunVerdict)>, Fault> {
    if !may_connect(db, request.agent)? {
        return Ok(request.runs.iter().map(|run| (run.attempt, RunVerdict::Forget)).collect());
    }
    record_facts(db, request)?;
    events::agent(db, "agent.connected", &key(request.agent))?;
    let served = take_volumes(db, request)?;
    let recorded = recorded(db, request, &served)?;
    for attempt in recorded.iter().filter(|attempt| served.contains(&attempt.volume)) {
        attempts::found_on_volume(db, request.agent, attempt.id)?;
    }
    let plan = reconcile(request.agent, &served, &request.runs, &recorded);
    let found = |id: &AttemptId| recorded.iter().find(|attempt| attempt.id == *id);
    for attempt in plan.adopt.iter().filter_map(found) {
        adopt(db, request.agent, attempt)?;
    }
    for attempt in plan.release.iter().filter_map(found) {
        attempts::give_back(db, attempt.id, attempt.state, NEVER_STARTED, request.now)?;
    }
    attempts::lose(db, &plan.lose)?;
    Ok(plan.verdicts)
}

fn may_connect(db: &Connection, agent: AgentId) -> Result<bool, Fault> {
    let mut select = db.prepare_cached("SELECT state FROM agents WHERE id = ?1")?;
    let state: Option<AgentState> = select.query_row([key(agent)], |row| rows::word(row, 0)).optional()?;
    Ok(state.is_some_and(AgentState::may_connect))
}

fn record_facts(db: &Connection, request: &ConnectAgent) -> Result<(), Fault> {
    // The volumes are kept with the sightings: their free space never stays the same.
    let facts = json(&AgentFacts { volumes: Vec::new(), ..request.facts.clone() })?;
    // Most reconnects say what was said before; thousands of them at once should write little.
    let sql = "UPDATE agents SET facts = ?2 WHERE id = ?1 AND facts IS NOT ?2";
    let changed = db.prepare_cached(sql)?.execute(params![key(request.agent), facts])?;
    if changed == 1 {
        let mut insert =
            db.prepare_cached("INSERT INTO kubernetes_versions (version) VALUES (?1) ON CONFLICT DO NOTHING")?;
        for version in &request.facts.kubernetes_versions {
            insert.execute([version])?;
        }
    }
    agents::sight(db, request.agent, request.now, None, &request.facts.volumes)
}

/// Healthy volumes become the agent's, unless another one serves them right now.
fn take_volumes(db: &Connection, request: &ConnectAgent) -> Result<BTreeSet<VolumeId>, Fault> {
    let mut take = db.prepare_cached(
        "INSERT INTO volumes (id, agent, taken_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (id) DO UPDATE SET agent = ?2, taken_at = ?3 WHERE agent <> ?2",
    )?;
    let mut served = BTreeSet::new();
    for volume in agents::healthy(&request.facts.volumes).filter(|volume| !request.contested.contains(volume)) {
        take.execute(params![key(volume), key(request.agent), request.now.as_millis()])?;
        served.insert(volume);
    }
    Ok(served)
}

fn recorded(db: &Connection, request: &ConnectAgent, served: &BTreeSet<VolumeId>) -> Result<Vec<Recorded>, Fault> {
    let mut found = Vec::new();
    let held = request.runs.iter().map(|run| run.attempt.to_string());
    find(db, "a.id = ?1", held, &mut found)?;
    let live = "a.state IN ('leased', 'started', 'unknown')";
    find(db, &format!("a.agent = ?1 AND {live}"), std::iter::once(key(request.agent)), &mut found)?;
    find(db, &format!("a.volume = ?1 AND {live}"), served.iter().map(key), &mut found)?;
    let mut seen = HashSet::new();
    found.retain(|attempt| seen.insert(attempt.id));
    Ok(found)
}

fn find(
    db: &Connection,
    condition: &str,
    values: impl Iterator<Item = String>,
    found: &mut Vec<Recorded>,
) -> Result<(), Fault> {
    let mut select = db.prepare_cached(&format!("{RECORDED} WHERE {condition} ORDER BY a.seq"))?;
    let read = |row: &Row<'_>| {
        Ok(Recorded {
            id: rows::word(row, 0)?,
            agent: rows::word(row, 1)?,
            cluster: rows::word(row, 2)?,
            volume: rows::word(row, 3)?,
            fence: Fence(rows::count(row, 4)?),
            state: rows::word(row, 5)?,
            started: row.get(6)?,
            cancelling: rows::word::<OperationState>(row, 7)? == OperationState::Cancelling,
        })
    };
    for value in values {
        found.extend(select.query_map([value], read)?.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(())
}

/// A held run goes on under this agent. One that is not known to have started may be held in the
/// agent's memory only: that it started is for the agent to say, once its journal says so.
fn adopt(db: &Connection, agent: AgentId, found: &Recorded) -> Result<(), Fault> {
    let started = || attempt::transition(found.state, AttemptEvent::Started);
    let state = if found.started { started()? } else { found.state };
    let sql = "UPDATE attempts SET state = ?2, taken_over = taken_over OR agent <> ?3, agent = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(found.id), state.as_str(), key(agent)])?;
    Ok(())
}
