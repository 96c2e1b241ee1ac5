//! Hosts that are well, and what is told of those that are not.

use super::machine::{DOCKER_LEAST, DOCKER_LEAST_BUILT, DOCKER_WELL, GIB, skew};
use super::*;
use crate::preflight::facts::{Disk, Reach};
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::NodeRole;
use serde_json::json;

pub(crate) fn spec(hosts: usize) -> ClusterSpec {
    let node = json!({"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]});
    let mut spec = intake::read(&json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": [node]})).unwrap().0;
    spec.nodes = vec![spec.nodes[0].clone(); hosts];
    for (at, node) in spec.nodes.iter_mut().enumerate() {
        if at > 2 {
            node.roles = vec![NodeRole::Worker];
        }
        node.address = format!("10.0.{}.{}", at / 250, at % 250 + 1);
    }
    spec
}

/// A host that is well; the bastion's clock stood at 1000 s when the probe was sent, at 1002 s after it.
pub(crate) fn well(at: usize, spec: &ClusterSpec) -> Found {
    let disk = Disk { size_kib: 200 * GIB, free_kib: 100 * GIB, mount: "/".into() };
    let node = &spec.nodes[at];
    let facts = HostFacts {
        hostname: format!("node-{at}"),
        machine_id: format!("machine-{at}"),
        boot_id: format!("boot-{at}"),
        swap: Some(0),
        listening: Some([22].into()),
        disks: [("docker".to_owned(), disk.clone()), ("etcd".to_owned(), disk)].into(),
        reach: needs::peers(node, spec).into_iter().map(|peer| (peer, Reach::Refused)).collect(),
        began: Some(1_000),
        ended: Some(1_002),
        ..HostFacts::default()
    };
    Found {
        facts: Ok(facts),
        docker: Ok(DockerFacts { version: "24.0.7".into(), ..DockerFacts::default() }),
        forwarding: Ok(()),
        exchanged: None,
        sent: Timestamp::from_millis(1_000_000),
        received: Timestamp::from_millis(1_002_000),
    }
}

fn grades(host: usize, judged: &[Vec<Check>]) -> Vec<(&'static str, Grade)> {
    judged[host].iter().filter(|c| c.result != Grade::Ok).map(|c| (c.name, c.result)).collect()
}

fn judged(spec: &ClusterSpec, change: impl Fn(usize, &mut Found)) -> Vec<Vec<Check>> {
    let found = (0..spec.nodes.len()).map(|at| {
        let mut found = well(at, spec);
        change(at, &mut found);
        found
    });
    let hosts: Vec<Host<'_>> =
        spec.nodes.iter().zip(found).map(|(node, found)| Host { node, found: Ok(found) }).collect();
    judge(spec, &Expected::default(), &hosts)
}

fn shifted(found: &mut Found, by: i64) {
    let facts = found.facts.as_mut().unwrap();
    (facts.began, facts.ended) = (facts.began.map(|t| t + by), facts.ended.map(|t| t + by));
}

#[test]
fn hosts_that_are_well_have_nothing_to_be_said_of() {
    let spec = spec(3);
    let judged = judged(&spec, |_, _| {});
    for host in 0..3 {
        assert_eq!(grades(host, &judged), []);
    }
}

#[test]
fn a_slow_probe_is_not_taken_for_a_wrong_clock() {
    let spec = spec(1);
    // The answer took a minute; the host's clock lies between.
    let slow = |found: &mut Found| found.received = Timestamp::from_millis(1_060_000);
    assert_eq!(
        skew(&{
            let mut found = well(0, &spec);
            slow(&mut found);
            found
        }),
        Some(0)
    );
    for (by, grade) in [
        (0, None),
        (4, None),
        (-4, None),
        (20, Some(Grade::Warning)),
        (-20, Some(Grade::Warning)),
        (90, Some(Grade::Failed)),
        (-90, Some(Grade::Failed)),
    ] {
        let judged = judged(&spec, |_, found| shifted(found, by));
        assert_eq!(grades(0, &judged).first().map(|(_, grade)| *grade), grade, "{by}");
    }
    let judged = judged(&spec, |_, found| found.facts.as_mut().unwrap().began = Some(i64::MAX));
    assert_eq!(grades(0, &judged), [], "a clock that nobody believes is held against its end");
}

#[test]
fn when_all_hosts_agree_it_is_rather_the_bastions_clock_that_is_wrong() {
    let spec = spec(3);
    let together = judged(&spec, |_, found| shifted(found, 40));
    assert!(together[1].iter().any(|check| check.detail.contains("rather the bastion")));
    let alone = judged(&spec, |at, found| shifted(found, if at == 1 { 40 } else { 0 }));
    assert_eq!((grades(0, &alone), grades(1, &alone).len()), (vec![], 1));
    assert!(!alone[1].iter().any(|check| check.detail.contains("rather the bastion")));
}

#[test]
fn a_disk_is_judged_by_what_has_still_to_go_there() {
    let disk = |free: u64| Disk { size_kib: 100 * GIB, free_kib: free, mount: "/data".into() };
    let grade =
        |free: u64, least: u64| machine::disk("disk_docker", "Docker", Some(&disk(free)), least, DOCKER_WELL).result;
    assert_eq!(grade(3 * GIB, DOCKER_LEAST), Grade::Failed);
    assert_eq!(grade(3 * GIB, DOCKER_LEAST_BUILT), Grade::Warning);
    assert_eq!(grade(14 * GIB, DOCKER_LEAST), Grade::Warning);
    assert_eq!(grade(40 * GIB, DOCKER_LEAST), Grade::Ok);
    assert_eq!(machine::disk("disk_etcd", "etcd", None, 1, 1).result, Grade::Warning);
}

#[test]
fn whose_cluster_a_host_carries_is_told_by_its_ca_first() {
    let own = Expected { ca: vec!["a".repeat(64), "b".repeat(64)] };
    let none = Expected::default();
    let docker = |names: &[&str], ca: Option<&str>| {
        let container = |name: &&str| crate::preflight::docker::Container {
            name: (*name).into(),
            running: true,
            of_rke: *name == "kubelet",
        };
        DockerFacts {
            containers: names.iter().map(container).collect(),
            ca_sha256: ca.map(str::to_owned),
            ..DockerFacts::default()
        }
    };
    let tell = |expected: &Expected, facts: &HostFacts, docker: &DockerFacts| occupant(expected, facts, Some(docker));
    let empty = HostFacts::default();
    let left = HostFacts { left: vec!["/etc/cni".into()], ..HostFacts::default() };
    let k3s = HostFacts { other: vec!["k3s".into()], ..HostFacts::default() };
    assert_eq!(tell(&own, &empty, &docker(&["kubelet"], Some(&"b".repeat(64)))), Occupant::Own);
    assert!(matches!(tell(&own, &empty, &docker(&[], Some(&"c".repeat(64)))), Occupant::Other(_)));
    assert!(matches!(tell(&none, &empty, &docker(&[], Some(&"a".repeat(64)))), Occupant::Other(_)));
    assert_eq!(tell(&own, &empty, &docker(&["kubelet"], None)), Occupant::Untold);
    assert!(matches!(tell(&none, &empty, &docker(&["kubelet"], None)), Occupant::Other(_)));
    assert!(matches!(tell(&none, &k3s, &docker(&[], None)), Occupant::Other(_)));
    assert_eq!(tell(&none, &empty, &docker(&["shop"], None)), Occupant::Nobody);
    assert!(matches!(tell(&none, &left, &docker(&["k8s_POD"], None)), Occupant::Left(left) if left.len() == 2));
}
