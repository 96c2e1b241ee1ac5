//! Reading agents, and what their heartbeats say.
//!
//! Heartbeats come every few seconds from every agent and need not survive a power cut: they are kept
//! in memory and written together once a minute, at once only when the volumes changed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cratekube_common::domain::agent::{Agent, AgentFacts, RENEW_GRACE, VolumeStatus};
use cratekube_common::domain::cluster::spec::KubernetesVersion;
use cratekube_common::domain::id::{AgentId, VolumeId};
use cratekube_common::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::page;
use super::rows::{self, json, key};
use crate::store::{HeartbeatFacts, Page, PageRequest};

const AGENT: &str = "a.id, a.name, a.state, a.environments, a.enrolled_at, a.certificate_serial, \
     a.certificate_not_after, a.facts, s.seen_at, s.clock_skew_ms, s.volumes, a.seq, a.generation, \
     EXISTS (SELECT 1 FROM bans b WHERE b.agent = a.id), \
     (SELECT c.issuer FROM certificates c WHERE c.agent = a.id AND c.serial = a.certificate_serial) AS issuer \
     FROM agents a LEFT JOIN sightings s ON s.agent = a.id";
/// How old what is written of heartbeats may be.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// An agent.
pub(super) fn by_id(db: &Connection, id: AgentId) -> Result<Option<Agent>, Fault> {
    let sql = format!("SELECT {AGENT} WHERE a.id = ?1");
    let found = db.prepare_cached(&sql)?.query_row([key(id)], agent).optional()?;
    let Some((mut agent, _)) = found else { return Ok(None) };
    hold(db, &mut agent)?;
    Ok(Some(agent))
}

/// Agents by name.
pub(super) fn list(db: &Connection, request: &PageRequest) -> Result<Page<Agent>, Fault> {
    let Some((name, seq, limit)) = page::by_name(request) else { return Ok(page::empty()) };
    let sql = format!("SELECT {AGENT} WHERE (a.name, a.seq) > (?1, ?2) ORDER BY a.name, a.seq LIMIT ?3");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map(params![name, seq, limit], agent)?.collect::<Result<Vec<_>, _>>()?;
    let page = page::cut(found, request.limit, |(agent, seq)| format!("{}/{seq}", agent.name));
    let mut items: Vec<Agent> = page.items.into_iter().map(|(agent, _)| agent).collect();
    for agent in &mut items {
        hold(db, agent)?;
    }
    Ok(Page { items, next: page.next })
}

/// Agents that are not revoked, by name.
pub(super) fn living(db: &Connection, limit: usize) -> Result<Vec<Agent>, Fault> {
    let sql = format!("SELECT {AGENT} WHERE a.state <> 'revoked' ORDER BY a.name LIMIT ?1");
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_map([page::rows(limit) - 1], agent)?.collect::<Result<Vec<_>, _>>()?;
    let mut agents: Vec<Agent> = found.into_iter().map(|(agent, _)| agent).collect();
    for agent in &mut agents {
        hold(db, agent)?;
    }
    Ok(agents)
}

/// Agents that may connect and can still renew after a moment, and whose certificate in use is not from this
/// root, by name.
pub(super) fn not_certified_by(
    db: &Connection,
    issuer: &str,
    renewable_at: Timestamp,
    limit: usize,
) -> Result<Vec<Agent>, Fault> {
    let sql = format!(
        "SELECT {AGENT} WHERE a.state IN ('active', 'cordoned', 'draining') AND coalesce(issuer, '') <> ?1 \
         AND (a.certificate_not_after > ?2 OR EXISTS (SELECT 1 FROM certificates c WHERE c.agent = a.id \
              AND c.used_at IS NULL AND c.replaced_at IS NULL AND c.not_after > ?2)) ORDER BY a.name LIMIT ?3"
    );
    let mut select = db.prepare_cached(&sql)?;
    let since = renewable_at.as_millis() - i64::try_from(RENEW_GRACE.as_millis()).unwrap_or(0);
    let found = select.query_map(params![issuer, since, page::rows(limit) - 1], agent)?;
    let mut agents: Vec<Agent> = found.map(|row| row.map(|(agent, _)| agent)).collect::<Result<_, _>>()?;
    for agent in &mut agents {
        hold(db, agent)?;
    }
    Ok(agents)
}

/// Kubernetes versions on offer, oldest first.
pub(super) fn kubernetes_versions(db: &Connection) -> Result<Vec<String>, Fault> {
    let mut select = db.prepare_cached("SELECT version FROM kubernetes_versions")?;
    let mut versions: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // By number, not by text: v1.9 is older than v1.10.
    versions.sort_by_cached_key(|version| {
        (version.parse::<KubernetesVersion>().ok().map(|known| known.numbers()), version.clone())
    });
    Ok(versions)
}

