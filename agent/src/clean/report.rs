//! What became of each host.

use cratekube_common::domain::failure::FailureClass as Class;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use crate::ssh::{SshFault, Target};

/// What became of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// What was there is gone.
    Cleaned,
    /// Nothing was there.
    Nothing,
    /// The host is about to be terminated.
    Waived,
    /// It carries another cluster and was left alone.
    Refused,
    /// Whose cluster it carries cannot be told.
    Untold,
    /// Something stays.
    Partly,
    /// It could not be reached, or not be used.
    Unreached,
}

impl Outcome {
    /// Whether something of the cluster may still be there.
    #[must_use]
    pub fn is_blocker(self) -> bool {
        matches!(self, Self::Untold | Self::Partly | Self::Unreached)
    }
}

/// A host, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Its address.
    pub address: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was removed.
    pub removed: Vec<String>,
    /// What stays, and why.
    pub stays: Vec<String>,
    /// In a sentence.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Class of the failure.
    #[serde(skip)]
    pub class: Option<Class>,
    /// Whether doing the same again can help.
    #[serde(skip)]
    pub retryable: bool,
}

impl Cleaned {
    pub(super) fn new(target: &Target, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            address: target.address.clone(),
            outcome,
            removed: Vec::new(),
            stays: Vec::new(),
            detail: detail.into(),
            remedy: None,
            class: None,
            retryable: false,
        }
    }

    pub(super) fn with_remedy(self, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), class: Some(self.class.unwrap_or(Class::Host)), ..self }
    }

    pub(super) fn of_fault(target: &Target, fault: &SshFault) -> Self {
        let cleaned = Self::new(target, Outcome::Unreached, fault.to_string()).with_remedy(fault.remedy());
        Self { class: Some(fault.class()), retryable: fault.retryable(), ..cleaned }
    }

    pub(super) fn without_root(target: &Target, seen: &Answer) -> Self {
        let cleaned = Self::new(target, Outcome::Partly, "the SSH user is not root there, and cannot become it");
        let remedy = "Give the SSH user `sudo` without a password for the time of the removal, or clean the host by hand, or terminate it.";
        Self { stays: seen.there.clone(), ..cleaned.with_remedy(remedy) }
    }

    pub(super) fn broken(target: &Target, seen: &Answer) -> Self {
        let cleaned = Self::new(target, Outcome::Unreached, format!("the host does not run the script: {}", seen.said));
        cleaned
            .with_remedy("Give the SSH user an ordinary shell (`usermod -s /bin/sh USER`), without a forced command.")
    }

    /// What the cleaning did, and what was seen after it.
    pub(super) fn after(target: &Target, done: &Answer, after: &Answer) -> Self {
        let mut stays = done.stays.clone();
        let kept = stays.iter().any(|what| what.ends_with("kept as asked"));
        let named = |what: &str| stays.iter().any(|stays| stays.split(':').next() == Some(what));
        // What is there by intent is no fault.
        let is_kept = |what: &str| kept && what == "/opt/rke";
        let unexplained: Vec<String> =
            after.there.iter().filter(|what| !named(what) && !is_kept(what)).cloned().collect();
        let faults = stays.iter().filter(|what| !what.ends_with("kept as asked")).count() + unexplained.len();
        stays.extend(unexplained);
        let whole = done.ended && after.ended;
        let (outcome, detail) = match (whole, faults) {
            (false, _) => (Outcome::Partly, format!("the script did not come to its end: {}", done.said)),
            (true, 0) if done.removed.is_empty() => (Outcome::Nothing, "nothing of the cluster is there".to_owned()),
            (true, 0) => (Outcome::Cleaned, "clean".to_owned()),
            (true, left) => (Outcome::Partly, format!("{left} things stay: {}", stays.join("; "))),
        };
        stays.extend(done.notes.iter().cloned());
        let cleaned = Self { removed: done.removed.clone(), stays, ..Self::new(target, outcome, detail) };
        if outcome != Outcome::Partly {
            return cleaned;
        }
        // A mount that is busy, a container that dies slowly: the second time often goes further.
        let remedy = "Retry; what stays then is to be removed by hand, or goes with the host.";
        Self { retryable: true, ..cleaned.with_remedy(remedy) }
    }

    /// A line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let removed =
            if self.removed.is_empty() { String::new() } else { format!("; removed {}", self.removed.join(", ")) };
        format!("[{}] {:?}: {}{removed}", self.address, self.outcome, self.detail)
    }
}

/// Findings for programs.
#[must_use]
pub fn findings(cleaned: &[Cleaned]) -> Value {
    json!({"state": "done", "hosts": cleaned})
}

/// The same of a step that left the hosts alone.
#[must_use]
pub fn skipped(why: &str, hosts: &[Cleaned]) -> Value {
    json!({"state": "skipped", "why": why, "hosts": hosts})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { address: "10.0.0.1".into(), port: 22, user: "rancher".into() }
    }

    fn answer(removed: &[&str], stays: &[&str], there: &[&str]) -> Answer {
        let list = |items: &[&str]| items.iter().map(ToString::to_string).collect();
        Answer { removed: list(removed), stays: list(stays), there: list(there), ended: true, ..Answer::default() }
    }

    #[test]
    fn a_host_is_clean_only_when_nothing_is_seen_afterwards() {
        let after = |done: &Answer, seen: &Answer| Cleaned::after(&target(), done, seen).outcome;
        let nothing = answer(&[], &[], &[]);
        assert_eq!(after(&answer(&["/etc/cni"], &[], &[]), &nothing), Outcome::Cleaned);
        assert_eq!(after(&nothing, &nothing), Outcome::Nothing);
        assert_eq!(after(&answer(&["/etc/cni"], &[], &[]), &answer(&[], &[], &["/var/lib/etcd"])), Outcome::Partly);
        assert_eq!(after(&Answer { ended: false, ..nothing.clone() }, &nothing), Outcome::Partly);
        let kept = answer(&["/etc/cni"], &["/opt/rke/etcd-snapshots: kept as asked"], &[]);
        assert_eq!(after(&kept, &answer(&[], &[], &["/opt/rke"])), Outcome::Cleaned);
    }
}
