//! What an agent may do with the certificate it shows: decided from values, on every call.
//!
//! Each renewal makes the next *generation*. The newest one that was ever shown is in use; those
//! before it are replaced. A host that comes with a replaced one is not the host that renewed it:
//! there are two holders of what should be one key, and nobody can tell which is the right one.
//!
//! Not here: that the certificate comes from our authority, which the handshake has proved.

use std::time::Duration;

use cratekube_common::domain::agent::{AgentState, RENEW_GRACE};
use cratekube_common::domain::time::Timestamp;

use crate::store::CertificateRecord;

/// For so long after it was replaced a certificate may still be shown: its agent goes over to the new
/// one while calls under the old one are on their way.
pub const HANDOVER: Duration = Duration::from_secs(120);

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// For a new certificate.
    Renew,
    /// Anything else.
    Work,
}

/// What the certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// Its generation; none when it was made before certificates carried it.
    pub generation: Option<u64>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The call is allowed.
    Good,
    /// The call is allowed once it is recorded that this certificate is in use.
    FirstUse,
    /// The call is refused.
    Refused(Why),
    /// The call is refused, and the agent is quarantined: someone else has its key, or had it.
    Stolen,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// An admin revoked the agent.
    Revoked,
    /// Two hosts used its identity.
    Quarantined,
    /// The certificate ended.
    Ended,
    /// The certificate ended, but may be renewed.
    EndedMayRenew,
    /// It was made here but is not on record.
    Unknown,
    /// It was made, never shown, and another was made instead.
    Unclaimed,
}

/// Decides what the certificate is good for. `in_use` is the generation in use.
#[must_use]
pub fn standing(
    state: AgentState,
    in_use: u64,
    record: Option<&CertificateRecord>,
    shown: &Shown,
    call: Call,
    now: Timestamp,
) -> Standing {
    match state {
        AgentState::Revoked => return Standing::Refused(Why::Revoked),
        AgentState::Quarantined => return Standing::Refused(Why::Quarantined),
        AgentState::Active | AgentState::Cordoned | AgentState::Draining => {}
    }
    if let Some(why) = ended(shown.not_after, call, now) {
        return Standing::Refused(why);
    }
    match record {
        // The store went back to an older backup since: what it does not know yet is taken over.
        None if shown.generation.is_some_and(|generation| generation > in_use) => Standing::FirstUse,
        None => Standing::Refused(Why::Unknown),
        Some(CertificateRecord { replaced_at: Some(at), used_at: Some(_), .. }) => {
            let handing_over = call == Call::Work && now.since(*at) <= HANDOVER;
            if handing_over { Standing::Good } else { Standing::Stolen }
        }
        Some(CertificateRecord { replaced_at: Some(_), used_at: None, .. }) => Standing::Refused(Why::Unclaimed),
        Some(CertificateRecord { used_at: None, .. }) => Standing::FirstUse,
        Some(_) => Standing::Good,
    }
}

fn ended(not_after: Timestamp, call: Call, now: Timestamp) -> Option<Why> {
    if now <= not_after {
        return None;
    }
    match (now <= not_after.after(RENEW_GRACE), call) {
        (true, Call::Renew) => None,
        (true, Call::Work) => Some(Why::EndedMayRenew),
        (false, _) => Some(Why::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn shown(generation: u64) -> Shown {
        Shown { serial: "0a".into(), generation: Some(generation), not_after: at(24 * HOUR_MS) }
    }

    fn record(generation: u64, used_at: Option<i64>, replaced_at: Option<i64>) -> CertificateRecord {
        let (used_at, replaced_at) = (used_at.map(at), replaced_at.map(at));
        CertificateRecord { generation, used_at, replaced_at, trust: String::new() }
    }

    fn decide(record: Option<&CertificateRecord>, call: Call, now: i64) -> Standing {
        standing(AgentState::Active, 3, record, &shown(3), call, at(now))
    }

    #[test]
    fn a_certificate_in_use_is_good_and_a_new_one_is_noted_first() {
        assert_eq!(decide(Some(&record(3, Some(1), None)), Call::Work, 2), Standing::Good);
        assert_eq!(decide(Some(&record(3, None, None)), Call::Renew, 2), Standing::FirstUse);
    }

    #[test]
    fn an_agent_that_is_locked_out_may_nothing() {
        let used = record(3, Some(1), None);
        for (state, why) in [(AgentState::Revoked, Why::Revoked), (AgentState::Quarantined, Why::Quarantined)] {
            for call in [Call::Renew, Call::Work] {
                let decided = standing(state, 3, Some(&used), &shown(3), call, at(2));
                assert_eq!(decided, Standing::Refused(why));
            }
        }
    }

    #[test]
    fn hostile_row_38_an_ended_certificate_is_good_for_its_renewal_only_and_for_a_week() {
        let used = record(3, Some(1), None);
        let used = || Some(&used);
        let end = 24 * HOUR_MS;
        assert_eq!(decide(used(), Call::Work, end), Standing::Good);
        assert_eq!(decide(used(), Call::Work, end + 1), Standing::Refused(Why::EndedMayRenew));
        assert_eq!(decide(used(), Call::Renew, end + 7 * 24 * HOUR_MS), Standing::Good);
        for call in [Call::Renew, Call::Work] {
            assert_eq!(decide(used(), call, end + 7 * 24 * HOUR_MS + 1), Standing::Refused(Why::Ended));
        }
    }

    #[test]
    fn hostile_row_35_a_replaced_certificate_is_let_pass_while_it_is_handed_over_and_stolen_after() {
        let replaced = record(2, Some(1), Some(1_000));
        let replaced = || Some(&replaced);
        assert_eq!(decide(replaced(), Call::Work, 121_000), Standing::Good);
        assert_eq!(decide(replaced(), Call::Work, 121_001), Standing::Stolen);
        assert_eq!(decide(replaced(), Call::Renew, 1_001), Standing::Stolen, "its agent has renewed already");
    }

    #[test]
    fn one_that_was_never_shown_and_made_again_is_refused_without_suspicion() {
        for call in [Call::Renew, Call::Work] {
            assert_eq!(decide(Some(&record(3, None, Some(1))), call, 2), Standing::Refused(Why::Unclaimed));
        }
    }

    #[test]
    fn what_a_store_from_a_backup_does_not_know_yet_is_taken_over_and_nothing_older() {
        let decide = |generation| {
            let shown = Shown { generation, ..shown(0) };
            standing(AgentState::Active, 3, None, &shown, Call::Work, at(2))
        };
        assert_eq!(decide(Some(4)), Standing::FirstUse);
        for older in [Some(3), Some(1), None] {
            assert_eq!(decide(older), Standing::Refused(Why::Unknown));
        }
    }
}
