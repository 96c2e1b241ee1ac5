//! Whether a run did what was asked: from exit, output and state together, never from one of them.
//!
//! RKE's exit 0 can mean that a host is missing, that an add-on failed, or that it was told no. So a
//! provision succeeded when it exited with 0, said that it finished, left no host out, when the
//! state has every host that was asked for, no host that left the description runs on unseen, and
//! when the CA is the one that it was. A removal succeeded when every host was cleaned. State that a
//! cluster gave back is believed when it is whole, describes a cluster that was built, and carries the
//! CA on record. A run that was ended from outside is never called failed: how far it came is not
//! known.
//!
//! Not here: what the cluster's own API says, which the agent asks afterwards; and why `rke` itself
//! gave up, which is in `cause`.

use super::cause;
use super::evidence::{Evidence, FailedAddon};
use super::hosts;
use super::overdue;
use super::state::StateFacts;
use crate::domain::failure::{Failure, FailureClass as Class};
use crate::domain::run::{ExitStatus, ReachedLimit};
use crate::domain::task::TaskKind;

/// When neither a generation nor the cluster has the state.
const NOT_BROUGHT_BACK: &str = "Nothing was changed. Attach a snapshot of the state volume, or put a copy of the state file that carries the CA on record into working/ together with an operator of the service.";

/// Everything that is known when a run is over.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What was asked.
    pub kind: TaskKind,
    /// How the process ended; none when that was lost.
    pub exit: Option<ExitStatus>,
    /// What its output said.
    pub evidence: &'a Evidence,
    /// Addresses of the hosts that were asked for; for a removal, of those to be cleaned.
    pub wanted_hosts: &'a [&'a str],
    /// Addresses of hosts that carried the cluster before the run and are not asked for any more.
    pub left_hosts: &'a [&'a str],
    /// The state after the run, or the one that was brought back; none when there is none or it is not whole.
    pub state: Option<&'a StateFacts>,
    /// Fingerprint of the CA before the run; none for a cluster that never had one.
    pub ca_before: Option<&'a str>,
    /// Whether a new CA was asked for: a rotation of the CA.
    pub new_ca_wanted: bool,
    /// Why we ended the process, when we did.
    pub stopped: Option<Stop<'a>>,
}

/// Why a process was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop<'a> {
    /// On request.
    Cancelled,
    /// It ran into a time limit.
    TimedOut(&'a ReachedLimit),
    /// With its host.
    HostLost,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Done, or why not.
    pub outcome: Result<(), Failure>,
    /// Things to know either way.
    pub warnings: Vec<String>,
}

/// Judges a run.
#[must_use]
pub fn judge(case: &Case<'_>) -> Judgement {
    Judgement { outcome: outcome(case), warnings: warnings(case) }
}

fn outcome(case: &Case<'_>) -> Result<(), Failure> {
    changed_ca(case)?;
    match (case.exit, case.stopped) {
        // It ended by itself before it could be stopped.
        (Some(ExitStatus::Code(0)), _) => finished(case),
        (_, Some(stop)) => Err(stopped(stop, case.kind)),
        (Some(ExitStatus::Code(_)), None) => Err(cause::of(case.evidence)),
        (Some(ExitStatus::Signal(signal)), None) => Err(interrupted(&format!("signal {signal} ended rke"))),
        (None, None) => Err(interrupted("how rke ended is not known")),
    }
}

/// A CA that is not the one on record means that RKE took the cluster for a new one: whatever else
/// happened, this comes first.
fn changed_ca(case: &Case<'_>) -> Result<(), Failure> {
    let guarded = case.kind != TaskKind::RecoverState && !case.new_ca_wanted;
    let Some(before) = case.ca_before.filter(|_| guarded) else { return Ok(()) };
    let message = match case.state {
        Some(state) if state.ca_sha256 != before => {
            format!("ALARM: the cluster's CA changed from {before} to {} without being asked to", state.ca_sha256)
        }
        None if case.evidence.new_ca => {
            format!("ALARM: rke made a new CA for a cluster whose CA is {before}, and the state it left is not whole")
        }
        _ => return Ok(()),
    };
    Err(Failure {
        class: Class::State,
        message,
        line: case.evidence.new_ca.then(|| "[certificates] Generating CA kubernetes certificates".into()),
        retryable: false,
        remedy: "Do not retry: every further run breaks more. Restore the newest generation whose CA is the one on record, then apply the spec again.".into(),
    })
}

