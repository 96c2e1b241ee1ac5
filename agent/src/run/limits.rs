//! The time limits of a run, and what is due when. Pure: what happened and when goes in, a signal comes out.
//!
//! Whichever limit is reached first ends the run: TERM, then KILL after a grace. What happens after that
//! changes nothing any more.

use std::time::Duration;

use cratekube_common::domain::run::{ReachedLimit, TimeLimit};

/// How long a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// As a whole.
    pub run: Duration,
    /// Without a word.
    pub silence: Duration,
    /// In one phase.
    pub phase: Duration,
}

/// What is to be done to the run's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// To be asked to end.
    Terminate,
    /// To be ended.
    Kill,
}

/// How far ending it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Asked; ended at this point in time.
    Asked(Duration),
    Killed,
}

/// Keeps one run's time. Every point in time is one of the same monotonic clock.
#[derive(Debug)]
pub(super) struct Timekeeper {
    limits: Limits,
    grace: Duration,
    begun: Duration,
    heard: Duration,
    entered: Duration,
    phase: Option<String>,
    stage: Stage,
    reached: Option<ReachedLimit>,
}

impl Timekeeper {
    /// A run that begins now.
    pub(super) fn begin(limits: Limits, grace: Duration, now: Duration) -> Self {
        let (begun, heard, entered) = (now, now, now);
        Self { limits, grace, begun, heard, entered, phase: None, stage: Stage::Running, reached: None }
    }

    /// It said something.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// It came to its next phase.
    pub(super) fn entered(&mut self, phase: String, now: Duration) {
        (self.phase, self.entered) = (Some(phase), now);
    }

    /// The point in time when something is due, unless something happens before.
    pub(super) fn next(&self) -> Option<Duration> {
        match self.stage {
            Stage::Running => Some(self.first_limit().0),
            Stage::Asked(kill_at) => Some(kill_at),
            Stage::Killed => None,
        }
    }

    /// What is due now; it is said once.
    pub(super) fn due(&mut self, now: Duration) -> Option<Due> {
        if self.next().is_none_or(|at| now < at) {
            return None;
        }
        if self.stage == Stage::Running {
            let (_, limit, after) = self.first_limit();
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            self.reached = Some(ReachedLimit { limit, after_ms, phase: self.phase.take() });
            self.stage = Stage::Asked(now.saturating_add(self.grace));
            return Some(Due::Terminate);
        }
        self.stage = Stage::Killed;
        Some(Due::Kill)
    }

    /// The limit that was reached, if one was.
    pub(super) fn reached(self) -> Option<ReachedLimit> {
        self.reached
    }

    fn first_limit(&self) -> (Duration, TimeLimit, Duration) {
        let Limits { run, silence, phase } = self.limits;
        let mut first = (self.begun.saturating_add(run), TimeLimit::Run, run);
        for (since, limit, after) in
            [(self.heard, TimeLimit::Silence, silence), (self.entered, TimeLimit::Phase, phase)]
        {
            let at = since.saturating_add(after);
            if at < first.0 {
                first = (at, limit, after);
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn keeper() -> Timekeeper {
        Timekeeper::begin(Limits { run: s(100), silence: s(20), phase: s(45) }, s(5), s(1_000))
    }

    fn reached(keeper: Timekeeper) -> (TimeLimit, u64, Option<String>) {
        let ReachedLimit { limit, after_ms, phase } = keeper.reached().unwrap();
        (limit, after_ms, phase)
    }

    #[test]
    fn hostile_row_67_silence_ends_a_run_and_a_word_puts_it_off() {
        let mut keeper = keeper();
        assert_eq!((keeper.next(), keeper.due(s(1_019))), (Some(s(1_020)), None));
        keeper.heard(s(1_019));
        keeper.entered("etcd".into(), s(1_019));
        assert_eq!(keeper.due(s(1_020)), None);
        assert_eq!(keeper.due(s(1_039)), Some(Due::Terminate));
        keeper.heard(s(1_040));
        assert_eq!((keeper.next(), keeper.due(s(1_043))), (Some(s(1_044)), None), "the grace");
        assert_eq!(keeper.due(s(1_044)), Some(Due::Kill));
        assert_eq!((keeper.next(), keeper.due(s(9_999))), (None, None));
        assert_eq!(reached(keeper), (TimeLimit::Silence, 20_000, Some("etcd".into())));
    }

    #[test]
    fn hostile_row_67_a_phase_that_does_not_end_is_ended_although_it_talks() {
        let mut keeper = keeper();
        keeper.entered("workers".into(), s(1_010));
        let due = (1_011..).find_map(|now| {
            keeper.heard(s(now));
            keeper.due(s(now)).map(|due| (now, due))
        });
        assert_eq!(due, Some((1_055, Due::Terminate)));
        assert_eq!(reached(keeper), (TimeLimit::Phase, 45_000, Some("workers".into())));
    }

    #[test]
    fn a_run_that_goes_on_from_phase_to_phase_is_ended_at_the_limit_of_the_whole() {
        let mut keeper = keeper();
        let due = (1_001..).find_map(|now| {
            keeper.heard(s(now));
            keeper.entered(format!("phase {now}"), s(now));
            keeper.due(s(now)).map(|due| (now, due))
        });
        assert_eq!(due, Some((1_100, Due::Terminate)));
        assert_eq!(reached(keeper), (TimeLimit::Run, 100_000, Some("phase 1100".into())));
    }

    #[test]
    fn journals_without_the_newer_limits_have_none() {
        let never = Duration::from_millis(u64::MAX);
        let mut keeper = Timekeeper::begin(Limits { run: s(100), silence: never, phase: never }, s(5), s(0));
        assert_eq!(keeper.next(), Some(s(100)));
        assert_eq!(keeper.due(s(100)), Some(Due::Terminate));
    }

    proptest! {
        #[test]
        fn what_is_due_is_terminate_once_and_then_kill_once(steps in prop::collection::vec((0u64..40, 0u8..3), 0..60)) {
            let (mut keeper, mut now, mut said) = (keeper(), s(1_000), Vec::new());
            for (passed, what) in steps {
                now += s(passed);
                match what {
                    0 => keeper.heard(now),
                    1 => keeper.entered("p".into(), now),
                    _ => {}
                }
                said.extend(keeper.due(now));
            }
            prop_assert!(matches!(said[..], [] | [Due::Terminate] | [Due::Terminate, Due::Kill]));
            prop_assert_eq!(keeper.reached().is_some(), !said.is_empty());
        }
    }
}
