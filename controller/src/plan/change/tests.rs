//! Every class by example, and that nothing is left without one.

use cratekube_common::domain::cluster::intake;
use proptest::prelude::*;
use serde_json::json;

use super::ChangeClass::{Disruptive, Impossible, LosesData, Safe};
use super::*;

/// Three nodes that do everything and a worker.
fn base() -> Value {
    let node = |i: u8| json!({"address": format!("10.0.0.{i}"), "hostname": format!("node{i}"), "roles": ["controlplane", "etcd"]});
    json!({
        "kubernetes_version": "v1.27.16-rancher1-1",
        "nodes": [node(1), node(2), node(3), {"address": "10.0.0.4", "roles": ["worker"], "labels": {"a": "b"}}],
        "etcd_snapshots": {"enabled": true, "interval_hours": 12, "retention": 6},
        "private_registries": [{"url": "r.example", "user": "u", "password": "canary"}],
    })
}

fn spec(document: &Value) -> ClusterSpec {
    intake::read(document).unwrap_or_else(|faults| panic!("{faults:?}")).0
}

fn between(from: &Value, to: &Value) -> Vec<Change> {
    let (from, to) = (spec(from), spec(to));
    changes(&Present { spec: &from, built: Built::Whole, verified: None }, &to)
}

/// The changes from the base to what `edit` makes of it, as class and place.
fn edited(edit: impl FnOnce(&mut Value)) -> Vec<(ChangeClass, String)> {
    let mut to = base();
    edit(&mut to);
    between(&base(), &to).into_iter().map(|change| (change.class, change.pointer)).collect()
}

fn worker(address: &str) -> Value {
    json!({"address": address, "roles": ["worker"]})
}

fn nodes(document: &mut Value) -> &mut Vec<Value> {
    document["nodes"].as_array_mut().unwrap()
}

