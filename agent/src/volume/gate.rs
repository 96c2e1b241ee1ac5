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
//! Two decisions:
//! - A cluster that never had a good generation has nothing on record that could be lost. What a failed
//!   first run left, if it is torn, is put aside into the new run's directory and `rke` starts afresh.
//! - `rke remove` runs on a copy and could do without the state. It passes the same gate all the same:
//!   a volume whose files are not what was sealed is not understood, and nothing is torn down on what
//!   is not understood. The remedy names the generation to put back.

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
}

/// Decides.
///
/// # Errors
/// A failure of class `state` that names the difference and the remedy.
pub fn decide(facts: &Facts<'_>) -> Result<Pass, Box<Failure>> {
    let ca_before = facts.ca_on_record.or_else(|| facts.known?.ca_sha256.as_deref()).map(str::to_owned);
    let ground = examine(facts)?;
    Ok(Pass { ground, ca_before })
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
    let pass = Pass { ground: Ground::Working, ca_before: ca.map(str::to_owned) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::attempt::Fence;
    use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
    use cratekube_common::domain::time::Timestamp;
    use uuid::Uuid;

    fn file(name: &str, sha256: &str) -> SealedFile {
        SealedFile { name: name.into(), bytes: 1, sha256: sha256.into() }
    }

    fn manifest(number: u64, state: &str, good: bool) -> Manifest {
        Manifest {
            number,
            cluster: ClusterId(Uuid::nil()),
            operation: OperationId(Uuid::nil()),
            attempt: AttemptId(Uuid::nil()),
            fence: Fence(1),
            sealed_at: Timestamp::default(),
            ca_sha256: good.then(|| "ca".into()),
            good,
            fault: (!good).then(|| "torn".into()),
            files: vec![file(CLUSTER_YML, "yml"), file(STATE, state)],
        }
    }

    fn state(ca: &str) -> StateFacts {
        StateFacts {
            ca_sha256: ca.into(),
            current_ca_sha256: None,
            has_current: true,
            nodes: Vec::new(),
            desired_nodes: Vec::new(),
            kubernetes_version: None,
        }
    }

    fn nothing() -> Facts<'static> {
        Facts {
            kind: TaskKind::Provision,
            known: None,
            ca_on_record: None,
            newest: None,
            newest_good: None,
            at_known: None,
            working: &[],
            state: None,
            removed: false,
        }
    }

    fn message(facts: &Facts<'_>) -> String {
        let failure = decide(facts).unwrap_err();
        assert_eq!(failure.class, FailureClass::State);
        assert!(!failure.remedy.is_empty() && !failure.retryable);
        failure.message
    }

    #[test]
    fn a_new_cluster_starts_on_nothing_and_only_on_nothing() {
        assert_eq!(decide(&nothing()).unwrap().ground, Ground::Working);
        let working = [file(STATE, "x")];
        let stranger = Facts { working: &working, ..nothing() };
        assert!(message(&stranger).starts_with("drift: cluster.rkestate was found"));
        let rendered = [file(CLUSTER_YML, "x")];
        assert!(decide(&Facts { working: &rendered, ..nothing() }).is_ok(), "a crash before rke started leaves this");
    }

    #[test]
    fn a_sound_cluster_passes_with_its_ca_and_a_changed_description() {
        let (newest, facts) = (manifest(3, "s", true), state("ca"));
        let working = [file(CLUSTER_YML, "another"), file(STATE, "s")];
        let known = KnownState { generation: 3, state_sha256: Some("s".into()), ca_sha256: Some("ca".into()) };
        let sound = Facts {
            known: Some(&known),
            ca_on_record: Some("ca"),
            newest: Some(&newest),
            newest_good: Some(&newest),
            at_known: Some(&newest),
            working: &working,
            state: Some(Ok(&facts)),
            ..nothing()
        };
        let pass = decide(&sound).unwrap();
        assert_eq!((pass.ground, pass.ca_before.as_deref()), (Ground::Working, Some("ca")));
        assert!(message(&Facts { removed: true, ..sound }).contains("removed"));
    }

    #[test]
    fn hostile_row_58_drift_torn_and_missing_state_are_refused_by_name() {
        let newest = manifest(3, "s", true);
        let fault = StateFault::Empty;
        let (changed, none) = ([file(STATE, "other")], []);
        let base = Facts { ca_on_record: Some("ca"), newest: Some(&newest), newest_good: Some(&newest), ..nothing() };
        let drift = message(&Facts { working: &changed, state: Some(Err(&fault)), ..base });
        assert!(drift.starts_with("drift: working/ is not generation 3") && drift.contains("cluster.rkestate"));
        assert!(message(&Facts { working: &none, ..base }).contains("cluster.rkestate is missing"));
        let torn = manifest(4, "t", false);
        let working = [file(STATE, "t")];
        let after = Facts { newest: Some(&torn), working: &working, state: Some(Err(&fault)), ..base };
        assert!(message(&after).starts_with("torn state"));
        assert!(decide(&after).unwrap_err().remedy.contains("generations/000003/"));
    }

    #[test]
    fn the_newest_good_generation_put_back_by_hand_is_accepted() {
        let (good, torn, facts) = (manifest(3, "s", true), manifest(4, "t", false), state("ca"));
        let working = [file(STATE, "s")];
        let restored = Facts {
            ca_on_record: Some("ca"),
            newest: Some(&torn),
            newest_good: Some(&good),
            working: &working,
            state: Some(Ok(&facts)),
            ..nothing()
        };
        assert_eq!(decide(&restored).unwrap().ground, Ground::Working);
    }

    #[test]
    fn hostile_row_58_what_our_own_run_tore_is_put_back_when_it_is_exactly_what_is_known() {
        let (good, torn, fault) = (manifest(3, "s", true), manifest(4, "t", false), StateFault::Empty);
        let working = [file(STATE, "t")];
        let known = KnownState { generation: 3, state_sha256: Some("s".into()), ca_sha256: Some("ca".into()) };
        let base = Facts {
            known: Some(&known),
            ca_on_record: Some("ca"),
            newest: Some(&torn),
            newest_good: Some(&good),
            at_known: Some(&good),
            working: &working,
            state: Some(Err(&fault)),
            ..nothing()
        };
        assert_eq!(decide(&base).unwrap().ground, Ground::PutBack(3));
        assert_eq!(decide(&Facts { kind: TaskKind::Remove, ..base }).unwrap().ground, Ground::PutBack(3));
        assert!(message(&Facts { known: None, at_known: None, ..base }).starts_with("torn state"), "not known");
        let elsewhere = KnownState { state_sha256: Some("z".into()), ..known.clone() };
        assert!(decide(&Facts { known: Some(&elsewhere), at_known: None, ..base }).is_err(), "other than known");
        let drifted = [file(STATE, "u")];
        assert!(message(&Facts { working: &drifted, ..base }).starts_with("drift"), "somebody else changed it");
        assert!(decide(&Facts { newest_good: None, ..base }).is_err(), "nothing verifies");
        // The state is back, the kubeconfig not yet: it was interrupted, and goes on.
        let torn = Manifest { files: vec![file(STATE, "t"), file(KUBECONFIG, "k")], ..torn.clone() };
        let half = [file(STATE, "t")];
        assert_eq!(decide(&Facts { newest: Some(&torn), working: &half, ..base }).unwrap().ground, Ground::PutBack(3));
        let sound = state("mallory");
        assert!(message(&Facts { state: Some(Ok(&sound)), ..base }).contains("mallory"), "another CA is no tear");
    }

    #[test]
    fn hostile_row_58_recovery_takes_the_newest_good_generation_or_asks_the_cluster() {
        let (good, torn) = (manifest(3, "s", true), manifest(4, "t", false));
        let working = [file(STATE, "whatever")];
        let base = Facts {
            ca_on_record: Some("ca"),
            newest: Some(&torn),
            newest_good: Some(&good),
            working: &working,
            ..nothing()
        };
        let source = |facts: &Facts<'_>| recover(facts, None).map(|(source, _)| source);
        assert_eq!(source(&base).unwrap(), Source::Generation(3));
        assert_eq!(source(&Facts { newest_good: None, ..base }).unwrap(), Source::Cluster);
        assert!(source(&Facts { newest_good: None, ca_on_record: None, ..base }).is_err());
        assert!(source(&Facts { removed: true, ..base }).is_err());
        let named =
            |facts: &Facts<'_>, manifest: Result<&Manifest, String>| recover(facts, Some(manifest)).map(|(s, _)| s);
        assert_eq!(named(&base, Ok(&good)).unwrap(), Source::Generation(3));
        assert!(named(&base, Ok(&torn)).unwrap_err().message.contains("torn"));
        assert!(named(&base, Err("it is gone".into())).unwrap_err().message.contains("gone"));
        let foreign = Manifest { ca_sha256: Some("mallory".into()), ..good.clone() };
        assert!(named(&base, Ok(&foreign)).unwrap_err().message.contains("another CA"), "row 60 holds here too");
    }

    #[test]
    fn hostile_row_59_a_regressed_volume_is_recovered_from_only_by_naming_a_generation() {
        let good = manifest(3, "s", true);
        let known = KnownState { generation: 9, state_sha256: None, ca_sha256: Some("ca".into()) };
        let base = Facts {
            known: Some(&known),
            ca_on_record: Some("ca"),
            newest: Some(&good),
            newest_good: Some(&good),
            ..nothing()
        };
        assert!(recover(&base, None).unwrap_err().message.starts_with("state_regressed"));
        assert_eq!(recover(&base, Some(Ok(&good))).unwrap().0, Source::Generation(3));
        let other = KnownState { ca_sha256: Some("third".into()), ..known.clone() };
        assert!(recover(&Facts { known: Some(&other), ..base }, Some(Ok(&good))).is_err(), "never another CA");
    }

    #[test]
    fn hostile_row_59_state_older_or_other_than_on_record_is_regressed() {
        let (newest, facts) = (manifest(3, "s", true), state("ca"));
        let working = [file(STATE, "s")];
        let base = Facts {
            newest: Some(&newest),
            newest_good: Some(&newest),
            at_known: Some(&newest),
            working: &working,
            state: Some(Ok(&facts)),
            ..nothing()
        };
        let newer = KnownState { generation: 5, state_sha256: None, ca_sha256: None };
        assert!(message(&Facts { known: Some(&newer), at_known: None, ..base }).starts_with("state_regressed"));
        assert!(message(&Facts { known: Some(&newer), newest: None, ..nothing() }).starts_with("state_regressed"));
        let other = KnownState { generation: 3, state_sha256: Some("z".into()), ca_sha256: None };
        assert!(message(&Facts { known: Some(&other), ..base }).starts_with("state_regressed"));
    }

    #[test]
    fn hostile_row_60_another_ca_is_refused() {
        let (newest, facts) = (manifest(3, "s", true), state("mallory"));
        let working = [file(STATE, "s")];
        let base = Facts {
            ca_on_record: Some("ca"),
            newest: Some(&newest),
            newest_good: Some(&newest),
            working: &working,
            state: Some(Ok(&facts)),
            ..nothing()
        };
        assert!(message(&base).contains("the state carries the CA mallory"));
        let known = KnownState { generation: 3, state_sha256: None, ca_sha256: Some("third".into()) };
        assert!(message(&Facts { known: Some(&known), ..base }).contains("the controller's third"));
        let by_controller = Facts { known: Some(&known), ca_on_record: None, ..base };
        assert!(message(&by_controller).contains("on record is third"));
    }

    #[test]
    fn what_a_failed_first_run_left_torn_is_put_aside() {
        let (newest, fault, facts) = (manifest(1, "t", false), StateFault::Empty, state("ca"));
        let working = [file(STATE, "t")];
        let base = Facts { newest: Some(&newest), working: &working, state: Some(Err(&fault)), ..nothing() };
        assert_eq!(decide(&base).unwrap().ground, Ground::Fresh);
        assert_eq!(decide(&Facts { state: Some(Ok(&facts)), ..base }).unwrap().ground, Ground::Working);
        let known = KnownState { generation: 1, state_sha256: None, ca_sha256: Some("ca".into()) };
        assert!(message(&Facts { known: Some(&known), ..base }).contains("is on record"));
        let changed = [file(STATE, "u")];
        assert!(message(&Facts { working: &changed, ..base }).starts_with("drift"));
        assert_eq!(decide(&Facts { working: &[], state: None, ..base }).unwrap().ground, Ground::Working);
    }

    #[test]
    fn hostile_row_58_a_damaged_state_stops_a_removal_too() {
        let (newest, fault) = (manifest(3, "s", true), StateFault::Empty);
        let base = Facts { kind: TaskKind::Remove, newest: Some(&newest), newest_good: Some(&newest), ..nothing() };
        assert!(message(&base).starts_with("drift"), "the state is gone");
        let working = [file(STATE, "x")];
        let torn = Facts { working: &working, state: Some(Err(&fault)), ..base };
        assert!(decide(&torn).unwrap_err().remedy.contains("generations/000003/"));
        assert!(message(&Facts { kind: TaskKind::Remove, working: &working, ..nothing() }).starts_with("drift"));
        // A first run that failed and left nothing whole: there is nothing to lose.
        let (torn, working) = (manifest(1, "t", false), [file(STATE, "t")]);
        let first =
            Facts { newest: Some(&torn), newest_good: None, working: &working, state: Some(Err(&fault)), ..base };
        assert_eq!(decide(&first).unwrap().ground, Ground::Fresh);
    }
}
