//! What of each run's output is stored, on its way, or still to be sent. Pure: no file, no network.
//!
//! Invariants:
//! - nothing of a run is sent before the controller has said how much of it is stored;
//! - chunks of a run follow each other without gap or overlap;
//! - at most [`WINDOW`] bytes are sent and not stored, over all runs;
//! - a report leaves only when all output is stored, or none of it is wanted any more.

use std::collections::BTreeMap;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::RunReport;
use cratekube_proto::MAX_CHUNK_BYTES;

use crate::port::OutputLength;

/// Most bytes that are sent and not yet stored. Sixteen full chunks: enough to fill 150 MB/s over a
/// round trip of 25 ms, small enough not to be noticed in memory.
pub(super) const WINDOW: u64 = 16 * CHUNK;
const CHUNK: u64 = MAX_CHUNK_BYTES as u64;

/// A piece of output to read and send; without bytes it asks how much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) attempt: AttemptId,
    pub(super) fence: Fence,
    pub(super) offset: u64,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    runs: BTreeMap<AttemptId, Run>,
    /// Who was served last; the next one in order is served next.
    last: Option<AttemptId>,
}

#[derive(Debug)]
struct Run {
    fence: Fence,
    length: OutputLength,
    asked: bool,
    /// As the controller said; nothing before its first answer.
    stored: Option<u64>,
    sent: u64,
    end: End,
    report: Option<Box<RunReport>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Output goes on.
    Open,
    /// The controller wants no more of it.
    Closed,
    /// The file cannot be read beyond what was sent.
    Unreadable,
}

impl Shelf {
    /// A run with output; false when it is known already.
    pub(super) fn open(&mut self, attempt: AttemptId, fence: Fence, length: OutputLength) -> bool {
        if self.runs.contains_key(&attempt) {
            return false;
        }
        let run = Run { fence, length, asked: false, stored: None, sent: 0, end: End::Open, report: None };
        self.runs.insert(attempt, run);
        true
    }

    /// There is more output now.
    pub(super) fn grown(&mut self, attempt: AttemptId, length: OutputLength) {
        if let Some(run) = self.runs.get_mut(&attempt) {
            let bytes = run.length.bytes.max(length.bytes);
            run.length = OutputLength { bytes, complete: run.length.complete || length.complete };
        }
    }

    /// The controller said how much it has.
    pub(super) fn answered(&mut self, attempt: AttemptId, stored: u64, closed: bool) {
        let Some(run) = self.runs.get_mut(&attempt) else { return };
        if closed {
            run.end = End::Closed;
        }
        if run.stored.is_none() {
            run.sent = stored;
        }
        run.stored = run.stored.max(Some(stored));
        run.sent = run.sent.max(stored);
    }

    /// The file ended, or failed, before this offset.
    pub(super) fn unreadable(&mut self, attempt: AttemptId, from: u64) {
        if let Some(run) = self.runs.get_mut(&attempt) {
            run.sent = run.sent.min(from);
            run.end = End::Unreadable;
        }
    }

    /// The run's report; false when its output is not known here, so that it can leave at once.
    pub(super) fn report(&mut self, report: Box<RunReport>) -> Result<(), Box<RunReport>> {
        let Some(run) = self.runs.get_mut(&report.attempt) else { return Err(report) };
        let bytes = run.length.bytes.max(report.output_bytes);
        run.length = OutputLength { bytes, complete: true };
        run.report = Some(report);
        Ok(())
    }

    /// Nothing more is to be sent of this run.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.runs.remove(&attempt);
    }

    /// The next piece to send, counted as sent from here on; runs take turns.
    pub(super) fn next(&mut self) -> Option<Piece> {
        let room = WINDOW.saturating_sub(self.in_flight());
        let after = self.last.map(|last| (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded));
        let later = after.and_then(|range| self.runs.range(range).find(|(_, run)| run.wants(room)));
        let (attempt, _) = later.or_else(|| self.runs.iter().find(|(_, run)| run.wants(room)))?;
        let attempt = *attempt;
        self.last = Some(attempt);
        self.runs.get_mut(&attempt).map(|run| run.take(attempt))
    }

    /// True when [`Shelf::next`] has something.
    pub(super) fn has_next(&self) -> bool {
        let room = WINDOW.saturating_sub(self.in_flight());
        self.runs.values().any(|run| run.wants(room))
    }

    /// Reports that may leave now.
    pub(super) fn releasable(&mut self) -> impl Iterator<Item = Box<RunReport>> {
        self.runs.values_mut().filter_map(Run::release)
    }

    /// True when everything that is there is stored, and no report waits.
    pub(super) fn is_idle(&self) -> bool {
        self.runs.values().all(|run| run.report.is_none() && run.is_stored())
    }

    fn in_flight(&self) -> u64 {
        self.runs.values().filter(|run| run.end != End::Closed).map(Run::in_flight).sum()
    }
}

