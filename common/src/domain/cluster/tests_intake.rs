//! What is refused in a spec, each fault at its exact pointer, and that a spec survives the journey.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::intake::{read, read_change};
use super::spec::{
    Addons, ClusterSpec, EtcdSnapshots, Network, NetworkPlugin, Node, NodeRole, PrivateRegistry, Profile, Secrets,
    Taint, TaintEffect,
};
use crate::domain::secret::Secret;

/// Two nodes, every part written out.
fn good() -> Value {
    json!({
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [
            {
                "address": "10.0.0.11", "internal_address": "10.1.0.11", "hostname": "node1", "port": 22, "user": "ubuntu",
                "roles": ["controlplane", "etcd"], "labels": {"example.org/tier": "front"}, "taints": ["a=b:NoSchedule"],
            },
            {"address": "node2.example.org", "roles": ["worker"]},
        ],
        "network": {"plugin": "canal", "pod_cidr": "10.42.0.0/16", "service_cidr": "10.43.0.0/16"},
        "etcd_snapshots": {"enabled": true, "interval_hours": 12, "retention": 6},
        "addons": {"ingress": true, "metrics": true, "dns": true},
        "private_registries": [{"url": "r.example.org:5000/x", "user": "u", "password": "p", "is_default": true}],
        "ssh_user": "rancher",
    })
}

/// The good document with one place changed or added.
fn with(pointer: &str, value: &Value) -> Value {
    let mut document = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) => {
            map.insert(key.replace("~1", "/").replace("~0", "~"), value.clone());
        }
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
        other => panic!("{other}"),
    }
    document
}

fn errors(document: &Value) -> Vec<String> {
    read(document).unwrap_err().errors.into_iter().map(|fault| fault.to_string()).collect()
}

#[test]
fn the_good_document_is_good() {
    let (spec, warnings) = read(&good()).unwrap();
    assert_eq!((spec.nodes.len(), warnings.len()), (2, 0));
}

#[test]
fn what_is_left_out_has_its_default() {
    let (spec, _) = read(&json!({
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [{"address": "10.0.0.11", "roles": ["worker", "etcd", "controlplane"]}],
    }))
    .unwrap();
    assert_eq!(spec.network.plugin, NetworkPlugin::Canal);
    assert_eq!((spec.ssh_user.as_str(), spec.nodes[0].port), ("rancher", 22));
    assert_eq!(spec.nodes[0].roles, [NodeRole::ControlPlane, NodeRole::Etcd, NodeRole::Worker]);
    assert!(spec.addons.dns && spec.etcd_snapshots.enabled);
}

