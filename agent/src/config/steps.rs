//! `[steps]`: how long each kind of task may take.
//!
//! A step of our own has one limit, and it is here: what `[rke]` says of silence and phases is about `rke`'s
//! output. What `rke` does keeps to `rke.run_timeout` unless it has a limit of its own here.

use std::collections::BTreeMap;
use std::time::Duration;

use cratekube_common::domain::task::TaskKind;
use cratekube_common::intake::Notes;

use super::{CloudSection, KubernetesSection, Section, limit, or};

const fn minutes(minutes: u64) -> Option<Duration> {
    Some(Duration::from_secs(60 * minutes))
}

/// Three pauses, as long as each can be.
const CONFIRM_PAUSES: Duration = Duration::from_secs(3 * 12 * 60);

/// The longest time of each kind of task. A step waits by itself for a bounded time, and says then what for; what
/// is here is longer, and ends what hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepsSection(BTreeMap<TaskKind, Duration>);

/// The limit of a kind when none is set; none for what `rke` does.
fn usual(kind: TaskKind) -> Option<Duration> {
    use TaskKind as K;
    match kind {
        K::Provision | K::Reconfigure | K::Remove | K::RecoverState | K::RotateCertificates => None,
        // Looks at hosts give up after a few minutes each, and all hosts are looked at together.
        K::Preflight | K::Verify => minutes(30),
        // `kubernetes.ready_timeout`, and then some hundred objects.
        K::Configure => minutes(60),
        // A quarter for the API, which is waited for at most three minutes; half for some requests a namespace.
        K::Freeze => minutes(15),
        // The same, and what AWS says of each object.
        K::Record => minutes(20),
        // Ten minutes for each of three kinds, and for the volumes.
        K::Release => minutes(60),
        // A quarter of an hour a host, all hosts together; more of them than fit at once take turns.
        K::CleanHosts => minutes(60),
        // `cloud.patience` in the end, and thousands of calls before that.
        K::Sweep => minutes(120),
        // Three pauses of twelve minutes, and twice `cloud.patience`.
        K::Confirm => minutes(120),
        // A few files on the volume.
        K::Tombstone => minutes(10),
    }
}

impl Default for StepsSection {
    fn default() -> Self {
        Self(TaskKind::ALL.iter().filter_map(|kind| Some((*kind, usual(*kind)?))).collect())
    }
}

impl StepsSection {
    /// The longest time of such a task; none when it has no limit of its own.
    #[must_use]
    pub fn limit(&self, kind: TaskKind) -> Option<Duration> {
        self.0.get(&kind).copied()
    }

    /// The same with another limit for a kind.
    #[must_use]
    pub fn with(mut self, kind: TaskKind, limit: Duration) -> Self {
        self.0.insert(kind, limit);
        self
    }

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        // All of them, so that every mistake is noted.
        let read: Vec<_> = TaskKind::ALL
            .iter()
            .map(|kind| or(&section.field(kind.setting()), usual(*kind), |f| limit(f).map(Some)).map(|at| (*kind, at)))
            .collect();
        let limits = read.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self(limits.into_iter().filter_map(|(kind, at)| Some((kind, at?))).collect()))
    }

    /// Notes the limits that end a step while it still waits as other settings say.
    pub(super) fn note_short(&self, kubernetes: &KubernetesSection, cloud: &CloudSection, notes: &Notes) {
        let waits = [
            (TaskKind::Configure, kubernetes.ready_timeout, "`kubernetes.ready_timeout`"),
            (TaskKind::Verify, kubernetes.ready_timeout, "`kubernetes.ready_timeout`"),
            (TaskKind::Sweep, cloud.patience, "`cloud.patience`"),
            (TaskKind::Confirm, CONFIRM_PAUSES + 2 * cloud.patience, "36 minutes and twice `cloud.patience`"),
        ];
        for (kind, wait, named) in waits {
            if self.limit(kind).is_some_and(|limit| limit <= wait) {
                let pointer = format!("/steps/{}", kind.setting());
                notes.warn(&pointer, format!("is not longer than {named}, for which the step waits"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentConfig;
    use cratekube_common::runtime::settings::SettingsError;
    use serde_json::{Value, json};

    fn document(more: &[(&str, Value)]) -> Value {
        let mut document =
            json!({"controller": {"address": "controller.internal:7443"}, "volumes": {"paths": ["/mnt/state"]}});
        for (key, value) in more {
            document[key] = value.clone();
        }
        document
    }

    #[test]
    fn every_step_has_a_limit_and_what_rke_does_has_one_when_it_is_set() {
        let steps = AgentConfig::from_value(&document(&[])).unwrap().steps;
        assert_eq!(steps, StepsSection::default());
        for kind in TaskKind::ALL {
            assert_eq!(steps.limit(*kind).is_some(), !kind.is_rke(), "{kind}");
        }
        let all: Value = TaskKind::ALL.iter().map(|kind| (kind.setting().to_owned(), json!("90s"))).collect();
        let steps = AgentConfig::from_value(&document(&[("steps", all)])).unwrap().steps;
        assert!(TaskKind::ALL.iter().all(|kind| steps.limit(*kind) == Some(Duration::from_secs(90))));
    }

    #[test]
    fn what_is_no_limit_and_no_step_is_named_by_its_place() {
        let steps = json!({"release": "0s", "clean_hosts": "soon", "sweep": 3, "clean-hosts": "1h", "confirm": "1h"});
        let Err(SettingsError::Mistakes(faults)) = AgentConfig::from_value(&document(&[("steps", steps)])) else {
            panic!("no mistakes")
        };
        let mut pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/steps/clean-hosts", "/steps/clean_hosts", "/steps/release", "/steps/sweep"]);
    }

    #[test]
    fn a_limit_that_ends_a_wait_which_another_setting_allows_is_warned_of() {
        let more = [
            ("steps", json!({"sweep": "30m"})),
            ("kubernetes", json!({"ready_timeout": "45m"})),
            ("cloud", json!({"patience": "50m"})),
        ];
        let (_, warnings) = AgentConfig::read(&document(&more)).unwrap();
        let named = |kind: &str| warnings.iter().any(|warning| warning.starts_with(&format!("/steps/{kind}:")));
        let all = ["sweep", "verify", "confirm"];
        assert!(warnings.len() == all.len() && all.iter().all(|kind| named(kind)), "{warnings:?}");
        let long = [("cloud", json!({"confirm_pause": "3h"}))];
        assert_eq!(AgentConfig::read(&document(&long)).unwrap().1, Vec::<String>::new(), "it is cut to 12 minutes");
        assert_eq!(AgentConfig::read(&document(&[])).unwrap().1, Vec::<String>::new());
    }
}