fn finished(case: &Case<'_>) -> Result<(), Failure> {
    if !case.evidence.finished {
        return Err(Failure {
            class: Class::Internal,
            message: "rke ended with 0 but did not say that it finished".into(),
            line: case.evidence.last_raw.clone(),
            retryable: true,
            remedy: "Retry once; if it ends the same way, ask an operator of the service, with the run's output."
                .into(),
        });
    }
    match case.kind {
        TaskKind::Provision | TaskKind::Reconfigure => provisioned(case),
        TaskKind::Remove => removed(case),
        TaskKind::RecoverState => recovered(case),
        TaskKind::RotateCertificates => rotated(case),
        // Not a task of `rke`; `step` judges those.
        _ => Err(interrupted("what ran is not known")),
    }
}

fn not_whole() -> Failure {
    Failure {
        class: Class::State,
        message: "rke says that it finished, but the state it left is not whole".into(),
        line: None,
        retryable: false,
        remedy: "Recover the state from the cluster with `rke util get-state-file` before anything else is run on it."
            .into(),
    }
}

fn provisioned(case: &Case<'_>) -> Result<(), Failure> {
    let state = case.state.ok_or_else(not_whole)?;
    let evidence = case.evidence;
    let is_missing =
        |host: &&str| evidence.skipped.contains(*host) || !state.nodes.iter().any(|node| node.address == **host);
    let mut missing: Vec<&str> = case.wanted_hosts.iter().copied().filter(is_missing).collect();
    missing.extend(evidence.skipped.iter().map(String::as_str).filter(|host| !case.wanted_hosts.contains(host)));
    if let Some(failure) = hosts::absent(&missing, &evidence.tunnels, "did not become part of the cluster") {
        return Err(failure);
    }
    if evidence.overflowed {
        return Err(too_much());
    }
    let lost = lost(case);
    if !lost.is_empty() {
        return Err(still_there(&lost));
    }
    evidence.addons.iter().find(|addon| is_core(addon)).map_or(Ok(()), |addon| Err(without_core(addon)))
}

/// Hosts that left the description and that this run neither cleaned nor tried to: RKE had lost them
/// from its state, and said nothing.
fn lost<'a>(case: &Case<'a>) -> Vec<&'a str> {
    let seen_off = |host: &str| case.evidence.cleaned.contains(host) || case.evidence.uncleaned.contains_key(host);
    case.left_hosts.iter().copied().filter(|host| !seen_off(host)).collect()
}

fn still_there(hosts: &[&str]) -> Failure {
    Failure {
        class: Class::State,
        message: format!(
            "{} left the description, but rke did not take it out: an earlier run that could not reach it had dropped it from rke's state. It may still run as a node of the cluster",
            hosts::named(hosts)
        ),
        line: None,
        retryable: true,
        remedy: "If it still runs, put it back into the spec, apply that, and remove it again. If it is gone for good, delete its node with kubectl, and retry.".into(),
    }
}

fn removed(case: &Case<'_>) -> Result<(), Failure> {
    let evidence = case.evidence;
    let carries = |host: &&str| evidence.skipped.contains(*host) || !evidence.cleaned.contains(*host);
    let mut left: Vec<&str> = case.wanted_hosts.iter().copied().filter(carries).collect();
    left.extend(evidence.skipped.iter().map(String::as_str).filter(|host| !case.wanted_hosts.contains(host)));
    if let Some(failure) =
        hosts::absent(&left, &evidence.tunnels, "could not be cleaned and may still run the cluster's containers")
    {
        return Err(failure);
    }
    if evidence.overflowed { Err(too_much()) } else { Ok(()) }
}

fn recovered(case: &Case<'_>) -> Result<(), Failure> {
    let message = match (case.state, case.ca_before) {
        (None, _) => "the state that the cluster gave back is not whole".to_owned(),
        (Some(state), _) if !state.has_current => {
            "the state that the cluster gave back describes nothing that was built".to_owned()
        }
        (Some(_), None) => {
            "no CA is on record for this cluster, so that what it gave back cannot be believed".to_owned()
        }
        (Some(state), Some(ca)) if state.ca_sha256 != ca => {
            format!("the state that the cluster gave back carries the CA {}, on record is {ca}", state.ca_sha256)
        }
        _ => return Ok(()),
    };
    Err(Failure { class: Class::State, message, line: None, retryable: false, remedy: NOT_BROUGHT_BACK.into() })
}

