//! Looks for objects in the cloud that were made for clusters which are not there any more.

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::id::{AgentId, OrphanScanId};
use cratekube_common::domain::removal::OrphanFindings;
use cratekube_common::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A scan that is to begin.
#[derive(Debug, Clone)]
pub struct BeginOrphanScan {
    /// Its id.
    pub id: OrphanScanId,
    /// Who asks; none when it is due.
    pub requested_by: Option<String>,
    /// Of this agent's cloud only; all agents' when none is named.
    pub agent: Option<AgentId>,
    /// Scans that began before this and did not end never will: their controller is gone.
    pub dead_before: Timestamp,
    /// The audit entry, when somebody asks.
    pub audit: Option<AuditEntry>,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum OrphanScanBegun {
    /// It began.
    Begun(OrphanScan),
    /// Another one is at work.
    AtWork(OrphanScanId),
}

/// A scan, with what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct OrphanScan {
    /// Its id.
    pub id: OrphanScanId,
    /// Who asked; none when it was due.
    pub requested_by: Option<String>,
    /// Of this agent's cloud only.
    pub agent: Option<AgentId>,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What each agent found.
    pub results: Vec<OrphanScanResult>,
}

/// What one agent found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrphanScanResult {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// What it found.
    pub findings: Option<OrphanFindings>,
    /// Why it found nothing out.
    pub fault: Option<String>,
}
