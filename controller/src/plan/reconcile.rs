//! What becomes of the runs that an agent holds when it connects, and of those that it does not.
//!
//! Only an attempt that provably never started is handed out again: it is not in the journals of the
//! volume it would have run on, those journals were read (the agent serves the volume), and nobody
//! ever said that it started. Everything else stays locked until its end is known.

use std::collections::{BTreeSet, HashMap, HashSet};

use cratekube_common::domain::attempt::{AttemptState, Fence};
use cratekube_common::domain::id::{AgentId, AttemptId, ClusterId, VolumeId};
use cratekube_common::domain::run::{HeldRun, RunVerdict};

/// An attempt as recorded: one that a held run names, or one in a locking state that is the agent's
/// or on a volume it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: AttemptId,
    /// The agent that has it.
    pub agent: AgentId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The volume it runs on.
    pub volume: VolumeId,
    /// Its fence.
    pub fence: Fence,
    /// Where it is.
    pub state: AttemptState,
    /// True when an agent ever said that it started.
    pub started: bool,
    /// True when its operation is asked to stop.
    pub cancelling: bool,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// The word on each held run, in their order.
    pub verdicts: Vec<(AttemptId, RunVerdict)>,
    /// Attempts that go on under this agent: they are started, whoever had them before.
    pub adopt: Vec<AttemptId>,
    /// Attempts that never started.
    pub release: Vec<AttemptId>,
    /// Attempts whose run nobody knows about now.
    pub lose: Vec<AttemptId>,
}

/// Compares held runs with what is recorded. `served` are the volumes that are the agent's now.
#[must_use]
pub fn reconcile(
    agent: AgentId,
    served: &BTreeSet<VolumeId>,
    held: &[HeldRun],
    recorded: &[Recorded],
) -> Reconciliation {
    let by_id: HashMap<AttemptId, &Recorded> = recorded.iter().map(|r| (r.id, r)).collect();
    let mut plan = Reconciliation::default();
    let mut going_on = HashSet::new();
    for run in held {
        let attempt = by_id.get(&run.attempt).filter(|attempt| is_its_own(agent, served, run, attempt));
        let verdict = match attempt {
            None => RunVerdict::Forget,
            Some(attempt) if attempt.cancelling => RunVerdict::Cancel,
            Some(_) => RunVerdict::Continue,
        };
        if attempt.is_some() && going_on.insert(run.attempt) {
            plan.adopt.push(run.attempt);
        }
        plan.verdicts.push((run.attempt, verdict));
    }
    for attempt in recorded.iter().filter(|a| a.state.locks() && !going_on.contains(&a.id)) {
        let journals_were_read = served.contains(&attempt.volume);
        if !journals_were_read {
            continue;
        }
        if !attempt.started {
            plan.release.push(attempt.id);
        } else if attempt.state == AttemptState::Started {
            plan.lose.push(attempt.id);
        }
    }
    plan
}

