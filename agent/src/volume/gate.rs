//! The state gate: whether `rke` may start on what is on the volume. Pure.
//!
//! RKE takes a state that it cannot read for a new cluster, mints another CA and overwrites the only
//! copy of the old one. So for a cluster that ever had a state, `rke up` starts only on a state that is
//! the one that was sealed, is whole, and carries the CA on record. Each difference has a name and a
//! remedy.
//!
//! What our own last run left torn is put back from the newest good generation, where that is exactly
//! what the controller knows; never where somebody else changed the files.
//!
//! Bringing state back on request ([`recover`]) passes a gate of its own: it accepts whatever is in
//! `working/`, and refuses another CA and a volume that went back in time all the same.
//!
//! Three decisions:
//! - A cluster that never had a good generation has nothing on record that could be lost. What a failed
//!   first run left, if it is torn, is put aside into the new run's directory and `rke` starts afresh.
//! - `rke remove` runs on a copy and could do without the state. It passes the same gate all the same:
//!   a volume whose files are not what was sealed is not understood, and nothing is torn down on what
//!   is not understood. The remedy names the generation to put back.
//! - Where a removal that failed has cleaned hosts of the cluster's etcd, or may have, nothing is built on them.
//!   Without most of them `rke up` makes an empty cluster under the old name and CA, beside data that are still on
//!   the others. Without a few it succeeds, and leaves their members dead: those are to be taken out first.

use std::collections::BTreeSet;

use cratekube_common::domain::cluster::spec::NodeRole;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::{KnownState, Manifest, SealedFile};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::state::{StateFacts, StateFault};

use super::generations::{CLUSTER_YML, KUBECONFIG, STATE, difference};

/// What the gate looks at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What is to be done.
    pub kind: TaskKind,
    /// What the controller knows.
    pub known: Option<&'a KnownState>,
    /// The CA on the volume's own record.
    pub ca_on_record: Option<&'a str>,
    /// The newest generation.
    pub newest: Option<&'a Manifest>,
    /// The newest generation that is good and still what was sealed, by its checksums.
    pub newest_good: Option<&'a Manifest>,
    /// The generation that the controller knows as the newest, if it is still kept.
    pub at_known: Option<&'a Manifest>,
    /// What is in `working/`.
    pub working: &'a [SealedFile],
    /// What the state file in `working/` says; none when there is none.
    pub state: Option<Result<&'a StateFacts, &'a StateFault>>,
    /// True when the cluster was removed.
    pub removed: bool,
    /// What the state of the newest good generation says; only where that in `working/` cannot be read.
    pub put_back: Option<&'a StateFacts>,
    /// Hosts that a removal which did not come to its end has cleaned.
    pub wiped: &'a BTreeSet<String>,
    /// True when of a removal that was begun it is not known which hosts it has cleaned.
    pub untold: bool,
    /// Hosts that are to have the cluster's etcd, by this run's description.
    pub wanted_etcd: &'a BTreeSet<String>,
}

/// What `rke` is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// `working/` as it is.
    Working,
    /// `working/`, after what a failed first run left in it was put aside.
    Fresh,
    /// `working/`, after the files of this generation were put back into it.
    PutBack(u64),
}

/// Where state is brought back from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From a generation.
    Generation(u64),
    /// From the cluster itself.
    Cluster,
}

/// The gate is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// What `rke` is to find.
    pub ground: Ground,
    /// The CA that must still be there after the run; none for a cluster that never had one.
    pub ca_before: Option<String>,
    /// Hosts of the cluster's etcd, by the state that the run starts on.
    pub etcd_hosts: Vec<String>,
}

/// Decides.
///
/// # Errors
/// A failure of class `state` that names the difference and the remedy.
pub fn decide(facts: &Facts<'_>) -> Result<Pass, Box<Failure>> {
    let ca_before = facts.ca_on_record.or_else(|| facts.known?.ca_sha256.as_deref()).map(str::to_owned);
    let ground = examine(facts)?;
    let etcd_hosts = etcd_hosts(facts, ground);
    if facts.kind.goes_on() {
        has_its_data(facts, &etcd_hosts)?;
    }
    Ok(Pass { ground, ca_before, etcd_hosts })
}

