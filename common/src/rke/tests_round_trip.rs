//! Every spec that intake accepts is read back from `cluster.yml` as it was.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::render::{SshAccess, cluster_yml};
use crate::domain::cluster::intake;
use crate::domain::cluster::spec::{
    Addons, ClusterSpec, EtcdSnapshots, Network, Node, NodeRole, PrivateRegistry, Profile, Taint,
};
use crate::domain::secret::Secret;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

fn maybe(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| text(value))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn node(document: &Value) -> Node {
    let labels = document["labels"].as_object().into_iter().flatten();
    let taint = |t: &Value| Taint {
        key: text(&t["key"]),
        value: text(&t["value"]),
        effect: text(&t["effect"]).parse().unwrap(),
    };
    Node {
        address: text(&document["address"]),
        internal_address: maybe(&document["internal_address"]),
        hostname: maybe(&document["hostname_override"]),
        port: text(&document["port"]).parse().unwrap(),
        user: maybe(&document["user"]),
        roles: list(&document["role"]).iter().map(|role| text(role).parse().unwrap()).collect(),
        labels: labels.map(|(key, value)| (key.clone(), text(value))).collect::<BTreeMap<_, _>>(),
        taints: list(&document["taints"]).iter().map(taint).collect(),
    }
}

fn registry(document: &Value) -> PrivateRegistry {
    PrivateRegistry {
        url: text(&document["url"]),
        user: maybe(&document["user"]),
        password: maybe(&document["password"]).map(Secret::new),
        is_default: document["is_default"].as_bool().unwrap(),
    }
}

/// What a reader of the file makes of it. `ssh_user` is in every node by then.
fn read(yaml: &str, ssh_user: &str) -> ClusterSpec {
    let document: Value = serde_saphyr::from_str(yaml).unwrap_or_else(|fault| panic!("{fault}\n{yaml}"));
    let services = &document["services"];
    let backup = &services["etcd"]["backup_config"];
    let on = |section: &str| document[section]["provider"] != json!("none");
    ClusterSpec {
        kubernetes_version: text(&document["kubernetes_version"]).parse().unwrap(),
        nodes: list(&document["nodes"]).iter().map(node).collect(),
        network: Network {
            plugin: text(&document["network"]["plugin"]).parse().unwrap(),
            pod_cidr: text(&services["kube-controller"]["cluster_cidr"]).parse().unwrap(),
            service_cidr: text(&services["kube-api"]["service_cluster_ip_range"]).parse().unwrap(),
        },
        etcd_snapshots: EtcdSnapshots {
            enabled: backup["enabled"].as_bool().unwrap(),
            interval_hours: backup["interval_hours"].as_u64().unwrap(),
            retention: backup["retention"].as_u64().unwrap(),
        },
        addons: Addons { ingress: on("ingress"), metrics: on("monitoring"), dns: on("dns") },
        private_registries: list(&document["private_registries"]).iter().map(registry).collect(),
        profile: if services["etcd"]["uid"].is_null() { Profile::None } else { Profile::Cis },
        ssh_user: ssh_user.to_owned(),
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,20}[a-zA-Z0-9])?",
        prop::sample::select(vec!["NO", "yes", "0755", "1_000", "null", "1e3", "0x1f", "2001-01-01", "on"])
            .prop_map(str::to_owned),
    ]
}

fn a_node(number: usize) -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map(word(), word(), 0..4);
    let taints = prop::collection::btree_map(word(), word(), 0..3);
    let user = prop::option::of("[a-z_][a-z0-9_-]{0,10}");
    (labels, taints, user, any::<bool>(), 1u16..).prop_map(move |(labels, taints, user, named, port)| {
        let taint = |(key, value): (&String, &String)| json!({"key": key, "value": value, "effect": "NoSchedule"});
        let mut node = json!({
            "address": format!("10.1.0.{}", number + 1),
            "roles": if number == 0 { vec!["controlplane", "etcd"] } else { vec!["worker"] },
            "labels": labels,
            "taints": taints.iter().map(taint).collect::<Vec<_>>(),
            "user": user,
            "port": port,
        });
        if named {
            node["hostname"] = json!(format!("node-{number}"));
            node["internal_address"] = json!(format!("10.2.0.{}", number + 1));
        }
        node
    })
}

fn a_registry(number: usize) -> impl Strategy<Value = Value> {
    (prop::option::of(("[^\\p{C}]{1,12}", any::<String>())), any::<bool>()).prop_map(move |(login, is_default)| {
        let mut registry = json!({"url": format!("r{number}.example:5000/x"), "is_default": is_default && number == 0});
        if let Some((user, password)) = login {
            registry["user"] = json!(user);
            registry["password"] = json!(password);
        }
        registry
    })
}

/// Descriptions that intake accepts, of every sort.
fn a_document() -> impl Strategy<Value = Value> {
    let nodes = (1usize..5).prop_flat_map(|n| (0..n).map(a_node).collect::<Vec<_>>());
    let registries = (0usize..3).prop_flat_map(|n| (0..n).map(a_registry).collect::<Vec<_>>());
    let version = prop::sample::select(vec!["v1.24.17-rancher1-1", "v1.25.16-rancher2-3", "v1.30.14-rancher1-1"]);
    let plugin = prop::sample::select(vec!["canal", "calico", "flannel", "none"]);
    let profile = prop::sample::select(vec!["none", "cis"]);
    let (hours, kept) = (1u64..=720, 1u64..=1_000);
    let switches = any::<[bool; 4]>();
    (nodes, registries, version, plugin, profile, hours, kept, switches, "[a-z_][a-z0-9_-]{0,10}").prop_map(
        |(nodes, registries, version, plugin, profile, hours, kept, [a, b, c, d], user)| {
            json!({
                "kubernetes_version": version,
                "nodes": nodes,
                "network": {"plugin": plugin, "pod_cidr": "172.20.0.0/16", "service_cidr": "172.21.0.0/20"},
                "etcd_snapshots": {"enabled": a, "interval_hours": hours, "retention": kept},
                "addons": {"ingress": b, "metrics": c, "dns": d},
                "private_registries": registries,
                "profile": profile,
                "ssh_user": user,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn hostile_row_05_every_accepted_spec_is_read_back_as_it_was(document in a_document()) {
        let mask = document["private_registries"].as_array().into_iter().flatten();
        prop_assume!(mask.clone().all(|registry| registry["password"] != json!("***")));
        let (mut spec, _) = intake::read(&document).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        let yaml = cluster_yml(&spec, "demo", &SshAccess::Untold);
        for node in &mut spec.nodes {
            node.user.get_or_insert_with(|| spec.ssh_user.clone());
        }
        prop_assert_eq!(read(&yaml, &spec.ssh_user), spec);
        prop_assert!(!yaml.contains("ssh_"), "{}", yaml);
    }

}

#[test]
fn the_reader_of_these_tests_sees_a_control_plane() {
    let document = json!({
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [{"address": "10.0.0.1", "roles": ["etcd", "controlplane"]}],
    });
    let spec = intake::read(&document).unwrap().0;
    let read = read(&cluster_yml(&spec, "demo", &SshAccess::Untold), "rancher");
    assert!(read.nodes[0].has(NodeRole::ControlPlane) && read.nodes[0].user.as_deref() == Some("rancher"));
}
