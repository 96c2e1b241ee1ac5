//! What is done with a cluster that is there: its certificates are renewed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::run::{RotatedService, Rotation, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind::{Provision, RotateCertificates};
use support::{World, capture, fixtures, refusal};

/// The next `rke` rotates certificates, and leaves a state with this CA.
fn behave(world: &World, ca: &fixtures::Ca, recorded: &str) {
    world.behave_well(ca);
    let build = fs::read_to_string(world.dir.path().join("behaviour")).unwrap();
    let up = capture("B01-up-single-node").display().to_string();
    world.behave(&build.replace(&up, &capture(recorded).display().to_string()));
}

fn rotate(world: &mut World, rotation: &Rotation) -> RunReport {
    let mut assignment = world.assignment(RotateCertificates);
    assignment.input.merge(&serde_json::json!({"rotation": rotation}));
    let mut agent = world.agent();
    let report = agent.play(assignment);
    agent.close();
    report
}

#[test]
fn certificates_are_renewed_where_the_state_is_and_a_new_ca_is_taken_only_when_it_was_asked_for() {
    let (mut world, blue, green) = (World::new(), fixtures::ca("blue"), fixtures::ca("green"));
    world.behave_well(&blue);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    behave(&world, &blue, "B07-cert-rotate");
    let services = vec![RotatedService::Kubelet, RotatedService::Etcd];
    let some = rotate(&mut world, &Rotation { ca: false, services });
    assert_eq!((some.outcome, some.generation.map(|g| (g.number, g.good))), (RunOutcome::Succeeded, Some((2, true))));
    assert_eq!(
        world.calls().pop().unwrap(),
        "cert rotate --config cluster.yml --service kubelet --service etcd",
        "nothing of it is the user's own words"
    );
    behave(&world, &green, "B26-cert-rotate-ca");
    let all = rotate(&mut world, &Rotation { ca: true, services: Vec::new() });
    assert_eq!(world.calls().pop().unwrap(), "cert rotate --config cluster.yml --rotate-ca");
    let sealed = all.generation.unwrap();
    assert_eq!((all.outcome, sealed.good), (RunOutcome::Succeeded, true));
    assert_eq!(sealed.ca_sha256.as_deref(), Some(green.sha256.as_str()));
    // From here on the new one is the cluster's: the gate lets it pass, and no other.
    world.behave_well(&green);
    assert_eq!(world.play(Provision).outcome, RunOutcome::Succeeded);
    behave(&world, &blue, "B26-cert-rotate-ca");
    let unasked = rotate(&mut world, &Rotation::default());
    let RunOutcome::Failed(failure) = unasked.outcome else { panic!("{:?}", unasked.outcome) };
    assert_eq!(failure.class, FailureClass::State);
    assert!(failure.message.starts_with("ALARM"), "{}", failure.message);
}

#[test]
fn a_cluster_whose_state_is_gone_is_not_rotated() {
    let (mut world, blue) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&blue);
    world.play(Provision);
    let calls = world.calls().len();
    fs::write(world.working("cluster.rkestate"), "{").unwrap();
    fs::remove_dir_all(world.cluster_dir().join("generations")).unwrap();
    let report = rotate(&mut world, &Rotation { ca: true, services: Vec::new() });
    assert_eq!(refusal(&report).class, FailureClass::State);
    assert_eq!(world.calls().len(), calls, "rke is not started");
}