impl Run {
    fn in_flight(&self) -> u64 {
        self.stored.map_or(0, |stored| self.sent.saturating_sub(stored))
    }

    fn wants(&self, room: u64) -> bool {
        if self.end != End::Open {
            return false;
        }
        if self.stored.is_none() {
            return !self.asked;
        }
        let left = self.length.bytes.saturating_sub(self.sent);
        // A small piece waits for the answer to the last one, so that a run that writes line by line
        // does not make a message of each; full pieces and the last one never wait.
        let worth_it = left >= CHUNK || self.length.complete || self.in_flight() == 0;
        left > 0 && worth_it && room >= left.min(CHUNK)
    }

    fn take(&mut self, attempt: AttemptId) -> Piece {
        let mut piece = Piece { attempt, fence: self.fence, offset: self.sent, bytes: 0 };
        self.asked = true;
        if self.stored.is_some() {
            let left = self.length.bytes.saturating_sub(self.sent).min(CHUNK);
            piece.bytes = usize::try_from(left).unwrap_or(MAX_CHUNK_BYTES);
            self.sent += left;
        }
        piece
    }

    fn is_stored(&self) -> bool {
        match (self.end, self.stored) {
            (End::Closed, _) => true,
            (End::Open, Some(stored)) => stored >= self.length.bytes,
            (End::Unreadable, Some(stored)) => stored >= self.sent,
            (_, None) => false,
        }
    }