/// Decides where state is brought back from. `named` is the generation that was asked for, or why it
/// cannot be used.
///
/// # Errors
/// As [`decide`].
pub fn recover(facts: &Facts<'_>, named: Option<Result<&Manifest, String>>) -> Result<(Source, Pass), Box<Failure>> {
    if facts.removed {
        return Err(refuse("this cluster was removed".into(), "Create a new cluster; its name is free again.".into()));
    }
    let ca = facts.ca_on_record.or_else(|| facts.known?.ca_sha256.as_deref());
    let pass = Pass { ground: Ground::Working, ca_before: ca.map(str::to_owned), etcd_hosts: Vec::new() };
    same_ca(facts)?;
    let Some(named) = named else {
        check_known(facts)?;
        let good = facts.newest_good.filter(|good| ca.is_none() || good.ca_sha256.as_deref() == ca);
        return match (good, ca) {
            (Some(good), _) => Ok((Source::Generation(good.number), pass)),
            (None, Some(_)) => Ok((Source::Cluster, pass)),
            (None, None) => Err(refuse(
                "no good generation is kept and no CA is on record: whatever the cluster gave back could not be believed".into(),
                "If a snapshot of the state volume has the state, attach it; otherwise remove the cluster.".into(),
            )),
        };
    };
    let other = "Name a generation that is good (see the cluster's generations), or none, to have the newest one.";
    let manifest =
        named.map_err(|why| refuse(format!("the generation that was named cannot be used: {why}"), other.into()))?;
    if !manifest.good || (ca.is_some() && manifest.ca_sha256.as_deref() != ca) {
        let why = manifest.fault.as_deref().unwrap_or("it carries another CA than the one on record");
        return Err(refuse(format!("generation {} cannot be used: {why}", manifest.number), other.into()));
    }
    Ok((Source::Generation(manifest.number), pass))
}

fn examine(facts: &Facts<'_>) -> Result<Ground, Box<Failure>> {
    if facts.removed {
        return Err(refuse("this cluster was removed".into(), "Create a new cluster; its name is free again.".into()));
    }
    check_known(facts)?;
    let Some(newest) = facts.newest else { return never_ran(facts) };
    match facts.newest_good {
        None if facts.ca_on_record.is_none() => first_run_failed(facts, newest),
        good => go_on(facts, newest, good),
    }
}

/// Hosts of the cluster's etcd, by the state that the run will find.
fn etcd_hosts(facts: &Facts<'_>, ground: Ground) -> Vec<String> {
    let state = match ground {
        Ground::PutBack(_) => facts.put_back,
        Ground::Working => facts.state.and_then(Result::ok),
        Ground::Fresh => None,
    };
    let nodes = state.map_or(&[][..], |state| &state.nodes).iter();
    nodes.filter(|node| node.roles.contains(&NodeRole::Etcd)).map(|node| node.address.clone()).collect()
}

/// The cluster's etcd must be where it was: there are the data of the cluster.
fn has_its_data(facts: &Facts<'_>, etcd: &[String]) -> Result<(), Box<Failure>> {
    let (cleaned, left): (Vec<&String>, Vec<&String>) = etcd.iter().partition(|host| facts.wiped.contains(*host));
    if !cleaned.is_empty() && left.len() <= cleaned.len() {
        return Err(cleaned::most(&cleaned, &left));
    }
    if facts.untold && !etcd.is_empty() {
        return Err(cleaned::untold(etcd));
    }
    let wanted: Vec<&String> = cleaned.into_iter().filter(|host| facts.wanted_etcd.contains(*host)).collect();
    if wanted.is_empty() { Ok(()) } else { Err(cleaned::few(&wanted, &left)) }
}

/// What the controller knows must be on the volume.
fn check_known(facts: &Facts<'_>) -> Result<(), Box<Failure>> {
    let Some(known) = facts.known else { return Ok(()) };
    let newest = facts.newest.map_or(0, |m| m.number);
    if newest < known.generation {
        return Err(refuse(
            format!(
                "state_regressed: the volume's newest generation is {newest}, but generation {} was reported",
                known.generation
            ),
            "This is an older copy of the volume (a restored snapshot, a clone). Attach the right one; if it is lost, bring the state back with `recover-state`, naming the generation to go back to.".into(),
        ));
    }
    let sealed = facts.at_known.and_then(|m| m.files.iter().find(|f| f.name == STATE)).map(|f| f.sha256.as_str());
    if let (Some(_), Some(reported)) = (facts.at_known, known.state_sha256.as_deref())
        && sealed != Some(reported)
    {
        return Err(refuse(
            format!(
                "state_regressed: generation {} is not the one that was reported: its state has sha256 {}, reported was {reported}",
                known.generation,
                sealed.unwrap_or("none")
            ),
            "This volume's history is not the one on record (a clone that went its own way?). Attach the right volume."
                .into(),
        ));
    }
    same_ca(facts)
}

fn same_ca(facts: &Facts<'_>) -> Result<(), Box<Failure>> {
    match (facts.ca_on_record, facts.known.and_then(|known| known.ca_sha256.as_deref())) {
        (Some(here), Some(there)) if here != there => Err(refuse(
            format!("the volume's record has the CA {here}, the controller's {there}"),
            "Find out which is the cluster's: compare with the certificate its API server shows. Do not run anything before.".into(),
        )),
        _ => Ok(()),
    }
}

