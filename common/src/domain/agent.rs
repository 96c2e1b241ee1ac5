//! Agents as admins see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::environment::EnvironmentPattern;
use super::id::{AgentId, AttemptId, VolumeId};
use super::name::AgentName;
use super::run::RkeBinary;
use super::time::Timestamp;
use super::{IllegalTransition, spelled};

/// For so long after its end an agent's certificate is good for its own renewal and for nothing else: a
/// controller that was down over a long weekend does not cost every agent a new enrolment.
pub const RENEW_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

spelled! {
    /// What an agent may do.
    pub enum AgentState {
        /// May connect and take work.
        Active = "active",
        /// Keeps what it runs, takes nothing new.
        Cordoned = "cordoned",
        /// Like cordoned, on the way out.
        Draining = "draining",
        /// Two hosts used its identity: neither may connect until an admin revokes it.
        Quarantined = "quarantined",
        /// May not connect.
        Revoked = "revoked",
    }
}

impl AgentState {
    /// Whether an agent in this state may connect at all.
    #[must_use]
    pub const fn may_connect(self) -> bool {
        match self {
            Self::Active | Self::Cordoned | Self::Draining => true,
            Self::Quarantined | Self::Revoked => false,
        }
    }
}

/// What an admin can do to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentEvent {
    /// Give it nothing new.
    Cordon,
    /// Give it work again.
    Uncordon,
    /// Give it nothing new, because it is to go.
    Drain,
    /// Let it connect no more.
    Revoke,
}

/// The one transition function of agents. Repeating a step changes nothing.
///
/// # Errors
/// [`IllegalTransition`] for every step of a revoked agent but being revoked again, and for cordoning
/// one that is on its way out.
pub fn transition(state: AgentState, event: AgentEvent) -> Result<AgentState, IllegalTransition> {
    use AgentEvent as E;
    use AgentState as S;
    match (state, event) {
        (_, E::Revoke) => Ok(S::Revoked),
        (S::Active | S::Cordoned, E::Cordon) => Ok(S::Cordoned),
        (S::Active | S::Cordoned | S::Draining, E::Uncordon) => Ok(S::Active),
        (S::Active | S::Cordoned | S::Draining, E::Drain) => Ok(S::Draining),
        _ => Err(IllegalTransition::new("agent", state, event)),
    }
}

/// A state volume as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// The volume's own id.
    pub id: VolumeId,
    /// Where it is mounted on the agent.
    pub path: String,
    /// Bytes free for the agent.
    pub free_bytes: u64,
    /// Size in bytes.
    pub total_bytes: u64,
    /// Why it is not served, when it is not.
    pub fault: Option<String>,
    /// Bytes that must be free beyond three copies of the state, or no run begins; none where its agent does
    /// not say.
    #[serde(default)]
    pub reserve_bytes: Option<u64>,
    /// What the last scrub found; none before the first.
    #[serde(default)]
    pub scrub: Option<ScrubStatus>,
}

impl VolumeStatus {
    /// Whether it has less space than must be free for a run to begin.
    #[must_use]
    pub fn below_reserve(&self) -> bool {
        self.fault.is_none() && self.reserve_bytes.is_some_and(|reserve| self.free_bytes < reserve)
    }
}

/// What came of reading everything again that is sealed on a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// When it ended.
    pub ended_at: Timestamp,
    /// Generations that were read.
    pub checked: u64,
    /// What is not as it was sealed, a sentence each. Service goes on.
    pub faults: Vec<String>,
}

/// What an agent says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Version of the agent.
    pub version: String,
    /// Operating system's name for the host.
    pub hostname: String,
    /// Attempts it executes at once.
    pub slots: u32,
    /// The `rke` it would run; none when there is none.
    pub rke: Option<RkeBinary>,
    /// Kubernetes versions that this `rke` offers.
    pub kubernetes_versions: Vec<String>,
    /// Its volumes.
    pub volumes: Vec<VolumeStatus>,
}

/// An agent with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: AgentName,
    /// What it may do.
    pub state: AgentState,
    /// Environments whose new clusters it may be given.
    pub environments: EnvironmentPattern,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// Serial number of the certificate it uses, lower-case hex.
    pub certificate_serial: String,
    /// When that certificate ends.
    pub certificate_not_after: Timestamp,
    /// How often its certificate was renewed, from 1.
    pub certificate_generation: u64,
    /// Fingerprint of the root that made it; none when that was not kept yet.
    pub certificate_issuer: Option<String>,
    /// Whether its name and keys are barred from enrolling.
    pub banned: bool,
    /// What it last said of itself; none before its first session.
    pub facts: Option<AgentFacts>,
    /// When it was last heard of.
    pub last_seen_at: Option<Timestamp>,
    /// Its clock minus ours at the last heartbeat, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// Attempts it holds.
    pub running: Vec<AttemptId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_agent_comes_back_by_uncordon_only_and_a_revoked_one_never() {
        let after = |state, event| transition(state, event).ok();
        assert_eq!(after(AgentState::Draining, AgentEvent::Cordon), None);
        assert_eq!(after(AgentState::Draining, AgentEvent::Uncordon), Some(AgentState::Active));
        for event in [AgentEvent::Cordon, AgentEvent::Uncordon, AgentEvent::Drain] {
            assert_eq!(after(AgentState::Revoked, event), None);
        }
        assert_eq!(after(AgentState::Revoked, AgentEvent::Revoke), Some(AgentState::Revoked));
    }
}
