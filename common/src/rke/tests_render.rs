//! `cluster.yml`: what people read of it, and that a parser reads what was meant.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::render::{SshAccess, cluster_yml};
use super::yaml;
use crate::domain::cluster::intake;
use crate::domain::cluster::spec::ClusterSpec;

fn spec(document: &Value) -> ClusterSpec {
    match intake::read(document) {
        Ok((spec, _)) => spec,
        Err(faults) => panic!("{faults:?}"),
    }
}

fn minimal() -> Value {
    json!({
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [{"address": "10.0.0.11", "roles": ["controlplane", "etcd", "worker"]}],
    })
}

fn key() -> SshAccess {
    SshAccess::Key { path: "/var/lib/cratekube/ssh/id_ed25519".into() }
}

#[test]
fn minimal_cluster() {
    insta::assert_snapshot!(cluster_yml(&spec(&minimal()), "demo", &key()));
}

#[test]
fn three_nodes_highly_available() {
    let node = |i: u8| {
        json!({
            "address": format!("node{i}.example.org"),
            "internal_address": format!("10.0.0.1{i}"),
            "hostname": format!("node{i}"),
            "port": 2222,
            "roles": ["etcd", "controlplane", "worker"],
        })
    };
    let mut document = minimal();
    document["nodes"] = json!([node(1), node(2), node(3)]);
    document["ssh_user"] = json!("ubuntu");
    document["nodes"][2]["user"] = json!("admin");
    insta::assert_snapshot!(cluster_yml(&spec(&document), "ha", &SshAccess::Agent));
}

#[test]
fn private_registries() {
    let mut document = minimal();
    document["private_registries"] = json!([
        {"url": "registry.example.org:5000/mirror", "user": "puller", "password": "p\"a:s#s\\w €", "is_default": true},
        {"url": "other.example.org"},
    ]);
    insta::assert_snapshot!(cluster_yml(&spec(&document), "demo", &key()));
}

#[test]
fn labels_and_taints() {
    let mut document = minimal();
    document["nodes"][0]["labels"] = json!({"example.org/zone": "a", "tier": "", "yes": "no", "0755": "0755"});
    document["nodes"][0]["taints"] = json!(["dedicated=gpu:NoSchedule", {"key": "spot", "effect": "NoExecute"}]);
    insta::assert_snapshot!(cluster_yml(&spec(&document), "demo", &key()));
}

#[test]
fn everything_off_and_other_networks() {
    let mut document = minimal();
    document["addons"] = json!({"ingress": false, "metrics": false, "dns": false});
    document["etcd_snapshots"] = json!({"enabled": false});
    document["network"] = json!({"plugin": "none", "pod_cidr": "172.20.0.0/16", "service_cidr": "172.21.4.0/24"});
    insta::assert_snapshot!(cluster_yml(&spec(&document), "demo", &key()));
}

#[test]
fn hardened_before_kubernetes_1_25() {
    let mut document = minimal();
    document["kubernetes_version"] = json!("v1.24.17-rancher1-1");
    document["profile"] = json!("cis");
    insta::assert_snapshot!(cluster_yml(&spec(&document), "demo", &key()));
}

#[test]
fn hardened_from_kubernetes_1_25_on() {
    let mut document = minimal();
    document["kubernetes_version"] = json!("v1.28.12-rancher1-1");
    document["profile"] = json!("cis");
    insta::assert_snapshot!(cluster_yml(&spec(&document), "demo", &key()));
}

#[test]
fn separate_roles_and_snapshots_of_ones_own() {
    let mut document = minimal();
    let node = |i: u8, role: &str| json!({"address": format!("10.0.0.{i}"), "roles": [role]});
    document["nodes"] = json!([node(1, "controlplane"), node(2, "etcd"), node(3, "worker"), node(4, "worker")]);
    document["etcd_snapshots"] = json!({"interval_hours": 1, "retention": 48});
    document["network"] = json!({"plugin": "calico"});
    insta::assert_snapshot!(cluster_yml(&spec(&document), "apart", &key()));
}

