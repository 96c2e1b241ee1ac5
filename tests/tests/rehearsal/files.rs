//! The files that the rehearsal leaves behind.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::world::{ONE, TWO, World, all, config, worker};

fn state(world: &World) -> Value {
    serde_json::from_slice(&world.read("cluster.rkestate")).unwrap()
}

fn ca(world: &World) -> Value {
    state(world)["desiredState"]["certificatesBundle"]["kube-ca"]["certificatePEM"].clone()
}

#[test]
fn the_state_is_built_like_rkes() {
    let world = World::new(&config(&[all(ONE), worker(TWO)]));
    world.run("up").ended(0);
    let state = state(&world);
    let keys: Vec<&String> = state.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 2);
    for half in ["desiredState", "currentState"] {
        let nodes = state[half]["rkeConfig"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 2, "{half}");
        assert_eq!(nodes[0]["hostnameOverride"], "node1");
        let bundle = state[half]["certificatesBundle"].as_object().unwrap();
        let mut names: Vec<&str> = bundle.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "kube-admin",
                "kube-apiserver",
                "kube-apiserver-proxy-client",
                "kube-apiserver-requestheader-ca",
                "kube-ca",
                "kube-controller-manager",
                "kube-etcd-172-30-0-11",
                "kube-node",
                "kube-proxy",
                "kube-scheduler",
                "kube-service-account-token",
            ]
        );
        for (name, entry) in bundle {
            assert_eq!(entry.as_object().unwrap().len(), 12, "{name}");
            assert!(entry["keyPEM"].as_str().unwrap().contains("PRIVATE KEY"), "{name}");
        }
    }
    assert_eq!(state["currentState"]["rkeConfig"]["clusterName"], "lab");
}

#[test]
fn names_follow_the_config_and_modes_are_kept() {
    let world = World::new("");
    world.write("prod.yml", &config(&[all(ONE)]));
    world.run("up --config prod.yml").ended(0).says("state file at [./prod.rkestate]");
    let mode = |name: &str| std::fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("prod.rkestate"), 0o600);
    assert_eq!(mode("kube_config_prod.yml"), 0o600);
    let wide = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(world.path("prod.rkestate"), wide).unwrap();
    world.run("up --config prod.yml").ended(0);
    assert_eq!(mode("prod.rkestate"), 0o644);
}

#[test]
fn the_ca_stays_and_the_kubeconfig_changes() {
    let world = World::new(&config(&[all(ONE)]));
    world.run("up").ended(0);
    let (first_ca, first_config) = (ca(&world), world.read("kube_config_cluster.yml"));
    world.run("up").ended(0);
    assert_eq!(ca(&world), first_ca);
    assert_ne!(world.read("kube_config_cluster.yml"), first_config);
}

#[test]
fn an_empty_state_means_a_new_ca() {
    let world = World::new(&config(&[all(ONE)]));
    world.run("up").ended(0);
    let first = ca(&world);
    world.write("cluster.rkestate", "");
    world.run("up").ended(1).says("Generating CA kubernetes certificates");
    assert_ne!(ca(&world), first);
}

#[test]
fn a_state_without_a_ca_is_refused() {
    let world = World::new(&config(&[all(ONE)]));
    world.write("cluster.rkestate", r#"{"desiredState": {"certificatesBundle": {}}}"#);
    world.run("up").ended(1).says("CA Certificate or Key is empty");
}

#[test]
fn an_unreachable_node_is_desired_and_not_current() {
    let world = World::new(&config(&[all(ONE), worker(TWO)]));
    world.rke.host(TWO).unreachable(cratekube_tests::rehearsal::fleet::HostFault::NoRoute).unwrap();
    world.run("up").ended(0);
    let count = |half: &str| state(&world)[half]["rkeConfig"]["nodes"].as_array().unwrap().len();
    assert_eq!((count("desiredState"), count("currentState")), (2, 1));
    let ca = world.rke.host(ONE).look().ca.unwrap();
    let live = world.rke.cluster(&ca).unwrap();
    assert_eq!(live.nodes.keys().collect::<Vec<_>>(), ["node1"]);
}
