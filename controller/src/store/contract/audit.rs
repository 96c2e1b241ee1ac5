//! The audit log.

use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::time::Timestamp;

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub entry: AuditEntry,
    /// SHA-256 over it and the hash of the entry before it.
    pub hash: Vec<u8>,
}

/// Where the chain of the audit log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLink {
    /// Number of an entry.
    pub number: u64,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// Which entries of the audit log; what is not given is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this actor.
    pub actor: Option<String>,
    /// This action.
    pub action: Option<String>,
    /// On this object.
    pub object: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}