/// True when the run is the recorded attempt's, and the agent is the one to go on with it: it had it
/// before, or it serves the volume now.
fn is_its_own(agent: AgentId, served: &BTreeSet<VolumeId>, run: &HeldRun, attempt: &Recorded) -> bool {
    attempt.state.locks()
        && attempt.fence == run.fence
        && attempt.cluster == run.cluster
        && attempt.volume == run.volume
        && (attempt.agent == agent || served.contains(&attempt.volume))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const ME: AgentId = AgentId(Uuid::from_u128(1));
    const OTHER: AgentId = AgentId(Uuid::from_u128(2));
    const VOLUME: VolumeId = VolumeId(Uuid::from_u128(3));

    fn recorded(n: u128, agent: AgentId, state: AttemptState, started: bool) -> Recorded {
        Recorded {
            id: AttemptId(Uuid::from_u128(n)),
            agent,
            cluster: ClusterId(Uuid::from_u128(n)),
            volume: VOLUME,
            fence: Fence(1),
            state,
            started,
            cancelling: false,
        }
    }

    fn held(attempt: &Recorded) -> HeldRun {
        HeldRun {
            attempt: attempt.id,
            fence: attempt.fence,
            cluster: attempt.cluster,
            volume: attempt.volume,
            live: true,
        }
    }

    fn plan(served: bool, held: &[HeldRun], recorded: &[Recorded]) -> Reconciliation {
        reconcile(ME, &served.then_some(VOLUME).into_iter().collect(), held, recorded)
    }

    #[test]
    fn a_run_of_an_agent_that_is_gone_is_adopted_with_its_volume() {
        let attempt = recorded(10, OTHER, AttemptState::Unknown, true);
        let with = plan(true, &[held(&attempt)], std::slice::from_ref(&attempt));
        assert_eq!(with.verdicts, [(attempt.id, RunVerdict::Continue)]);
        assert_eq!(with.adopt, [attempt.id]);
        let without = plan(false, &[held(&attempt)], &[attempt]);
        assert_eq!(without.verdicts[0].1, RunVerdict::Forget, "the volume is another's: a clone");
    }

    #[test]
    fn what_was_leased_and_is_not_held_never_started() {
        let mine = recorded(10, ME, AttemptState::Leased, false);
        let lost = recorded(11, OTHER, AttemptState::Unknown, false);
        let plan = plan(true, &[], &[mine.clone(), lost.clone()]);
        assert_eq!(plan.release, [mine.id, lost.id]);
    }

    #[test]
    fn what_was_leased_on_a_volume_that_cannot_be_read_stays_locked() {
        let mine = recorded(10, ME, AttemptState::Leased, false);
        assert_eq!(plan(false, &[], &[mine]), Reconciliation::default());
    }

    #[test]
    fn what_started_and_is_not_held_is_unknown() {
        let mine = recorded(10, ME, AttemptState::Started, true);
        let plan = plan(true, &[], std::slice::from_ref(&mine));
        assert_eq!(plan.lose, [mine.id]);
        assert!(plan.release.is_empty());
    }

    #[test]
    fn an_old_fence_is_forgotten_and_a_cancel_is_passed_on() {
        let mut attempt = recorded(10, ME, AttemptState::Started, true);
        let stale = HeldRun { fence: Fence(0), ..held(&attempt) };
        assert_eq!(plan(true, &[stale], std::slice::from_ref(&attempt)).verdicts[0].1, RunVerdict::Forget);
        attempt.cancelling = true;
        assert_eq!(plan(true, &[held(&attempt)], &[attempt]).verdicts[0].1, RunVerdict::Cancel);
    }

    proptest! {
        #[test]
        fn nothing_that_ever_started_is_released(
            facts in prop::collection::vec((0usize..7, any::<bool>(), any::<bool>(), any::<bool>()), 0..20),
            served in any::<bool>(),
        ) {
            let attempts: Vec<Recorded> = facts.iter().enumerate().map(|(n, (state, started, mine, _))| {
                let agent = if *mine { ME } else { OTHER };
                recorded(100 + n as u128, agent, AttemptState::ALL[*state], *started)
            }).collect();
            let runs: Vec<HeldRun> = attempts.iter().zip(&facts).filter(|(_, f)| f.3).map(|(a, _)| held(a)).collect();
            let plan = plan(served, &runs, &attempts);
            for id in &plan.release {
                let attempt = attempts.iter().find(|a| a.id == *id).unwrap();
                prop_assert!(!attempt.started && served && attempt.state.locks());
                prop_assert!(!plan.adopt.contains(id));
            }
            prop_assert_eq!(plan.verdicts.len(), runs.len());
            for (id, verdict) in &plan.verdicts {
                prop_assert_eq!(*verdict == RunVerdict::Forget, !plan.adopt.contains(id));
            }
        }
    }
}
