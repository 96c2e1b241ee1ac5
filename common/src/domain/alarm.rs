//! Alarms: what an administrator has to look at, because somebody may be where they should not be, or
//! state is not what it was.

use super::id::AgentId;
use super::name::{ClusterName, EnvironmentName};
use super::spelled;
use super::time::Timestamp;

spelled! {
    /// Why an alarm rings.
    pub enum AlarmKind {
        /// A join token was used a second time: two hosts have it, or someone else does.
        JoinTokenReused = "join-token-reused",
        /// A replaced certificate was used: an agent's key is in two places.
        KeyInTwoPlaces = "key-in-two-places",
        /// An agent spoke of a run that was never its own.
        ForeignRun = "foreign-run",
        /// A cluster's CA is not the one on record, and nobody asked for another.
        ClusterCaChanged = "cluster-ca-changed",
        /// A cluster's sealed state contradicts the record: it is older, or another cluster's.
        StateContradicted = "state-contradicted",
    }
}

impl AlarmKind {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::JoinTokenReused => {
                "Find out who has the token: look at the audit log for both addresses, and revoke the agent that it made if it is not yours."
            }
            Self::KeyInTwoPlaces => {
                "Revoke the agent, find out how its key was copied, and enroll the right host again."
            }
            Self::ForeignRun => "Ban the agent and look at its host: no agent of ours speaks of another's runs.",
            Self::ClusterCaChanged => {
                "Run nothing on this cluster before its generations were compared; `recover-state` brings back the one with the CA on record."
            }
            Self::StateContradicted => {
                "Run nothing on this cluster before the generations on its state volume were compared with the record."
            }
        }
    }
}

/// An alarm that is to ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlarm {
    /// Why.
    pub kind: AlarmKind,
    /// What it is about. While an alarm of a kind is open, the next one about the same object only
    /// counts: whoever can ring it does not fill the list.
    pub object: String,
    /// The cluster that it is about.
    pub cluster: Option<(EnvironmentName, ClusterName)>,
    /// The agent that it is about.
    pub agent: Option<AgentId>,
    /// What was seen. Never a secret.
    pub detail: String,
}

/// An alarm that rang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Its number; newer ones are higher.
    pub number: u64,
    /// What rang; the detail is that of the first time.
    pub what: NewAlarm,
    /// When it rang first.
    pub first_at: Timestamp,
    /// When it rang last.
    pub last_at: Timestamp,
    /// How often it rang.
    pub count: u64,
    /// Who has seen to it; it is open while nobody has.
    pub acknowledged: Option<Acknowledgement>,
}

/// Somebody has seen to an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What was found, or done about it.
    pub reason: String,
}
