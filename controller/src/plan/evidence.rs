//! What the generation in a report says against what is on record.
//!
//! RKE state that exists is never overwritten by something older or torn: a number that is not newer
//! means that the volume went back in time, another CA means that `rke` built a new identity over a
//! living cluster. The record is then kept as it is, and the operation says so.

use cratekube_common::domain::alarm::AlarmKind;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::{KnownState, Manifest};
use cratekube_common::domain::id::ClusterId;

/// How the state file of RKE is called, up to the name of its cluster.yml.
const STATE_FILE: &str = ".rkestate";

/// What is on record of a cluster's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateRecord {
    /// Newest generation ever recorded, good or not.
    pub newest: Option<u64>,
    /// What is recorded under the number that the report names.
    pub same_number: Option<Manifest>,
    /// Fingerprint of the CA.
    pub ca_sha256: Option<String>,
    /// Whether another CA is what was asked for.
    pub new_ca_wanted: bool,
}

/// What to do with the generation of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Add it to the history.
    pub record: bool,
    /// Make it the cluster's known state.
    pub adopt: Option<KnownState>,
    /// Why it contradicts the record, and the alarm that this is.
    pub contradiction: Option<(AlarmKind, String)>,
}

/// Compares a reported generation with the record.
#[must_use]
pub fn weigh(cluster: ClusterId, reported: Option<&Manifest>, record: &StateRecord) -> Finding {
    let Some(manifest) = reported else { return Finding::default() };
    if manifest.cluster != cluster {
        return contradiction(format!("the sealed state belongs to another cluster ({})", manifest.cluster));
    }
    if !is_number(manifest.number) {
        return contradiction(format!("{} is not the number of a generation", manifest.number));
    }
    if record.same_number.as_ref() == Some(manifest) {
        return Finding::default();
    }
    if let Some(newest) = record.newest.filter(|newest| manifest.number <= *newest) {
        let number = manifest.number;
        return contradiction(format!(
            "state_regressed: generation {number} was sealed, but generation {newest} is on record"
        ));
    }
    if let (Some(known), Some(found)) = (&record.ca_sha256, &manifest.ca_sha256)
        && known != found
        && !record.new_ca_wanted
    {
        let words = format!("the cluster's CA changed from {known} to {found}");
        return Finding { record: true, adopt: None, contradiction: Some((AlarmKind::ClusterCaChanged, words)) };
    }
    Finding { record: true, adopt: manifest.good.then(|| known(manifest)), contradiction: None }
}

/// True for numbers that a generation can have.
#[must_use]
pub fn is_number(number: u64) -> bool {
    number > 0 && i64::try_from(number).is_ok()
}

/// Why a run cannot have built a cluster, whatever it says: it left no state to go on from.
#[must_use]
pub fn missing_state(reported: Option<&Manifest>) -> Option<String> {
    match reported {
        None => Some("the run sealed no state".into()),
        Some(manifest) if !manifest.good => {
            Some(format!("the sealed state is not usable: {}", manifest.fault.as_deref().unwrap_or("no reason given")))
        }
        Some(_) => None,
    }
}

/// The failure that a contradiction becomes.
#[must_use]
pub fn state_failure(message: String) -> Failure {
    Failure {
        class: FailureClass::State,
        message,
        line: None,
        retryable: false,
        remedy: "Do not run this cluster again before an operator has compared the generations on its state volume with the record.".into(),
    }
}

/// What a good generation makes known.
#[must_use]
pub fn known(manifest: &Manifest) -> KnownState {
    let state = manifest.files.iter().find(|file| file.name.ends_with(STATE_FILE));
    KnownState {
        generation: manifest.number,
        state_sha256: state.map(|file| file.sha256.clone()),
        ca_sha256: manifest.ca_sha256.clone(),
    }
}

fn contradiction(words: String) -> Finding {
    Finding { record: false, adopt: None, contradiction: Some((AlarmKind::StateContradicted, words)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::attempt::Fence;
    use cratekube_common::domain::generation::SealedFile;
    use cratekube_common::domain::id::{AttemptId, OperationId};
    use cratekube_common::domain::time::Timestamp;
    use uuid::Uuid;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));

    fn manifest(number: u64, ca: Option<&str>, good: bool) -> Manifest {
        Manifest {
            number,
            cluster: CLUSTER,
            operation: OperationId(Uuid::from_u128(2)),
            attempt: AttemptId(Uuid::from_u128(3)),
            fence: Fence(1),
            sealed_at: Timestamp::from_millis(5),
            ca_sha256: ca.map(Into::into),
            good,
            fault: None,
            files: vec![SealedFile { name: "cluster.rkestate".into(), bytes: 1, sha256: "aa".into() }],
        }
    }

    #[test]
    fn a_newer_good_generation_becomes_known() {
        let found = weigh(CLUSTER, Some(&manifest(1, Some("ca"), true)), &StateRecord::default());
        let known = found.adopt.unwrap();
        assert!(found.record);
        assert_eq!((known.generation, known.state_sha256.as_deref()), (1, Some("aa")));
    }

    #[test]
    fn a_generation_that_is_not_good_is_kept_but_not_known() {
        let found = weigh(CLUSTER, Some(&manifest(1, None, false)), &StateRecord::default());
        assert!(found.record && found.adopt.is_none() && found.contradiction.is_none());
        assert!(missing_state(Some(&manifest(1, None, false))).is_some());
        assert!(missing_state(None).is_some());
    }

    #[test]
    fn an_older_number_contradicts_unless_it_is_the_very_same() {
        let recorded = manifest(3, Some("ca"), true);
        let record = StateRecord {
            newest: Some(3),
            same_number: Some(recorded.clone()),
            ca_sha256: Some("ca".into()),
            new_ca_wanted: false,
        };
        assert_eq!(weigh(CLUSTER, Some(&recorded), &record), Finding::default());
        let other = Manifest { sealed_at: Timestamp::from_millis(6), ..recorded };
        assert!(weigh(CLUSTER, Some(&other), &record).contradiction.unwrap().1.starts_with("state_regressed"));
    }

    #[test]
    fn hostile_row_60_another_ca_is_recorded_but_never_adopted() {
        let record =
            StateRecord { newest: Some(3), same_number: None, ca_sha256: Some("ca".into()), new_ca_wanted: false };
        let found = weigh(CLUSTER, Some(&manifest(4, Some("other"), true)), &record);
        assert!(found.record && found.adopt.is_none());
        assert_eq!(found.contradiction.unwrap().0, AlarmKind::ClusterCaChanged);
    }

    #[test]
    fn state_of_another_cluster_is_not_taken() {
        let other = Manifest { cluster: ClusterId(Uuid::from_u128(9)), ..manifest(4, None, true) };
        let found = weigh(CLUSTER, Some(&other), &StateRecord::default());
        assert!(!found.record && found.contradiction.is_some());
    }
}