/// An edit of the base, and what it comes to.
type Row = (fn(&mut Value), &'static [(ChangeClass, &'static str)]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (|_| {}, &[]),
    // Versions.
    (|d| d["kubernetes_version"] = json!("v1.27.16-rancher1-2"), &[(Disruptive, "/kubernetes_version")]),
    (|d| d["kubernetes_version"] = json!("v1.28.12-rancher1-1"), &[(Disruptive, "/kubernetes_version")]),
    (|d| d["kubernetes_version"] = json!("v1.29.1-rancher1-1"), &[(Impossible, "/kubernetes_version")]),
    (|d| d["kubernetes_version"] = json!("v1.27.15-rancher1-1"), &[(Impossible, "/kubernetes_version")]),
    (|d| d["kubernetes_version"] = json!("v1.26.15-rancher1-1"), &[(Impossible, "/kubernetes_version")]),
    (|d| d["kubernetes_version"] = json!("v2.0.0-rancher1-1"), &[(Impossible, "/kubernetes_version")]),
    // Networks.
    (|d| d["network"] = json!({"plugin": "calico"}), &[(Impossible, "/network/plugin")]),
    (|d| d["network"] = json!({"pod_cidr": "10.44.0.0/16"}), &[(Impossible, "/network/pod_cidr")]),
    (|d| d["network"] = json!({"service_cidr": "10.45.0.0/16"}), &[(Impossible, "/network/service_cidr")]),
    // Workers.
    (|d| nodes(d).push(worker("10.0.0.5")), &[(Safe, "/nodes/4")]),
    (|d| { nodes(d).pop(); }, &[(Disruptive, "/nodes/3")]),
    (|d| d["nodes"][3]["address"] = json!("10.0.0.9"), &[(Safe, "/nodes/3"), (Disruptive, "/nodes/3")]),
    // etcd and control plane.
    (|d| nodes(d).push(json!({"address": "10.0.0.5", "roles": ["etcd"]})), &[(Disruptive, "/nodes/4")]),
    (|d| nodes(d).push(json!({"address": "10.0.0.5", "roles": ["controlplane"]})), &[(Disruptive, "/nodes/4")]),
    (|d| { nodes(d).remove(0); }, &[(Disruptive, "/nodes/0")]),
    (|d| { nodes(d).drain(0..2); }, &[(Disruptive, "/nodes/0"), (Disruptive, "/nodes/1"), (LosesData, "/nodes")]),
    (|d| d["nodes"] = json!([{"address": "10.0.0.4", "roles": ["controlplane", "etcd", "worker"], "labels": {"a": "b"}}]),
        &[(Disruptive, "/nodes/0/roles"), (Disruptive, "/nodes/0"), (Disruptive, "/nodes/1"), (Disruptive, "/nodes/2"), (Impossible, "/nodes"), (Impossible, "/nodes")]),
    (|d| d["nodes"][0]["roles"] = json!(["etcd"]), &[(Disruptive, "/nodes/0/roles")]),
    (|d| d["nodes"][3]["roles"] = json!(["worker", "controlplane"]), &[(Disruptive, "/nodes/3/roles")]),
    // The same name at another address: the host is replaced.
    (|d| d["nodes"][0]["address"] = json!("10.0.0.9"), &[(Disruptive, "/nodes/0/address")]),
    (|d| { d["nodes"][0]["address"] = json!("10.0.0.9"); d["nodes"][1]["address"] = json!("10.0.0.8"); },
        &[(Disruptive, "/nodes/0/address"), (Disruptive, "/nodes/1/address"), (LosesData, "/nodes")]),
    (|d| { d["nodes"][0]["address"] = json!("10.0.0.9"); d["nodes"][0]["internal_address"] = json!("10.1.0.9"); },
        &[(Disruptive, "/nodes/0/address"), (Disruptive, "/nodes/0/internal_address")]),
    // Names and addresses of a node that stays.
    (|d| d["nodes"][0]["hostname"] = json!("other"), &[(Impossible, "/nodes/0/hostname")]),
    (|d| d["nodes"][3]["hostname"] = json!("10.0.0.4"), &[(Safe, "/nodes/3/hostname")]),
    (|d| d["nodes"][0]["internal_address"] = json!("10.1.0.1"), &[(Impossible, "/nodes/0/internal_address")]),
    (|d| d["nodes"][3]["internal_address"] = json!("10.1.0.4"), &[(Disruptive, "/nodes/3/internal_address")]),
    (|d| d["nodes"][0]["internal_address"] = json!("10.0.0.1"), &[(Safe, "/nodes/0/internal_address")]),
    (|d| d["nodes"][0]["port"] = json!(2222), &[(Safe, "/nodes/0/port")]),
    (|d| d["nodes"][0]["user"] = json!("ubuntu"), &[(Safe, "/nodes/0/user")]),
    (|d| d["ssh_user"] = json!("ubuntu"), &[(Safe, "/ssh_user")]),
    (|d| nodes(d).swap(0, 1), &[(Safe, "/nodes")]),
    // Labels and taints.
    (|d| d["nodes"][3]["labels"] = json!({"a": "c"}), &[(Safe, "/nodes/3/labels")]),
    (|d| d["nodes"][3]["taints"] = json!(["a=b:NoSchedule"]), &[(Safe, "/nodes/3/taints")]),
    (|d| d["nodes"][3]["taints"] = json!(["a=b:NoExecute"]), &[(Disruptive, "/nodes/3/taints")]),
    // Snapshots.
    (|d| d["etcd_snapshots"]["enabled"] = json!(false), &[(LosesData, "/etcd_snapshots/enabled")]),
    (|d| d["etcd_snapshots"]["retention"] = json!(3), &[(LosesData, "/etcd_snapshots/retention")]),
    (|d| d["etcd_snapshots"]["retention"] = json!(9), &[(Safe, "/etcd_snapshots/retention")]),
    (|d| d["etcd_snapshots"]["interval_hours"] = json!(1), &[(Safe, "/etcd_snapshots/interval_hours")]),
    // Add-ons.
    (|d| d["addons"] = json!({"ingress": false}), &[(Disruptive, "/addons/ingress")]),
    (|d| d["addons"] = json!({"metrics": false, "dns": false}), &[(Disruptive, "/addons/metrics"), (Disruptive, "/addons/dns")]),
    // Registries.
    (|d| d["private_registries"][0]["password"] = json!("another"), &[(Safe, "/private_registries/0/password")]),
    (|d| d["private_registries"][0]["user"] = json!("another"), &[(Safe, "/private_registries/0/user")]),
    (|d| d["private_registries"][0]["is_default"] = json!(true), &[(Disruptive, "/private_registries/0/is_default")]),
    (|d| d["private_registries"] = json!([]), &[(Disruptive, "/private_registries/0")]),
    (|d| d["private_registries"] = json!([{"url": "r.example", "user": "u", "password": "canary"}, {"url": "s.example"}]),
        &[(Safe, "/private_registries/1")]),
    (|d| d["private_registries"] = json!([{"url": "s.example", "is_default": true}]),
        &[(Disruptive, "/private_registries/0"), (Disruptive, "/private_registries/0")]),
    // Hardening.
    (|d| d["profile"] = json!("cis"), &[(Disruptive, "/profile")]),
];

#[test]
fn every_change_has_its_class_and_its_place() {
    for (number, (edit, expected)) in TABLE.iter().enumerate() {
        let found = edited(edit);
        let found: Vec<_> = found.iter().map(|(class, pointer)| (*class, pointer.as_str())).collect();
        assert_eq!(found, *expected, "row {number}");
    }
}

#[test]
fn hostile_row_07_a_changed_password_is_a_change_that_shows_neither() {
    let mut to = base();
    to["private_registries"][0]["password"] = json!("canary-2");
    let change = between(&base(), &to).remove(0);
    assert_eq!((change.from, change.to), (json!("***"), json!("***")));
}

