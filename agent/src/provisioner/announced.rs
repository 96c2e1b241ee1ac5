//! Reads output that says itself how far it is (`==> [1/3] name`), as steps of our own do.

use std::collections::BTreeSet;

use cratekube_common::domain::progress::Progress;
use cratekube_common::rke::lines::LineReader;
use cratekube_common::rke::phases::PhaseTracker;

use super::{Case, Judgement, Reader};

/// Reads one run. What came of it is told elsewhere.
#[derive(Debug)]
pub struct Announced {
    lines: LineReader,
    phases: PhaseTracker,
    cleaned: BTreeSet<String>,
}

impl Announced {
    /// A run that printed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: LineReader::new(), phases: PhaseTracker::announced(), cleaned: BTreeSet::new() }
    }
}

impl Default for Announced {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader for Announced {
    fn feed(&mut self, bytes: &[u8]) -> Option<Progress> {
        let Self { lines, phases, .. } = self;
        let mut reached = None;
        lines.feed(bytes, |line| reached = phases.observe(line).or_else(|| reached.take()));
        reached
    }

    fn finish(&mut self) {
        let Self { lines, phases, .. } = self;
        lines.finish(|line| drop(phases.observe(line)));
    }

    fn progress(&self) -> Option<Progress> {
        self.phases.current()
    }

    fn has_finished(&self) -> bool {
        self.progress().is_some_and(|progress| progress.step == progress.steps)
    }

    fn cleaned(&self) -> &BTreeSet<String> {
        &self.cleaned
    }

    fn wiped(&self) -> &BTreeSet<String> {
        &self.cleaned
    }

    fn judge(&self, _case: &Case<'_>) -> Option<Judgement> {
        None
    }
}
