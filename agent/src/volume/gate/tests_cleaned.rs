//! What the gate lets start where a removal has cleaned hosts of etcd, or may have.

use super::*;

const GO_ON: [TaskKind; 3] = [TaskKind::Provision, TaskKind::Reconfigure, TaskKind::RotateCertificates];

/// Three hosts with etcd, and a worker.
fn of_three() -> StateFacts {
    let node = |address: &str, role| StateNode { address: address.into(), hostname: None, roles: vec![role] };
    let etcd = ["a", "b", "c"].map(|host| node(host, NodeRole::Etcd));
    StateFacts { nodes: [&etcd[..], &[node("w", NodeRole::Worker)]].concat(), ..state("ca") }
}

fn hosts(named: &[&str]) -> BTreeSet<String> {
    named.iter().map(|host| (*host).to_owned()).collect()
}

/// What comes of it where these hosts were cleaned, and etcd is to be on those.
fn decided(kind: TaskKind, wiped: &[&str], untold: bool, wanted: &[&str]) -> Result<Pass, Box<Failure>> {
    let (state, newest, working) = (of_three(), manifest(3, "s", true), [file(STATE, "s")]);
    decide(&Facts {
        kind,
        newest: Some(&newest),
        working: &working,
        state: Some(Ok(&state)),
        wiped: &hosts(wiped),
        untold,
        wanted_etcd: &hosts(wanted),
        ..nothing()
    })
}

#[test]
fn a_cluster_whose_etcd_was_mostly_cleaned_away_is_not_built_again_and_can_be_removed() {
    for kind in GO_ON {
        let refused = decided(kind, &["a", "c"], false, &["a", "b", "c"]).unwrap_err();
        let told = "has cleaned 2 of 3 hosts of the cluster's etcd (a, c), not b: `rke up` would build an empty";
        assert!(refused.message.contains(told), "{kind}: {}", refused.message);
        assert!(
            refused.remedy.starts_with("To keep the data, first save a snapshot of a member that was not cleaned (b;")
        );
        assert!(refused.remedy.contains("/opt/rke/etcd-snapshots") && refused.remedy.contains("forget-cleaned"));
        assert_eq!(decided(kind, &["a", "c"], true, &["b"]).unwrap_err().message, refused.message, "known for certain");
    }
    let all = decided(TaskKind::Provision, &["a", "b", "c", "w"], false, &["a"]).unwrap_err();
    assert!(all.message.contains("has cleaned 3 of 3 hosts of the cluster's etcd (a, b, c): `rke up`"), "{all:?}");
    assert!(all.remedy.starts_with("To keep the data, first save what is in /opt/rke/etcd-snapshots"), "{all:?}");
    for kind in [TaskKind::Remove, TaskKind::Verify] {
        assert!(decided(kind, &["a", "c"], true, &["a", "b", "c"]).is_ok(), "{kind}");
    }
}

#[test]
fn a_host_of_etcd_that_was_cleaned_is_to_be_taken_out_before_it_is_built_again() {
    for kind in GO_ON {
        let refused = decided(kind, &["c", "w"], false, &["a", "b", "c"]).unwrap_err();
        assert!(refused.message.contains("has cleaned c, of the hosts of the cluster's etcd; not cleaned were a, b"));
        assert!(refused.remedy.starts_with("Take c out of the description and apply that"), "{kind}: {refused:?}");
        assert!(refused.class == FailureClass::State && !refused.retryable);
    }
    let pass = decided(TaskKind::Reconfigure, &["c", "w"], false, &["a", "b"]).unwrap();
    assert_eq!(pass.etcd_hosts, ["a", "b", "c"], "it is taken out");
    assert!(decided(TaskKind::Remove, &["c"], false, &["a", "b", "c"]).is_ok());
}

#[test]
fn a_host_without_etcd_that_was_cleaned_is_built_again() {
    assert!(decided(TaskKind::Provision, &["w"], false, &["a", "b", "c"]).is_ok());
    assert!(decided(TaskKind::Provision, &["elsewhere"], false, &["a", "b", "c", "elsewhere"]).is_ok());
}

#[test]
fn a_removal_of_which_nothing_is_known_may_have_cleaned_any_host_of_etcd() {
    for (kind, wiped) in GO_ON.into_iter().flat_map(|kind| [(kind, &[][..]), (kind, &["c"][..])]) {
        let refused = decided(kind, wiped, true, &["a", "b"]).unwrap_err();
        let told = "it is not known which hosts were cleaned by a removal that did not come to its end: each host of the cluster's etcd (a, b, c)";
        assert!(refused.message.starts_with(told) && !refused.retryable, "{kind}: {refused:?}");
        assert!(refused.remedy.contains("cratekube-agent forget-cleaned"), "{refused:?}");
    }
    assert!(decided(TaskKind::Remove, &[], true, &["a", "b", "c"]).is_ok(), "it is removed again");
    let first = Facts { untold: true, ..nothing() };
    assert!(decide(&first).is_ok(), "nothing was built yet: nothing can be lost");
}

#[test]
fn state_that_is_put_back_counts_as_the_state_that_the_run_will_find() {
    let (good, torn, fault, of_three) =
        (manifest(3, "s", true), manifest(4, "t", false), StateFault::Empty, of_three());
    let working = [file(STATE, "t")];
    let known = KnownState { generation: 3, state_sha256: Some("s".into()), ca_sha256: Some("ca".into()) };
    let wiped = hosts(&["a", "b"]);
    let base = Facts {
        known: Some(&known),
        ca_on_record: Some("ca"),
        newest: Some(&torn),
        newest_good: Some(&good),
        at_known: Some(&good),
        working: &working,
        state: Some(Err(&fault)),
        put_back: Some(&of_three),
        ..nothing()
    };
    assert_eq!(decide(&base).unwrap().ground, Ground::PutBack(3));
    assert!(message(&Facts { wiped: &wiped, ..base }).contains("has cleaned 2 of 3 hosts"));
    assert!(message(&Facts { untold: true, ..base }).starts_with("it is not known which hosts"));
}