    fn release(&mut self) -> Option<Box<RunReport>> {
        if !self.is_stored() {
            return None;
        }
        let mut report = self.report.take()?;
        if let (End::Unreadable, Some(stored)) = (self.end, self.stored) {
            let lost = report.output_bytes.saturating_sub(stored);
            report.warnings.push(format!("{lost} bytes of output cannot be read from the state volume"));
            report.output_bytes = stored;
        }
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::run::RunOutcome;
    use cratekube_common::domain::time::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn run(n: u8) -> AttemptId {
        Uuid::from_u128(n.into()).into()
    }

    fn length(bytes: u64, complete: bool) -> OutputLength {
        OutputLength { bytes, complete }
    }

    fn report(n: u8, output_bytes: u64) -> Box<RunReport> {
        Box::new(RunReport {
            attempt: run(n),
            fence: Fence(1),
            outcome: RunOutcome::Succeeded,
            exit: None,
            started_at: None,
            ended_at: Timestamp::from_millis(0),
            generation: None,
            rke: None,
            warnings: Vec::new(),
            output_bytes,
            findings: None,
        })
    }

    /// A shelf with one run of which the controller has said what it stores.
    fn shelf(bytes: u64, stored: u64) -> Shelf {
        let mut shelf = Shelf::default();
        assert!(shelf.open(run(1), Fence(1), length(bytes, false)));
        assert_eq!(shelf.next().map(|piece| piece.bytes), Some(0), "first it asks");
        assert!(!shelf.has_next(), "and sends nothing before the answer");
        shelf.answered(run(1), stored, false);
        shelf
    }

    #[test]
    fn sending_begins_where_the_controller_is() {
        let mut shelf = shelf(CHUNK + 100, 40);
        let first = shelf.next().unwrap();
        assert_eq!((first.offset, first.bytes as u64), (40, CHUNK));
        assert_eq!(shelf.next(), None, "60 bytes wait for the answer to the first chunk");
        shelf.answered(run(1), 40 + CHUNK, false);
        assert_eq!(shelf.next().unwrap().bytes, 60);
    }

    #[test]
    fn the_last_piece_of_a_complete_output_does_not_wait() {
        let mut shelf = shelf(CHUNK + 1, 0);
        shelf.next().unwrap();
        assert_eq!(shelf.next(), None);
        shelf.grown(run(1), length(CHUNK + 1, true));
        assert_eq!(shelf.next().unwrap().bytes, 1);
    }

    #[test]
    fn a_report_waits_for_its_last_byte() {
        let mut shelf = shelf(10, 0);
        shelf.next().unwrap();
        // The report is news of the length, too.
        shelf.report(report(1, 12)).unwrap();
        assert_eq!(shelf.releasable().count(), 0);
        shelf.answered(run(1), 10, false);
        assert_eq!((shelf.releasable().count(), shelf.is_idle()), (0, false));
        assert_eq!(shelf.next().unwrap().bytes, 2);
        shelf.answered(run(1), 12, false);
        assert_eq!(shelf.releasable().count(), 1);
        assert_eq!((shelf.releasable().count(), shelf.is_idle()), (0, true));
        assert!(shelf.report(report(2, 0)).is_err(), "a run without output has nothing to wait for");
    }

    #[test]
    fn a_controller_that_has_more_than_we_have_is_believed() {
        let mut shelf = shelf(10, 50);
        assert!(!shelf.has_next());
        shelf.report(report(1, 10)).unwrap();
        assert_eq!(shelf.releasable().count(), 1);
    }

    #[test]
    fn a_forgotten_run_frees_its_share_of_the_window() {
        let mut shelf = shelf(WINDOW * 2, 0);
        while shelf.next().is_some() {}
        shelf.open(run(2), Fence(1), length(CHUNK, true));
        shelf.next().unwrap();
        shelf.answered(run(2), 0, false);
        assert!(!shelf.has_next(), "the window is full");
        shelf.forget(run(1));
        assert_eq!(shelf.next().unwrap().attempt, run(2));
    }

    proptest! {
        /// Whatever happens in whatever order: no gap, no overlap, never more than a window, and in the
        /// end everything is sent.
        #[test]
        fn pieces_join_up_and_stay_within_the_window(steps in proptest::collection::vec((0u8..4, 1u8..4, 0u64..3 * CHUNK), 0..200)) {
            let mut shelf = Shelf::default();
            let mut there = [0u64; 4];
            let mut sent = [0u64; 4];
            let mut stored = [0u64; 4];
            let mut asked = [false; 4];
            let take = |shelf: &mut Shelf, sent: &mut [u64; 4], asked: &mut [bool; 4]| {
                let Some(piece) = shelf.next() else { return Ok(false) };
                let n = usize::from((1u8..4).find(|n| run(*n) == piece.attempt).unwrap());
                if piece.bytes == 0 {
                    prop_assert!(!asked[n], "asked once");
                    asked[n] = true;
                } else {
                    prop_assert_eq!(piece.offset, sent[n]);
                    prop_assert!(piece.bytes <= MAX_CHUNK_BYTES);
                    sent[n] += piece.bytes as u64;
                }
                Ok(true)
            };
            for (what, n, amount) in steps {
                let i = usize::from(n);
                match what {
                    0 => { shelf.open(run(n), Fence(1), length(there[i], false)); }
                    1 => { there[i] += amount; shelf.grown(run(n), length(there[i], false)); shelf.open(run(n), Fence(1), length(there[i], false)); }
                    2 => { take(&mut shelf, &mut sent, &mut asked)?; }
                    _ => if asked[i] { stored[i] += amount.min(sent[i] - stored[i]); shelf.answered(run(n), stored[i], false); },
                }
                let in_flight: u64 = sent.iter().zip(stored).map(|(sent, stored)| sent - stored).sum();
                prop_assert!(in_flight <= WINDOW);
            }
            for n in 1u8..4 {
                shelf.open(run(n), Fence(1), length(0, false));
                shelf.grown(run(n), length(there[usize::from(n)], true));
            }
            loop {
                let progress = take(&mut shelf, &mut sent, &mut asked)?;
                for n in 1u8..4 {
                    if asked[usize::from(n)] {
                        shelf.answered(run(n), sent[usize::from(n)], false);
                    }
                }
                if !progress && !shelf.has_next() { break; }
            }
            prop_assert_eq!(sent, there);
            prop_assert!(shelf.is_idle());
        }
    }
}
