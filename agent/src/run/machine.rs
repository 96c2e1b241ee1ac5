//! What a run's journal asks for next. Pure: files that are there and processes that live go in, one
//! step comes out; so a crash at any moment leaves something that a restart can go on from.
//!
//! A run that ended with its host, or whose supervisor was killed, is never taken for failed or
//! succeeded: how far it came is not known.

/// What is known of a run when the agent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journaled {
    /// `run.json` is there.
    pub run: bool,
    /// `supervisor.json` is there.
    pub supervisor: bool,
    /// `exit.json` is there.
    pub exit: bool,
    /// `result.json` is there.
    pub result: bool,
    /// The controller has the report.
    pub recorded: bool,
    /// The run was superseded.
    pub forgotten: bool,
    /// The run belongs to this boot of the host.
    pub this_boot: bool,
    /// The supervisor lives: number, start time and boot are the same.
    pub supervisor_lives: bool,
    /// Someone holds the cluster's lock.
    pub locked: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is over and recorded, or it never became a run.
    Done,
    /// Nothing: it is kept as evidence.
    Evidence,
    /// Tell its result.
    Report,
    /// Wait for its supervisor to end.
    Adopt,
    /// Its supervisor was just started and has not said who it is.
    AwaitSupervisor,
    /// Seal what it left, with its exit.
    Seal,
    /// Seal what it left; how `rke` ended is lost.
    SealInterrupted {
        /// With the host.
        host_lost: bool,
    },
    /// It was recorded, but `rke` was never started: say so.
    NeverStarted,
}

/// Decides.
#[must_use]
pub fn next(journal: Journaled) -> Step {
    let Journaled { run, supervisor, exit, result, recorded, forgotten, this_boot, supervisor_lives, locked } = journal;
    if recorded {
        return Step::Done;
    }
    if result {
        return if forgotten { Step::Evidence } else { Step::Report };
    }
    if !run {
        return if forgotten { Step::Evidence } else { Step::Done };
    }
    if exit {
        // The supervisor may still be about to end; its work is done.
        return Step::Seal;
    }
    match (supervisor, this_boot) {
        (true, true) if supervisor_lives => Step::Adopt,
        (true, true) => Step::SealInterrupted { host_lost: false },
        // Without a word of the supervisor it may or may not have started `rke` before the host went.
        (_, false) => Step::SealInterrupted { host_lost: true },
        (false, true) if locked => Step::AwaitSupervisor,
        (false, true) => Step::NeverStarted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn journal(bits: [bool; 9]) -> Journaled {
        let [run, supervisor, exit, result, recorded, forgotten, this_boot, supervisor_lives, locked] = bits;
        Journaled { run, supervisor, exit, result, recorded, forgotten, this_boot, supervisor_lives, locked }
    }

    const PREPARED: Journaled = Journaled {
        run: true,
        supervisor: false,
        exit: false,
        result: false,
        recorded: false,
        forgotten: false,
        this_boot: true,
        supervisor_lives: false,
        locked: false,
    };

    #[test]
    fn hostile_row_63_each_place_of_a_crash_has_its_continuation() {
        let started = Journaled { supervisor: true, locked: true, ..PREPARED };
        assert_eq!(next(PREPARED), Step::NeverStarted);
        assert_eq!(next(Journaled { locked: true, ..PREPARED }), Step::AwaitSupervisor);
        assert_eq!(next(Journaled { supervisor_lives: true, ..started }), Step::Adopt);
        assert_eq!(next(Journaled { exit: true, ..started }), Step::Seal);
        assert_eq!(next(Journaled { exit: true, result: true, ..started }), Step::Report);
        assert_eq!(next(Journaled { exit: true, result: true, recorded: true, ..started }), Step::Done);
    }

    #[test]
    fn hostile_row_64_and_65_a_lost_host_and_a_reused_number_are_interruptions() {
        let started = Journaled { supervisor: true, ..PREPARED };
        assert_eq!(next(started), Step::SealInterrupted { host_lost: false });
        for lives in [true, false] {
            let rebooted = Journaled { this_boot: false, supervisor_lives: lives, ..started };
            assert_eq!(next(rebooted), Step::SealInterrupted { host_lost: true });
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_told_is_sealed_again_and_nothing_that_ran_is_dropped(bits: [bool; 9]) {
            let journal = journal(bits);
            let step = next(journal);
            let seals = matches!(step, Step::Seal | Step::SealInterrupted { .. } | Step::Adopt | Step::AwaitSupervisor);
            if journal.recorded || journal.result {
                prop_assert!(!seals);
            } else if journal.run && (journal.supervisor || journal.exit || !journal.this_boot) {
                prop_assert!(seals, "{step:?}: whatever may have run is sealed, even when it was superseded");
            }
            prop_assert_eq!(step == Step::Report, journal.result && !journal.recorded && !journal.forgotten);
            prop_assert!(step != Step::Adopt || journal.this_boot && journal.supervisor_lives);
        }
    }
}