/// Certificates are new on every host, and the CA is new exactly when that was asked for.
fn rotated(case: &Case<'_>) -> Result<(), Failure> {
    let evidence = case.evidence;
    let state = case.state.ok_or_else(not_whole)?;
    let missing: Vec<&str> = evidence.skipped.iter().map(String::as_str).collect();
    if let Some(failure) = hosts::absent(&missing, &evidence.tunnels, "did not get its new certificates") {
        return Err(failure);
    }
    if evidence.overflowed {
        return Err(too_much());
    }
    if case.new_ca_wanted && case.ca_before == Some(state.ca_sha256.as_str()) {
        return Err(Failure {
            class: Class::State,
            message: "rke says that it rotated the CA, but the state still carries the one from before".into(),
            line: None,
            retryable: true,
            remedy: "Retry once; if it ends the same way, ask an operator of the service, with the run's output."
                .into(),
        });
    }
    Ok(())
}

fn too_much() -> Failure {
    Failure {
        class: Class::Internal,
        message: "rke named more hosts than can be checked".into(),
        line: None,
        retryable: false,
        remedy: "Ask an operator of the service, with the run's output.".into(),
    }
}

fn stopped(stop: Stop<'_>, kind: TaskKind) -> Failure {
    match stop {
        Stop::Cancelled => Failure {
            class: Class::Cancelled,
            message: "ended on request".into(),
            line: None,
            // Nothing may start it again by itself.
            retryable: false,
            remedy: "The cluster may be half changed: retry to bring it to its spec, or remove it.".into(),
        },
        Stop::TimedOut(reached) => overdue::failure(reached, kind),
        Stop::HostLost => interrupted("the bastion went down during the run"),
    }
}

fn interrupted(message: &str) -> Failure {
    Failure {
        class: Class::Interrupted,
        message: format!("{message}; how far it came is not known"),
        line: None,
        retryable: true,
        remedy: "Retry: rke goes on from what is there, once the state was found to be whole.".into(),
    }
}

/// Without network or DNS no workload runs; without the others it does.
fn is_core(addon: &FailedAddon) -> bool {
    const CORE: [&str; 5] = ["rke-network-plugin", "coredns", "kube-dns", "rke-coredns-addon", "rke-kube-dns-addon"];
    CORE.contains(&addon.name.as_str())
}

fn without_core(addon: &FailedAddon) -> Failure {
    Failure {
        class: Class::Addon,
        message: format!(
            "the cluster runs but its add-on {} was not deployed; workloads cannot do without it",
            addon.name
        ),
        line: Some(addon.line.clone()),
        retryable: true,
        remedy: "Retry: images are there by then. If it fails again, look at the add-on's job and pods in kube-system."
            .into(),
    }
}

fn warnings(case: &Case<'_>) -> Vec<String> {
    let evidence = case.evidence;
    let mut warnings = Vec::new();
    warnings.extend(evidence.rehearsal.clone());
    for addon in evidence.addons.iter().filter(|addon| !is_core(addon)) {
        warnings.push(format!("add-on {} was not deployed: {}", addon.name, addon.line));
    }
    let uncleaned: Vec<&str> = evidence.uncleaned.keys().map(String::as_str).collect();
    if !uncleaned.is_empty() {
        warnings.push(format!(
            "{} left the cluster without being cleaned: its containers still run; clean it before it is used again",
            hosts::named(&uncleaned)
        ));
    }
    let left_over = if case.kind == TaskKind::Remove { lost(case) } else { Vec::new() };
    if !left_over.is_empty() {
        warnings.push(format!(
            "{} left the description before this removal and was never cleaned: clean it before it is used again",
            hosts::named(&left_over)
        ));
    }
    if case.state.is_some_and(|state| state.current_ca_sha256.is_some()) {
        warnings.push("the state's current and desired halves carry different CAs: a rotation did not end".into());
    }
    if case.kind.builds() && case.ca_before.is_some() && case.state.is_none() {
        warnings.push("the state file is not whole after the run: nothing may run before it is restored".into());
    }
    warnings
}
