//! A run that a time limit ended: what is said of it. Pure.
//!
//! The message names the limit and the phase that the run stood in; the remedy says what usually stands
//! still there, and which setting to raise where nothing does.

use crate::domain::failure::{Failure, FailureClass};
use crate::domain::run::{ReachedLimit, TimeLimit};
use crate::domain::task::TaskKind;

/// The failure of a run of `rke` that ran into a limit.
pub(crate) fn failure(reached: &ReachedLimit, kind: TaskKind) -> Failure {
    let (after, place) = (spoken(reached.after_ms), place(reached.phase.as_deref()));
    let (message, remedy) = match reached.limit {
        TimeLimit::Run => (
            format!("ended after {after}, the limit of a whole run, {place}"),
            format!("See in the output what took so long, then retry: rke goes on from what is there. Where runs need longer, raise `rke.run_timeout` of the agent, or `steps.{}` where that is set.", kind.setting()),
        ),
        TimeLimit::Silence => (
            format!("ended after {after} without a word of rke, {place}"),
            "Check that the hosts answer on SSH and that Docker on them does, then retry: rke goes on from what is there. Where hosts are that slow, raise `rke.silence_timeout` of the agent.".into(),
        ),
        TimeLimit::Phase => (
            format!("ended after {after}, the limit of one phase, {place}"),
            "See in the output what is tried again and again, mend it, then retry: rke goes on from what is there. Where the phase needs longer, raise `rke.phase_timeout` of the agent.".into(),
        ),
    };
    late(message, remedy)
}

/// The failure of a step of our own that ran into its limit, while it waited for something.
pub(crate) fn of_step(reached: &ReachedLimit, kind: TaskKind, waited_for: Option<&str>) -> Failure {
    let (after, place) = (spoken(reached.after_ms), place(reached.phase.as_deref()));
    let setting = format!("steps.{}", kind.setting());
    let limit = match reached.limit {
        TimeLimit::Run => format!(", the limit of the step {kind}"),
        // Agents of before gave steps the limits of rke; the next try has the one of its own.
        TimeLimit::Silence => " without a word of the step".into(),
        TimeLimit::Phase => ", the limit of one phase".into(),
    };
    let waited = waited_for.map(|what| format!("; it waited for this: {what}")).unwrap_or_default();
    let remedy = "See what it waited for, in the output too, mend that, then retry: it goes on from what is there.";
    late(
        format!("ended after {after}{limit}, {place}{waited}"),
        format!("{remedy} Where it needs longer, raise `{setting}` of the agent."),
    )
}

fn late(message: String, remedy: String) -> Failure {
    Failure { class: FailureClass::Timeout, message, line: None, retryable: true, remedy }
}

fn place(phase: Option<&str>) -> String {
    phase.map_or_else(|| "before its first phase".into(), |phase| format!("in phase `{phase}`"))
}

/// A length of time in the largest unit that it is a whole number of.
fn spoken(ms: u64) -> String {
    let units = [(3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{ms} ms"), |(unit, name)| format!("{} {name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_row_67_each_limit_is_named_with_the_phase_and_its_setting() {
        let said = |limit, after_ms, phase: Option<&str>| {
            let failure = failure(&ReachedLimit { limit, after_ms, phase: phase.map(Into::into) }, TaskKind::Remove);
            assert_eq!((failure.class, failure.retryable), (FailureClass::Timeout, true));
            (failure.message, failure.remedy)
        };
        let (message, remedy) = said(TimeLimit::Run, 7_200_000, Some("etcd"));
        assert_eq!(message, "ended after 2 h, the limit of a whole run, in phase `etcd`");
        assert!(remedy.contains("rke.run_timeout") && remedy.contains("steps.remove"));
        let (message, remedy) = said(TimeLimit::Silence, 1_200_000, None);
        assert_eq!(message, "ended after 20 min without a word of rke, before its first phase");
        assert!(remedy.contains("rke.silence_timeout"));
        let (message, remedy) = said(TimeLimit::Phase, 1_500, Some("workers"));
        assert_eq!(message, "ended after 1500 ms, the limit of one phase, in phase `workers`");
        assert!(remedy.contains("rke.phase_timeout"));
    }

    #[test]
    fn a_step_names_its_own_limit_and_what_it_waited_for() {
        let mut reached = ReachedLimit { limit: TimeLimit::Run, after_ms: 3_600_000, phase: Some("cleaning".into()) };
        let failure = of_step(&reached, TaskKind::CleanHosts, Some("192.0.2.1"));
        let told =
            "ended after 1 h, the limit of the step clean-hosts, in phase `cleaning`; it waited for this: 192.0.2.1";
        assert_eq!((failure.message.as_str(), failure.retryable), (told, true));
        assert!(failure.remedy.contains("raise `steps.clean_hosts` of the agent"), "{}", failure.remedy);
        reached.limit = TimeLimit::Silence;
        let failure = of_step(&reached, TaskKind::Sweep, None);
        assert_eq!(failure.message, "ended after 1 h without a word of the step, in phase `cleaning`");
        assert!(failure.remedy.contains("`steps.sweep`"), "{}", failure.remedy);
    }
}