fn never_ran(facts: &Facts<'_>) -> Result<Ground, Box<Failure>> {
    match facts.working.iter().find(|f| f.name != CLUSTER_YML) {
        None => Ok(Ground::Working),
        Some(found) => Err(refuse(
            format!("drift: {} was found in working/, but nothing ever ran for this cluster", found.name),
            "Find out where the file comes from. If it is of another cluster, move it away; if this cluster was built elsewhere, import it.".into(),
        )),
    }
}

/// Nothing good was ever sealed: nothing can be lost. But what is there must be what was sealed.
fn first_run_failed(facts: &Facts<'_>, newest: &Manifest) -> Result<Ground, Box<Failure>> {
    if let Some(known_ca) = facts.known.and_then(|k| k.ca_sha256.as_deref()) {
        return Err(refuse(
            format!("the CA {known_ca} is on record, but no generation on the volume carries it"),
            "Bring the state back with `rke util get-state-file` on a host that has the cluster's files.".into(),
        ));
    }
    // Put aside already, by an attempt that came to its end before `rke` started.
    if facts.working.iter().all(|f| f.name == CLUSTER_YML) {
        return Ok(Ground::Working);
    }
    no_drift(facts, newest)?;
    Ok(if matches!(facts.state, Some(Ok(_))) { Ground::Working } else { Ground::Fresh })
}

fn go_on(facts: &Facts<'_>, newest: &Manifest, good: Option<&Manifest>) -> Result<Ground, Box<Failure>> {
    // An operator may have put the newest good generation back after a run that tore the state.
    let restored = good.filter(|good| good.number != newest.number);
    let is_restored = restored.is_some_and(|g| difference(&g.files, facts.working, &[CLUSTER_YML]).is_none());
    if !is_restored && !restored.is_some_and(|good| half_put_back(newest, good, facts.working)) {
        no_drift(facts, newest)?;
    }
    let state = match facts.state {
        Some(Ok(state)) => state,
        _ if !newest.good && restored.is_some_and(|good| is_known(facts, good)) => {
            return Ok(restored.map_or(Ground::Working, |good| Ground::PutBack(good.number)));
        }
        Some(Err(fault)) => return Err(refuse(format!("torn state: {fault}"), restore(good))),
        None => return Err(refuse("the state file is missing".into(), restore(good))),
    };
    let expected = facts.ca_on_record.or_else(|| facts.known?.ca_sha256.as_deref());
    match expected.filter(|ca| *ca != state.ca_sha256) {
        Some(ca) => Err(refuse(
            format!("the state carries the CA {}, but the cluster's CA on record is {ca}", state.ca_sha256),
            restore(good),
        )),
        None => Ok(Ground::Working),
    }
}

/// Whether each file is one of the last run or of the good generation: putting it back was interrupted.
fn half_put_back(newest: &Manifest, good: &Manifest, working: &[SealedFile]) -> bool {
    let of = |files: &[SealedFile], name: &str| files.iter().find(|file| file.name == name).cloned();
    [STATE, KUBECONFIG].iter().all(|name| {
        let found = of(working, name);
        found == of(&newest.files, name) || found == of(&good.files, name)
    })
}

/// Whether a generation is the state that the controller knows, with the CA on record.
fn is_known(facts: &Facts<'_>, good: &Manifest) -> bool {
    let Some(known) = facts.known else { return false };
    let state = good.files.iter().find(|file| file.name == STATE).map(|file| file.sha256.as_str());
    let ca = facts.ca_on_record.or(known.ca_sha256.as_deref());
    state.is_some() && state == known.state_sha256.as_deref() && ca.is_some() && good.ca_sha256.as_deref() == ca
}

fn no_drift(facts: &Facts<'_>, newest: &Manifest) -> Result<(), Box<Failure>> {
    match difference(&newest.files, facts.working, &[CLUSTER_YML]) {
        None => Ok(()),
        Some(difference) => Err(refuse(
            format!("drift: working/ is not generation {}, the newest that was sealed: {difference}", newest.number),
            restore(facts.newest_good),
        )),
    }
}

fn restore(good: Option<&Manifest>) -> String {
    match good {
        Some(good) => format!(
            "Find out who changed the files. Then bring the newest good generation back with `recover-state` (it is generations/{:06}/ in the cluster's directory on the state volume), and retry.",
            good.number
        ),
        None => "No good generation is kept. Bring the state back with `recover-state`, which asks the cluster itself."
            .into(),
    }
}

fn refuse(message: String, remedy: String) -> Box<Failure> {
    Box::new(Failure { class: FailureClass::State, message, line: None, retryable: false, remedy })
}

mod cleaned;
#[cfg(test)]
mod tests;