/// Place, value there, and words of the fault at exactly that place.
#[rustfmt::skip]
fn faults() -> Vec<(&'static str, Value, &'static str)> {
    let long = "a".repeat(64);
    vec![
        ("/kubernetes_version", Value::Null, "is required"),
        ("/kubernetes_version", json!(1.30), "must be a string, found a number"),
        ("/kubernetes_version", json!("v1.30.14"), "is not a version that RKE knows"),
        ("/kubernetes_version", json!("1.30.14-rancher1-1"), "is not a version that RKE knows"),
        ("/kubernetes_version", json!("v1.30-rancher1-1"), "is not a version that RKE knows"),
        ("/kubernetes_version", json!("v1.30.14-rancher1-1\n"), "is not a version that RKE knows"),
        ("/kubernetes_version", json!("v1.30.14-rancher1-1-x"), "is not a version that RKE knows"),
        ("/nodes", json!({}), "must be an array, found an object"),
        ("/nodes/0", json!("10.0.0.11"), "must be an object, found a string"),
        ("/nodes/1/address", Value::Null, "is required"),
        ("/nodes/1/address", json!(7), "must be a string"),
        ("/nodes/1/address", json!(""), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("-oProxyCommand=x"), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("a b"), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("10.0.0.256"), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("10.1"), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("0x7f.1"), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("127.0.0.0x1"), "neither an IP address nor a DNS name"),
        ("/nodes/1/address", json!("10.0.0.11"), "is already used at /nodes/0/address"),
        ("/nodes/1/address", json!("10.1.0.11"), "is already used at /nodes/0/internal_address"),
        ("/nodes/1/address", json!("node1"), "is already used at /nodes/0/hostname"),
        ("/nodes/1/address", json!("169.254.169.254"), "not an address of a host"),
        ("/nodes/1/address", json!("::ffff:169.254.169.254"), "not an address of a host"),
        ("/nodes/1/address", json!("127.0.0.1"), "not an address of a host"),
        ("/nodes/1/address", json!("::1"), "not an address of a host"),
        ("/nodes/1/address", json!("fe80::1"), "not an address of a host"),
        ("/nodes/1/address", json!("localhost"), "not an address of a host"),
        ("/nodes/1/address", json!("0.0.0.0"), "not an address of a host"),
        ("/nodes/1/address", json!("10.42.3.4"), "lies in network.pod_cidr"),
        ("/nodes/1/internal_address", json!("10.43.3.4"), "lies in network.service_cidr"),
        ("/nodes/1/internal_address", json!("10.1.0.11"), "is already used at /nodes/0/internal_address"),
        ("/nodes/1/hostname", json!("node1"), "is already used at /nodes/0/hostname"),
        ("/nodes/1/hostname", json!("Node2"), "is not a host name"),
        ("/nodes/1/hostname", json!("node_2"), "is not a host name"),
        ("/nodes/1/hostname", json!(long), "is not a host name"),
        ("/nodes/1/hostname", json!(format!("a.{}", "b.".repeat(32) + "c")), "at most 63 characters"),
        ("/nodes/1/port", json!(0), "must be between 1 and 65535"),
        ("/nodes/1/port", json!(65_536), "must be between 1 and 65535"),
        ("/nodes/1/port", json!("22"), "must be a whole number, found a string"),
        ("/nodes/1/port", json!(22.5), "must be a whole number"),
        ("/nodes/1/user", json!("-root"), "is not a user name"),
        ("/nodes/1/user", json!("a;b"), "is not a user name"),
        ("/nodes/1/user", json!(""), "is not a user name"),
        ("/nodes/1/roles", Value::Null, "is required"),
        ("/nodes/1/roles", json!([]), "must name at least one"),
        ("/nodes/1/roles", json!("worker"), "must be an array, found a string"),
        ("/nodes/1/roles", json!(["worker", "worker"]), "names a role twice"),
        ("/nodes/0/roles/0", json!("master"), "known are: controlplane, etcd, worker"),
        ("/nodes/0/roles/0", json!(1), "must be a string"),
        ("/nodes/0/labels", json!(["a"]), "must be an object"),
        ("/nodes/0/labels/a", json!(true), "must be a string, found a boolean"),
        ("/nodes/0/labels/a b", json!("x"), "is not a Kubernetes key"),
        ("/nodes/0/labels/-a", json!("x"), "is not a Kubernetes key"),
        ("/nodes/0/labels/Bad.Domain~1a", json!("x"), "is not a Kubernetes key"),
        ("/nodes/0/labels/a", json!("a b"), "is not a Kubernetes label value"),
        ("/nodes/0/labels/a", json!("a".repeat(64)), "is not a Kubernetes label value"),
        ("/nodes/0/taints/0", json!("gpu"), "is not a taint"),
        ("/nodes/0/taints/0", json!("gpu:Sometimes"), "known are: NoSchedule"),
        ("/nodes/0/taints/0", json!({"key": "a"}), ""),
        ("/nodes/0/taints/0", json!(["a"]), "must be an object"),
        ("/network", json!("canal"), "must be an object, found a string"),
        ("/network/plugin", json!("weave"), "known are: canal, calico, flannel, none"),
        ("/network/pod_cidr", json!("10.42.0.0"), "is not an IPv4 network"),
        ("/network/pod_cidr", json!("fd00::/48"), "is not an IPv4 network"),
        ("/network/pod_cidr", json!("10.42.0.1/16"), "did you mean `10.42.0.0/16`"),
        ("/network/pod_cidr", json!("10.42.0.0/25"), "is too small"),
        ("/network/pod_cidr", json!("10.42.0.0/24"), "is too small"),
        ("/network/service_cidr", json!("10.42.4.0/24"), "overlaps pod_cidr"),
        ("/network/service_cidr", json!("10.44.0.0/25"), "must be between /12 and /24"),
        ("/network/service_cidr", json!("64.0.0.0/8"), "must be between /12 and /24"),
        ("/etcd_snapshots/enabled", json!("yes"), "must be true or false"),
        ("/etcd_snapshots/interval_hours", json!(0), "must be between 1 and 720"),
        ("/etcd_snapshots/interval_hours", json!(-1), "must be a whole number"),
        ("/etcd_snapshots/retention", json!(1_001), "must be between 1 and 1000"),
        ("/addons/dns", json!(1), "must be true or false, found a number"),
        ("/private_registries/0/url", Value::Null, "is required"),
        ("/private_registries/0/url", json!("https://r.example.org"), "without a scheme"),
        ("/private_registries/0/url", json!("r.example.org:0"), "is not a registry"),
        ("/private_registries/0/url", json!("r.example.org/a b"), "is not a registry"),
        ("/private_registries/0/user", Value::Null, "is required when a password is given"),
        ("/private_registries/0/user", json!("a\nb"), "control characters"),
        ("/private_registries/0/password", json!("***"), "is the mask"),
        ("/private_registries/0/password", json!(12), "must be a string"),
        ("/ssh_user", json!("Ubuntu"), "is not a user name"),
    ]
}

