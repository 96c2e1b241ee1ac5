//! Which ground the gate lets a run start on.

use super::*;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::rke::state::StateNode;
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

static NO_HOSTS: BTreeSet<String> = BTreeSet::new();

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
        put_back: None,
        wiped: &NO_HOSTS,
        untold: false,
        wanted_etcd: &NO_HOSTS,
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
    let named = |facts: &Facts<'_>, manifest: Result<&Manifest, String>| recover(facts, Some(manifest)).map(|(s, _)| s);
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
    let first = Facts { newest: Some(&torn), newest_good: None, working: &working, state: Some(Err(&fault)), ..base };
    assert_eq!(decide(&first).unwrap().ground, Ground::Fresh);
}

#[path = "tests_cleaned.rs"]
mod cleaned;