fn agent(row: &Row<'_>) -> Result<(Agent, i64), rusqlite::Error> {
    let mut facts: Option<AgentFacts> = rows::document_or_null(row, 7)?;
    let volumes: Option<Vec<VolumeStatus>> = rows::document_or_null(row, 10)?;
    if let (Some(facts), Some(volumes)) = (&mut facts, volumes) {
        facts.volumes = volumes;
    }
    let agent = Agent {
        id: rows::word(row, 0)?,
        name: rows::word(row, 1)?,
        state: rows::word(row, 2)?,
        environments: rows::word(row, 3)?,
        enrolled_at: rows::time(row, 4)?,
        certificate_serial: row.get(5)?,
        certificate_not_after: rows::time(row, 6)?,
        certificate_generation: rows::count(row, 12)?,
        certificate_issuer: row.get::<_, Option<String>>(14)?.filter(|issuer| !issuer.is_empty()),
        banned: row.get(13)?,
        facts,
        last_seen_at: rows::time_or_null(row, 8)?,
        clock_skew_ms: row.get(9)?,
        running: Vec::new(),
    };
    Ok((agent, row.get(11)?))
}

fn hold(db: &Connection, agent: &mut Agent) -> Result<(), Fault> {
    let mut select = db.prepare_cached(
        "SELECT id FROM attempts WHERE agent = ?1 AND state IN ('leased', 'started', 'unknown') ORDER BY seq",
    )?;
    agent.running = select.query_map([key(agent.id)], |row| rows::word(row, 0))?.collect::<Result<_, _>>()?;
    Ok(())
}

/// Writes what heartbeats said, and takes volumes that nobody serves yet.
pub(super) fn write_sightings(db: &Connection, seen: &[(AgentId, HeartbeatFacts)]) -> Result<(), Fault> {
    let known = "SELECT EXISTS (SELECT 1 FROM agents WHERE id = ?1 AND state NOT IN ('revoked', 'quarantined'))";
    let mut known = db.prepare_cached(known)?;
    for (agent, facts) in seen {
        if known.query_row([key(agent)], |row| row.get(0))? {
            sight(db, *agent, facts.seen_at, Some(facts.clock_skew_ms), &facts.volumes)?;
            for volume in healthy(&facts.volumes) {
                let sql = "INSERT INTO volumes (id, agent, taken_at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
                db.prepare_cached(sql)?.execute(params![key(volume), key(agent), facts.seen_at.as_millis()])?;
            }
        }
    }
    Ok(())
}

/// Writes when an agent was seen, and its volumes.
pub(super) fn sight(
    db: &Connection,
    agent: AgentId,
    seen_at: Timestamp,
    clock_skew_ms: Option<i64>,
    volumes: &[VolumeStatus],
) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO sightings (agent, seen_at, clock_skew_ms, volumes) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (agent) DO UPDATE SET seen_at = ?2, clock_skew_ms = coalesce(?3, clock_skew_ms), volumes = ?4",
    )?
    .execute(params![key(agent), seen_at.as_millis(), clock_skew_ms, json(&volumes)?])?;
    Ok(())
}

/// Volumes without a fault.
pub(super) fn healthy(volumes: &[VolumeStatus]) -> impl Iterator<Item = VolumeId> {
    volumes.iter().filter(|volume| volume.fault.is_none()).map(|volume| volume.id)
}

/// What heartbeats said and is not written yet.
#[derive(Debug, Default)]
pub(super) struct Sightings(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    seen: HashMap<AgentId, Sighting>,
    written_at: Timestamp,
}

#[derive(Debug)]
struct Sighting {
    facts: HeartbeatFacts,
    written: bool,
}

impl Sightings {
    /// Keeps a heartbeat. Answers what is to be written now.
    pub(super) fn note(&self, agent: AgentId, facts: HeartbeatFacts) -> Vec<(AgentId, HeartbeatFacts)> {
        let mut kept = self.lock();
        let now = facts.seen_at;
        let same = kept.seen.get(&agent).is_some_and(|last| healthy(&last.facts.volumes).eq(healthy(&facts.volumes)));
        // In both directions: a clock that was set back must not stop the writing.
        let age = now.since(kept.written_at).max(kept.written_at.since(now));
        kept.seen.insert(agent, Sighting { facts: facts.clone(), written: !same });
        if age >= WRITTEN_EVERY {
            kept.written_at = now;
            let mut due = kept.take_unwritten();
            due.extend((!same).then_some((agent, facts)));
            return due;
        }
        if same { Vec::new() } else { vec![(agent, facts)] }
    }

    /// An agent connected: what it says now is written by that.
    pub(super) fn connected(&self, agent: AgentId, facts: HeartbeatFacts) {
        self.lock().seen.insert(agent, Sighting { facts, written: true });
    }

    /// Everything that is not written.
    pub(super) fn unwritten(&self) -> Vec<(AgentId, HeartbeatFacts)> {
        self.lock().take_unwritten()
    }

    /// Brings what was read up to date.
    pub(super) fn overlay(&self, agent: &mut Agent) {
        if let Some(Sighting { facts, written: false }) = self.lock().seen.get(&agent.id) {
            agent.last_seen_at = Some(facts.seen_at);
            agent.clock_skew_ms = Some(facts.clock_skew_ms);
            if let Some(known) = &mut agent.facts {
                known.volumes.clone_from(&facts.volumes);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take_unwritten(&mut self) -> Vec<(AgentId, HeartbeatFacts)> {
        let waiting = self.seen.iter_mut().filter(|(_, sighting)| !sighting.written);
        let take = |(id, sighting): (&AgentId, &mut Sighting)| {
            sighting.written = true;
            (*id, sighting.facts.clone())
        };
        waiting.map(take).collect()
    }
}