#[test]
fn what_was_never_built_can_become_anything() {
    let mut to = base();
    to["network"] = json!({"plugin": "calico", "pod_cidr": "10.44.0.0/16"});
    to["kubernetes_version"] = json!("v1.20.15-rancher2-1");
    let (from, to) = (spec(&base()), spec(&to));
    let found = changes(&Present { spec: &from, built: Built::Nothing, verified: None }, &to);
    assert_eq!(found.len(), 3);
    assert_eq!(worst(&found), Some(Safe));
    let begun = changes(&Present { spec: &from, built: Built::Begun, verified: None }, &to);
    let classes: Vec<_> = begun.iter().map(|change| change.class).collect();
    assert_eq!(classes, [Safe, Impossible, Impossible], "its networks are in its certificates");
}

#[test]
fn an_upgrade_that_was_not_completed_can_be_taken_back_and_no_further() {
    let at = |version: &str| {
        let mut document = base();
        document["kubernetes_version"] = json!(version);
        spec(&document)
    };
    let (half_done, before) = (at("v1.28.12-rancher1-1"), at("v1.27.16-rancher1-1"));
    let present = Present { spec: &half_done, built: Built::Whole, verified: Some(&before) };
    assert_eq!(worst(&changes(&present, &before)), Some(Disruptive));
    assert_eq!(worst(&changes(&present, &at("v1.27.15-rancher1-1"))), Some(Impossible));
    assert_eq!(worst(&changes(&Present { verified: None, ..present }, &before)), Some(Impossible));
}

/// Specs that differ in anything, often in little.
fn any_spec() -> impl Strategy<Value = ClusterSpec> {
    let node = |i: usize| {
        let roles =
            prop::sample::select(vec![json!(["controlplane", "etcd"]), json!(["worker"]), json!(["etcd", "worker"])]);
        let taint = prop::option::of(prop::sample::select(vec!["a=b:NoSchedule", "a=b:NoExecute"]));
        (0u8..4, roles, prop::option::of(0u8..2), taint, any::<[bool; 3]>()).prop_map(
            move |(address, roles, label, taint, [named, inner, user])| {
                let mut node = json!({
                    "address": format!("10.{i}.0.{}", address / 3 + 1),
                    "roles": if i == 0 { json!(["controlplane", "etcd", "worker"]) } else { roles },
                    "labels": label.map(|label| json!({"l": label.to_string()})),
                    "taints": taint.map(|taint| json!([taint])),
                });
                if named {
                    node["hostname"] = json!(format!("n{i}"));
                }
                if inner {
                    node["internal_address"] = json!(format!("10.2{i}.0.1"));
                }
                if user {
                    node["user"] = json!("ubuntu");
                }
                node
            },
        )
    };
    let nodes = (1usize..4).prop_flat_map(move |n| (0..n).map(node).collect::<Vec<_>>());
    let version = prop::sample::select(vec!["v1.27.16-rancher1-1", "v1.28.12-rancher1-1", "v1.30.14-rancher1-1"]);
    let plugin = prop::sample::select(vec!["canal", "calico"]);
    let registries = prop::sample::subsequence(vec!["a.example", "b.example", "c.example"], 0..=3).prop_shuffle();
    (nodes, version, plugin, registries, 1u64..3, any::<[bool; 6]>()).prop_map(
        |(nodes, version, plugin, registries, kept, [a, b, c, d, e, f])| {
            let registry = |(i, url): (usize, &&str)| json!({"url": url, "user": "u", "password": if f { "p" } else { "q" }, "is_default": d && i == 0});
            spec(&json!({
                "kubernetes_version": version,
                "nodes": nodes,
                "network": {"plugin": plugin},
                "etcd_snapshots": {"enabled": a, "retention": kept},
                "addons": {"ingress": b, "dns": c},
                "private_registries": registries.iter().enumerate().map(registry).collect::<Vec<_>>(),
                "profile": if e { "cis" } else { "none" },
            }))
        },
    )
}

proptest! {
    #[test]
    fn no_change_without_a_difference(spec in any_spec()) {
        let found = changes(&Present { spec: &spec, built: Built::Whole, verified: None }, &spec);
        prop_assert!(found.is_empty(), "{:?}", found);
    }

    #[test]
    fn no_difference_without_a_change_and_every_change_shows_what_is_there(from in any_spec(), to in any_spec()) {
        let found = changes(&Present { spec: &from, built: Built::Whole, verified: None }, &to);
        prop_assert_eq!(found.is_empty(), from == to);
        let (before, after) = (from.to_json(Secrets::Mask), to.to_json(Secrets::Mask));
        for change in found {
            let (old, new) = (before.pointer(&change.pointer), after.pointer(&change.pointer));
            let parent = change.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            let exists = old.or(new).or(before.pointer(parent)).or(after.pointer(parent)).is_some();
            prop_assert!(exists, "{:?}", change);
            prop_assert!(change.to.is_null() || new == Some(&change.to), "{:?}", change);
            prop_assert!(change.because.ends_with('.'), "{:?}", change);
        }
    }
}
