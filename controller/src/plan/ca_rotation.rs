//! The rotation of the authority's root, step by step: decided from values.
//!
//! | phase | agents and listeners trust | agents are certified by | listeners show a certificate of |
//! |---|---|---|---|
//! | none | the one | the one | the one |
//! | introduced | both | the new one | the old one |
//! | switched | both | the new one | the new one |
//! | finishing, then none | the new one | the new one | the new one |
//!
//! An agent that renews in any phase learns whom to trust and is certified by the root that stays. Rolling back
//! exchanges the two: what was old becomes the one that stays, and finishing drops the other. Only finishing
//! cannot be undone, and only it locks anybody out who is not at fault.

use cratekube_common::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Both are trusted; listeners still show the old one's certificates.
    Introduced,
    /// Both are trusted; listeners show the new one's certificates.
    Switched,
    /// The old one is not trusted any more; its files are being removed.
    Finishing,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Introduced => "introduced",
            Self::Switched => "switched",
            Self::Finishing => "finishing",
        }
    }
}

/// How far a rotation is, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How far it is.
    pub phase: Phase,
    /// Whether the root that stays is the one from before the rotation.
    pub rolled_back: bool,
    /// When it began.
    pub begun_at: Timestamp,
    /// When its phase last changed.
    pub changed_at: Timestamp,
}

/// What an admin does with a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Makes a new root and has it trusted.
    Begin,
    /// Listeners show its certificates.
    Switch,
    /// Goes back to the root from before.
    RollBack,
    /// Drops the root that does not stay.
    Finish,
}

impl Step {
    /// Its name in the audit log and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "rotate",
            Self::Switch => "switch",
            Self::RollBack => "roll-back",
            Self::Finish => "finish",
        }
    }

    /// Whether agents that have not taken the root over that stays are locked out by it.
    #[must_use]
    pub const fn may_leave_behind(self) -> bool {
        matches!(self, Self::Switch | Self::Finish)
    }
}

/// Why a step is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepFault {
    /// There is no rotation.
    #[error("no rotation is under way")]
    None,
    /// There is one already.
    #[error("a rotation is under way ({})", .0.as_str())]
    UnderWay(Phase),
    /// Listeners do not show the new root's certificates yet.
    #[error("the listeners do not show the new CA's certificates yet; switch first")]
    NotSwitched,
}

/// What a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was taken before.
    Nothing,
    /// A new root is made.
    New(Progress),
    /// The same two roots, further on.
    On(Progress),
    /// The same two roots, the other way round.
    Exchanged(Progress),
}

/// Decides what a step comes to. A step that was taken before changes nothing, but for the first: a second one
/// would be another rotation.
///
/// # Errors
/// [`StepFault`] when it is not this step's turn.
pub fn change(progress: Option<Progress>, step: Step, now: Timestamp) -> Result<Change, StepFault> {
    let Some(before) = progress else {
        let begun = Progress { phase: Phase::Introduced, rolled_back: false, begun_at: now, changed_at: now };
        return if step == Step::Begin { Ok(Change::New(begun)) } else { Err(StepFault::None) };
    };
    let to = |phase| Progress { phase, changed_at: now, ..before };
    match (before.phase, step) {
        (Phase::Introduced, Step::Switch) => Ok(Change::On(to(Phase::Switched))),
        (Phase::Switched, Step::Finish) => Ok(Change::On(to(Phase::Finishing))),
        (Phase::Introduced | Phase::Switched, Step::RollBack) if !before.rolled_back => {
            Ok(Change::Exchanged(Progress { rolled_back: true, ..to(Phase::Switched) }))
        }
        (Phase::Switched, Step::Switch | Step::RollBack) | (Phase::Finishing, Step::Finish) => Ok(Change::Nothing),
        (Phase::Introduced, Step::Finish) => Err(StepFault::NotSwitched),
        (phase, _) => Err(StepFault::UnderWay(phase)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn progress(phase: Phase, rolled_back: bool) -> Option<Progress> {
        Some(Progress { phase, rolled_back, begun_at: at(1), changed_at: at(2) })
    }

    #[test]
    fn steps_are_taken_in_their_order_and_once() {
        use Phase::{Finishing, Introduced, Switched};
        let on = |phase| Ok(Change::On(Progress { phase, rolled_back: false, begun_at: at(1), changed_at: at(9) }));
        let back = Progress { phase: Switched, rolled_back: true, begun_at: at(1), changed_at: at(9) };
        let begun = Progress { phase: Introduced, rolled_back: false, begun_at: at(9), changed_at: at(9) };
        let table = [
            (None, Step::Begin, Ok(Change::New(begun))),
            (None, Step::Switch, Err(StepFault::None)),
            (None, Step::RollBack, Err(StepFault::None)),
            (None, Step::Finish, Err(StepFault::None)),
            (progress(Introduced, false), Step::Begin, Err(StepFault::UnderWay(Introduced))),
            (progress(Introduced, false), Step::Switch, on(Switched)),
            (progress(Introduced, false), Step::RollBack, Ok(Change::Exchanged(back))),
            (progress(Introduced, false), Step::Finish, Err(StepFault::NotSwitched)),
            (progress(Switched, false), Step::Begin, Err(StepFault::UnderWay(Switched))),
            (progress(Switched, false), Step::Switch, Ok(Change::Nothing)),
            (progress(Switched, false), Step::RollBack, Ok(Change::Exchanged(back))),
            (progress(Switched, false), Step::Finish, on(Finishing)),
            (progress(Switched, true), Step::RollBack, Ok(Change::Nothing)),
            (progress(Switched, true), Step::Finish, Ok(Change::On(Progress { phase: Finishing, ..back }))),
            (progress(Finishing, false), Step::Finish, Ok(Change::Nothing)),
            (progress(Finishing, false), Step::RollBack, Err(StepFault::UnderWay(Finishing))),
            (progress(Finishing, false), Step::Begin, Err(StepFault::UnderWay(Finishing))),
        ];
        for (before, step, expected) in table {
            assert_eq!(change(before, step, at(9)), expected, "{before:?} {step:?}");
        }
    }
}
