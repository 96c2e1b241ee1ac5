//! Who did what, from where, and what came of it.

use serde::{Deserialize, Serialize};

use super::spelled;

spelled! {
    /// What came of a request.
    pub enum AuditOutcome {
        /// It was done or accepted.
        Allowed = "allowed",
        /// It was refused.
        Refused = "refused",
    }
}

/// One entry of the append-only audit log, before the store gives it a number and a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Who: a token's subject, an agent's id, or `controller`.
    pub actor: String,
    /// From where: an address, or `local`.
    pub origin: String,
    /// What: `cluster.provision`, `agent.enroll`, …
    pub action: String,
    /// On which object: `prod/web`, an id.
    pub object: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Why it was refused, or what else is worth knowing. Never a secret, never a body.
    pub detail: String,
    /// The request it belongs to.
    pub request_id: String,
}