#[test]
fn every_fault_is_found_at_its_exact_pointer() {
    for (pointer, value, words) in faults() {
        let found = errors(&with(pointer, &value));
        // Parts of a taint have pointers below it.
        let fits = |fault: &String| match words {
            "" => fault.starts_with(pointer),
            words => fault.starts_with(&format!("{pointer}: ")) && fault.contains(words),
        };
        assert!(found.iter().any(fits), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn one_mistake_is_one_fault() {
    let twice_over = ["/nodes/0", "/nodes", "/nodes/0/roles/0", "/nodes/1/roles"];
    for (pointer, value, _) in faults() {
        let found = errors(&with(pointer, &value));
        assert!(found.len() == 1 || twice_over.contains(&pointer), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn hostile_row_06_fields_that_are_code_or_read_files_are_refused_at_every_level() {
    let fields = [
        "addons_include",
        "ssh_key",
        "ssh_key_path",
        "ssh_cert",
        "ssh_cert_path",
        "extra_args",
        "extra_binds",
        "extra_env",
        "prefix_path",
        "system_images",
        "bastion_host",
        "cloud_provider",
        "services",
        "authentication",
        "docker_socket",
    ];
    let levels = ["", "/nodes/0", "/network", "/etcd_snapshots", "/addons", "/private_registries/0"];
    for level in levels {
        for field in fields {
            let pointer = format!("{level}/{field}");
            let found = errors(&with(&pointer, &json!(["file:///etc/shadow"])));
            let refused = found.iter().any(|fault| fault.starts_with(&format!("{pointer}: is refused")));
            assert!(refused, "{pointer}: {found:?}");
        }
    }
}

#[test]
fn hostile_row_10_unknown_keys_are_refused_at_every_level() {
    for level in ["", "/nodes/1", "/network", "/etcd_snapshots", "/addons", "/private_registries/0"] {
        let found = errors(&with(&format!("{level}/phase"), &json!("ready")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{level}/phase: is not known here")), "{found:?}");
    }
    let taint = with("/nodes/0/taints/0", &json!({"key": "a", "effect": "NoExecute", "tolerate": 1}));
    assert!(errors(&taint)[0].starts_with("/nodes/0/taints/0/tolerate: is not known here"));
}

#[test]
fn roles_that_a_cluster_needs_must_be_there() {
    let found = errors(&with("/nodes/0/roles", &json!(["controlplane"])));
    assert!(found.len() == 1 && found[0].starts_with("/nodes: no node has the role etcd"), "{found:?}");
    let found = errors(&with("/nodes/0/roles", &json!(["etcd"])));
    assert!(found.len() == 1 && found[0].starts_with("/nodes: no node has the role controlplane"), "{found:?}");
    assert_eq!(errors(&with("/nodes", &json!([]))).len(), 2);
}

#[test]
fn what_will_be_regretted_is_warned_of() {
    let warned =
        |document: &Value| -> Vec<String> { read(document).unwrap().1.into_iter().map(|w| w.to_string()).collect() };
    let even = with("/nodes/1/roles", &json!(["etcd", "worker"]));
    assert!(warned(&even)[0].starts_with("/nodes: 2 etcd nodes tolerate no more failures than 1"));
    let idle = with("/nodes/1/roles", &json!(["controlplane"]));
    assert!(warned(&idle)[0].starts_with("/nodes: no node has the role worker"));
    let bare = with("/network/plugin", &json!("none"));
    assert!(warned(&bare)[0].starts_with("/network/plugin: nodes stay NotReady"));
}

#[test]
fn registries_and_taints_that_contradict_each_other_are_refused() {
    let registry = json!({"url": "a.example.org", "is_default": true});
    let found = errors(&with("/private_registries", &json!([registry, {"url": "b.example.org", "is_default": true}])));
    assert!(found.len() == 1 && found[0].starts_with("/private_registries: more than one registry is the default"));
    let found = errors(&with("/private_registries", &json!([registry, {"url": "a.example.org"}])));
    assert!(found.len() == 1 && found[0].starts_with("/private_registries/1/url: \"a.example.org\" is already used"));
    let found = errors(&with("/nodes/0/taints", &json!(["a=b:NoSchedule", "a=c:NoSchedule"])));
    assert!(found.len() == 1 && found[0].starts_with("/nodes/0/taints/1: repeats the taint a:NoSchedule"), "{found:?}");
}

#[test]
fn both_forms_of_a_taint_mean_the_same() {
    let written = |taint: Value| read(&with("/nodes/0/taints/0", &taint)).unwrap().0.nodes[0].taints[0].clone();
    assert_eq!(written(json!("a=b:NoExecute")), written(json!({"key": "a", "value": "b", "effect": "NoExecute"})));
    assert_eq!(written(json!("x.org/a:NoSchedule")), written(json!({"key": "x.org/a", "effect": "NoSchedule"})));
}

#[test]
fn all_faults_are_reported_at_once() {
    let found = errors(&json!({
        "kubernetes_version": "latest",
        "nodes": [
            {"address": "10.42.0.1", "roles": ["worker", "boss"], "ssh_key_path": "/etc/shadow"},
            {"address": "10.42.0.1", "roles": [], "port": "x"},
            7,
        ],
        "network": {"service_cidr": "10.42.0.0/24", "plugin": "x"},
        "addons": {"dns": "no"},
        "ssh_user": "!",
        "stray": 1,
    }));
    for pointer in [
        "/kubernetes_version",
        "/nodes/0/address",
        "/nodes/0/roles/1",
        "/nodes/0/ssh_key_path",
        "/nodes/1/address",
        "/nodes/1/roles",
        "/nodes/1/port",
        "/nodes/2",
        "/nodes",
        "/network/service_cidr",
        "/network/plugin",
        "/addons/dns",
        "/ssh_user",
        "/stray",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(&format!("{pointer}: "))), "{pointer}: {found:#?}");
    }
}

#[test]
fn too_many_of_anything_is_refused() {
    let nodes: Vec<Value> = (0..1_001).map(|i| json!({"address": format!("n{i}"), "roles": ["etcd"]})).collect();
    assert!(errors(&with("/nodes", &json!(nodes)))[0].starts_with("/nodes: has 1001 nodes"));
    let labels: serde_json::Map<_, _> = (0..65).map(|i| (format!("l{i}"), json!("x"))).collect();
    assert!(errors(&with("/nodes/0/labels", &json!(labels)))[0].starts_with("/nodes/0/labels: has 65 labels"));
    let registries: Vec<Value> = (0..65).map(|i| json!({"url": format!("r{i}.org")})).collect();
    assert!(errors(&with("/private_registries", &json!(registries)))[0].starts_with("/private_registries: has 65"));
}

fn word() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-zA-Z0-9._-]{0,20}[a-zA-Z0-9])?"
}

fn node(i: usize) -> impl Strategy<Value = Node> {
    let taint = (word(), prop_oneof![Just(String::new()), word()], prop::sample::select(TaintEffect::ALL.to_vec()))
        .prop_map(|(key, value, effect)| Taint { key, value, effect });
    (
        any::<[bool; 3]>(),
        1u16..,
        prop::option::of("[a-z_][a-z0-9_-]{0,31}"),
        prop::sample::subsequence(NodeRole::ALL.to_vec(), 1..=3),
        prop::collection::btree_map(word(), word(), 0..4),
        prop::option::of(taint),
    )
        .prop_map(move |([named, inside, by_name], port, user, roles, labels, taint)| Node {
            address: if by_name { format!("node{i}.example.org") } else { format!("192.168.0.{i}") },
            internal_address: inside.then(|| format!("192.168.1.{i}")),
            hostname: named.then(|| format!("n{i}")),
            port,
            user,
            // The first node makes it a cluster.
            roles: if i == 0 { NodeRole::ALL.to_vec() } else { roles },
            labels,
            taints: taint.into_iter().collect(),
        })
}

fn spec() -> impl Strategy<Value = ClusterSpec> {
    let nodes = (1usize..6).prop_flat_map(|n| (0..n).map(node).collect::<Vec<_>>());
    let registry = (any::<bool>(), prop::option::of("\\PC{0,20}"));
    (
        nodes,
        any::<[bool; 5]>(),
        (1u64..=720, 1u64..=1_000),
        prop::option::of(registry),
        prop::sample::select(NetworkPlugin::ALL.to_vec()),
    )
        .prop_map(|(nodes, on, (interval_hours, retention), registry, plugin)| ClusterSpec {
            kubernetes_version: "v1.30.14-rancher1-1".parse().unwrap(),
            nodes,
            network: Network {
                plugin,
                pod_cidr: "10.100.0.0/16".parse().unwrap(),
                service_cidr: "10.101.0.0/20".parse().unwrap(),
            },
            etcd_snapshots: EtcdSnapshots { enabled: on[0], interval_hours, retention },
            addons: Addons { ingress: on[1], metrics: on[2], dns: on[3] },
            private_registries: registry
                .into_iter()
                .map(|(is_default, password)| PrivateRegistry {
                    url: "r.example.org:5000/Mirror".into(),
                    user: Some("puller".into()),
                    password: password.filter(|p| p != "***").map(Secret::new),
                    is_default,
                })
                .collect(),
            profile: if on[4] { Profile::Cis } else { Profile::None },
            ssh_user: "ubuntu".into(),
        })
}

proptest! {
    #[test]
    fn a_spec_survives_the_journey_through_json(spec in spec()) {
        let text = spec.to_json(Secrets::Reveal).to_string();
        let document = crate::intake::parse_json(text.as_bytes()).unwrap();
        let (read, _) = read(&document).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        prop_assert_eq!(read, spec);
    }

    #[test]
    fn hostile_row_07_a_masked_document_has_no_secret_and_is_not_taken_back(mut spec in spec()) {
        let canary = "canary-7f3a";
        prop_assume!(!spec.private_registries.is_empty());
        spec.private_registries[0].password = Some(Secret::new(canary));
        let masked = spec.to_json(Secrets::Mask);
        let shown = format!("{masked} {spec:?}");
        prop_assert!(!shown.contains(canary));
        prop_assert!(errors(&masked).iter().any(|fault| fault.starts_with("/private_registries/0/password: is the mask")));
    }
}

/// The passwords of the change `sent`, on top of the good document.
fn changed(sent: &Value) -> Result<Vec<Option<String>>, Vec<String>> {
    let stored = read(&good()).unwrap().0;
    let changed = read_change(&with("/private_registries", sent), &stored);
    let password = |registry: &PrivateRegistry| registry.password.as_ref().map(|p| p.expose().to_owned());
    changed
        .map(|(spec, _)| spec.private_registries.iter().map(password).collect())
        .map_err(|faults| faults.errors.into_iter().map(|fault| fault.pointer).collect())
}

#[test]
fn hostile_row_07_a_password_that_is_not_sent_or_masked_is_kept_for_its_url_alone() {
    let url = "r.example.org:5000/x";
    let kept = |sent: Value| assert_eq!(changed(&sent), Ok(vec![Some("p".into())]), "{sent}");
    kept(json!([{"url": url, "user": "u"}]));
    kept(json!([{"url": url, "user": "u", "password": "***"}]));
    kept(json!([{"url": url, "user": "another"}]));
    assert_eq!(changed(&json!([{"url": url, "user": "u", "password": "new"}])), Ok(vec![Some("new".into())]));
    assert_eq!(changed(&json!([{"url": url}])), Ok(vec![None]), "without a user there is no login");
    assert_eq!(changed(&json!([{"url": "r.example.org", "user": "u"}])), Ok(vec![None]), "another place");
    let moved = json!([{"url": "first.example", "user": "u"}, {"url": url, "user": "u"}]);
    assert_eq!(changed(&moved), Ok(vec![None, Some("p".into())]), "by its URL, not by its place");
    let unknown = json!([{"url": "r.example.org", "user": "u", "password": "***"}]);
    assert_eq!(changed(&unknown), Err(vec!["/private_registries/0/password".into()]));
}

#[test]
fn the_hardened_profile_names_what_it_needs_of_the_hosts() {
    let warnings = |document: &Value| read(document).unwrap().1;
    let plain = warnings(&good()).len();
    let mut hardened = with("/profile", &json!("cis"));
    let said = warnings(&hardened);
    assert_eq!(said.len(), plain + 2);
    assert!(said.iter().any(|fault| fault.detail.contains("vm.overcommit_memory=1")), "{said:?}");
    assert!(said.iter().any(|fault| fault.detail.contains("52034")), "{said:?}");
    hardened["network"]["plugin"] = json!("flannel");
    assert!(warnings(&hardened).iter().any(|fault| fault.pointer == "/network/plugin"));
    assert!(errors(&with("/profile", &json!("stig"))).iter().any(|fault| fault.starts_with("/profile: ")));
}

proptest! {
    // Each case reads the document some hundreds of times.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nothing_that_is_json_makes_it_panic(text in "\\PC{0,40}", number in any::<i64>()) {
        for (pointer, _, _) in faults() {
            for value in [json!(text), json!(number), json!([text]), json!({text.clone(): number})] {
                let _ = read(&with(pointer, &value));
            }
        }
    }
}
