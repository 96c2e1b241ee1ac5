//! Reads the output of one `rke`, and judges the run by it, its exit and its state together.

use std::collections::BTreeSet;

use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::classify;
use cratekube_common::rke::evidence::Evidence;
use cratekube_common::rke::lines::LineReader;
use cratekube_common::rke::phases::PhaseTracker;

use super::state_at;
use crate::provisioner::{Case, Judgement, Reader};

/// Reads one run.
#[derive(Debug)]
pub(super) struct RkeReader {
    lines: LineReader,
    phases: PhaseTracker,
    evidence: Evidence,
}

impl RkeReader {
    pub(super) fn new(kind: TaskKind) -> Self {
        Self { lines: LineReader::new(), phases: PhaseTracker::new(kind), evidence: Evidence::new(kind) }
    }
}

impl Reader for RkeReader {
    fn feed(&mut self, bytes: &[u8]) -> Option<Progress> {
        let Self { lines, phases, evidence } = self;
        let mut progress = None;
        lines.feed(bytes, |line| {
            evidence.observe(line);
            if let Some(reached) = phases.observe(line) {
                progress = Some(reached);
            }
        });
        progress
    }

    fn finish(&mut self) {
        let Self { lines, evidence, .. } = self;
        lines.finish(|line| evidence.observe(line));
    }

    fn progress(&self) -> Option<Progress> {
        self.phases.current()
    }

    fn has_finished(&self) -> bool {
        self.evidence.finished
    }

    fn cleaned(&self) -> &BTreeSet<String> {
        &self.evidence.cleaned
    }

    fn wiped(&self) -> &BTreeSet<String> {
        &self.evidence.wiped
    }

    fn judge(&self, case: &Case<'_>) -> Option<Judgement> {
        let record = case.record;
        let state = state_at(case.place);
        let wanted: Vec<&str> = record.wanted_hosts.iter().map(String::as_str).collect();
        let left: Vec<&str> = record.left_hosts.iter().map(String::as_str).collect();
        Some(classify::judge(&classify::Case {
            kind: record.kind,
            exit: case.exit,
            evidence: &self.evidence,
            wanted_hosts: &wanted,
            left_hosts: &left,
            state: state.as_ref(),
            ca_before: record.ca_before.as_deref(),
            new_ca_wanted: record.rotation.as_ref().is_some_and(|rotation| rotation.ca),
            stopped: case.stopped,
        }))
    }
}
