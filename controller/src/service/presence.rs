//! Which agents are here now: what live sessions say, kept in memory.
//!
//! The store keeps what was last known of an agent; this keeps what is true at this moment on this
//! controller. An agent is online while it has a session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cratekube_common::domain::agent::VolumeStatus;
use cratekube_common::domain::id::{AgentId, SessionId, VolumeId};
use cratekube_common::domain::time::Timestamp;

/// What is known of a connected agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its session.
    pub session: SessionId,
    /// Since when.
    pub connected_at: Timestamp,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// Its clock minus ours, in milliseconds.
    pub clock_skew_ms: i64,
    /// Its volumes.
    pub volumes: Vec<VolumeStatus>,
    /// Assignments it could take now.
    pub free_slots: u32,
    /// One-minute load average of its host.
    pub load: f64,
    /// Address it connects from.
    pub address: String,
}

/// Who is here.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    agents: Arc<Mutex<BTreeMap<AgentId, Seen>>>,
}

impl Presence {
    /// What is known of an agent, while it is connected.
    #[must_use]
    pub fn of(&self, agent: AgentId) -> Option<Seen> {
        self.lock().get(&agent).cloned()
    }

    /// How many agents are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Assignments that all of them together could take now.
    #[must_use]
    pub fn free_slots(&self) -> u64 {
        self.lock().values().map(|seen| u64::from(seen.free_slots)).sum()
    }

    /// The largest distance of a connected agent's clock from ours, in milliseconds.
    #[must_use]
    pub fn largest_skew_ms(&self) -> u64 {
        self.lock().values().map(|seen| seen.clock_skew_ms.unsigned_abs()).max().unwrap_or(0)
    }

    /// An agent connected; replaces an older session of it.
    pub fn arrive(&self, agent: AgentId, seen: Seen) {
        self.lock().insert(agent, seen);
    }

    /// Something new is known of an agent, if this is still its session.
    pub fn update(&self, agent: AgentId, session: SessionId, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.lock().get_mut(&agent).filter(|seen| seen.session == session) {
            change(seen);
        }
    }

    /// A session ended; says whether it was the agent's current one.
    pub fn leave(&self, agent: AgentId, session: SessionId) -> bool {
        let mut agents = self.lock();
        let current = agents.get(&agent).is_some_and(|seen| seen.session == session);
        if current {
            agents.remove(&agent);
        }
        current
    }

    /// Volumes that live sessions of other agents serve without a fault.
    #[must_use]
    pub fn volumes_of_others(&self, agent: AgentId) -> Vec<VolumeId> {
        let agents = self.lock();
        let others = agents.iter().filter(|(id, _)| **id != agent);
        others.flat_map(|(_, seen)| &seen.volumes).filter(|v| v.fault.is_none()).map(|v| v.id).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AgentId, Seen>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