#[test]
fn a_hardened_cluster_from_a_mirror() {
    let mut document = minimal();
    document["profile"] = json!("cis");
    document["private_registries"] = json!([{"url": "mirror.example.org", "is_default": true}]);
    document["addons"] = json!({"ingress": false});
    insta::assert_snapshot!(cluster_yml(&spec(&document), "mirrored", &SshAccess::Untold));
}

#[test]
fn hostile_row_05_nasty_strings_stay_what_they_are() {
    let mut document = minimal();
    document["nodes"][0]["labels"] =
        json!({"country": "NO", "mode": "0755", "time": "1-30", "num": "1_000", "on": "off"});
    let mut spec = spec(&document);
    // Intake refuses these; the renderer does not rely on it.
    spec.nodes[0].hostname = Some("a\nnodes: []\n# \u{7f}\u{85}\u{2028}\u{feff}😀".into());
    spec.nodes[0].labels.insert("~".into(), "1:30".into());
    spec.nodes[0].labels.insert("a: b\n- c".into(), "*anchor &x !!int %TAG".into());
    let access = SshAccess::Key { path: "C:\\keys\\\"id\" #1".into() };
    insta::assert_snapshot!(cluster_yml(&spec, "null", &access));
}

#[test]
fn the_same_spec_gives_the_same_bytes() {
    let spec = spec(&minimal());
    assert_eq!(cluster_yml(&spec, "demo", &key()), cluster_yml(&spec.clone(), "demo", &key()));
}

#[test]
fn every_string_is_quoted_and_nothing_else_is() {
    let text =
        yaml::emit(&json!({"a": "NO", "b": 12, "c": true, "d": null, "e": [], "f": {}, "no": [["x"], {"y": []}]}));
    assert_eq!(text, "a: \"NO\"\nb: 12\nc: true\nd: null\ne: []\nf: {}\n\"no\":\n  - - \"x\"\n  - \"y\": []\n");
}

/// Any string that a reader could take for something else, or that could break out of its place.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "NO",
            "y",
            "0755",
            "1:30",
            "1_000",
            "~",
            "null",
            "2001-01-01",
            ".inf",
            "0x1f",
            "=",
            "<<",
            "",
            " ",
            "- a",
            "a: b",
            "#",
            "---",
            "...",
            "\u{85}\u{2028}\u{2029}\u{feff}\u{7f}\u{9f}\u{fffe}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..5).prop_map(Value::from_iter),
        ]
    })
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|fault| panic!("{fault}\n{text}"))
}

proptest! {
    #[test]
    fn hostile_row_05_what_is_emitted_is_read_back_as_it_was(value in document()) {
        let value = json!({"top": value});
        prop_assert_eq!(parse(&yaml::emit(&value)), value);
    }

    #[test]
    fn hostile_row_05_a_rendered_spec_is_read_back_with_its_values(
        password in text(), user in text(), label in text(), name in text(), path in text(), port in 1u16..,
    ) {
        let mut document = minimal();
        document["private_registries"] = json!([{"url": "r.example.org", "user": "u", "password": "p"}]);
        let mut spec = spec(&document);
        spec.private_registries[0].user = Some(user.clone());
        spec.private_registries[0].password = Some(crate::domain::secret::Secret::new(password.clone()));
        spec.nodes[0].labels.insert(label.clone(), label.clone());
        spec.nodes[0].port = port;
        let read = parse(&cluster_yml(&spec, &name, &SshAccess::Key { path: path.clone() }));
        prop_assert_eq!(&read["cluster_name"], &json!(name));
        prop_assert_eq!(&read["ssh_key_path"], &json!(path));
        prop_assert_eq!(&read["private_registries"][0]["user"], &json!(user));
        prop_assert_eq!(&read["private_registries"][0]["password"], &json!(password));
        prop_assert_eq!(&read["nodes"][0]["labels"], &json!({label.clone(): label}));
        prop_assert_eq!(&read["nodes"][0]["port"], &json!(port.to_string()));
        prop_assert_eq!(&read["nodes"][0]["role"], &json!(["controlplane", "etcd", "worker"]));
        prop_assert_eq!(&read["services"]["kubelet"]["cluster_dns_server"], &json!("10.43.0.10"));
        prop_assert_eq!(&read["addon_job_timeout"], &json!(300));
    }
}
