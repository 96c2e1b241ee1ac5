//! What the parts of a spec must mean together: the rules that RKE and Kubernetes have, found before
//! an hour is lost. Pure; pointers are those of the whole spec document.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::spec::{ClusterSpec, NetworkPlugin, Node, NodeRole, Profile, Taint};
use crate::domain::name::{MAX_LABEL, check_label};
use crate::domain::secret::MASK;
use crate::intake::Notes;

/// User and group that etcd runs as in a hardened cluster, as the guide has it.
pub const ETCD_ID: u32 = 52_034;

/// Checks a spec that was read.
pub fn check(spec: &ClusterSpec, notes: &Notes) {
    check_roles(spec, notes);
    check_addresses(spec, notes);
    check_networks(spec, notes);
    for (i, node) in spec.nodes.iter().enumerate() {
        check_labels(node, &format!("/nodes/{i}"), notes);
    }
    check_registries(spec, notes);
    check_profile(spec, notes);
}

/// What the hardened profile needs of the hosts, which nothing here can see to.
fn check_profile(spec: &ClusterSpec, notes: &Notes) {
    if spec.profile != Profile::Cis {
        return;
    }
    notes.warn(
        "/profile",
        "every host needs the sysctls vm.overcommit_memory=1, vm.panic_on_oom=0, kernel.panic=10 and kernel.panic_on_oops=1",
    );
    notes.warn(
        "/profile",
        format!("every host with the role etcd needs a user and a group etcd, both with the id {ETCD_ID}"),
    );
    if matches!(spec.network.plugin, NetworkPlugin::Flannel | NetworkPlugin::None) {
        let plugin = spec.network.plugin;
        notes.warn(
            "/network/plugin",
            format!("{plugin} enforces no network policies; the profile cis is complete with canal or calico only"),
        );
    }
}

fn check_roles(spec: &ClusterSpec, notes: &Notes) {
    let count = |role| spec.nodes_with(role).count();
    for role in [NodeRole::ControlPlane, NodeRole::Etcd] {
        if count(role) == 0 {
            notes.error("/nodes", format!("no node has the role {role}; a cluster needs at least one"));
        }
    }
    if count(NodeRole::Worker) == 0 {
        notes.warn("/nodes", "no node has the role worker; workloads will not be scheduled");
    }
    let etcd = count(NodeRole::Etcd);
    if etcd > 0 && etcd % 2 == 0 {
        notes.warn(
            "/nodes",
            format!("{etcd} etcd nodes tolerate no more failures than {}; use an odd number", etcd - 1),
        );
    }
}

/// Finds what is malformed or used twice. A node that names no internal address or hostname goes by
/// its address there too, so the two are compared as they will be, not as they are written.
fn check_addresses(spec: &ClusterSpec, notes: &Notes) {
    let mut seen = BTreeMap::new();
    for (i, node) in spec.nodes.iter().enumerate() {
        check_use(&mut seen, "address", (&node.address, format!("/nodes/{i}/address"), true), notes);
        for (key, value) in [("internal_address", &node.internal_address), ("hostname", &node.hostname)] {
            let named = match value {
                Some(value) => (value, format!("/nodes/{i}/{key}"), true),
                None => (&node.address, format!("/nodes/{i}/address"), false),
            };
            check_use(&mut seen, key, named, notes);
        }
        check_not_local(node, i, spec, notes);
    }
}

/// Where a value was used first, and whether it was written there.
type Seen = BTreeMap<(&'static str, String), (String, bool)>;

fn check_use(seen: &mut Seen, key: &'static str, named: (&String, String, bool), notes: &Notes) {
    let (value, pointer, written) = named;
    if written && let Err(fault) = if key == "hostname" { check_node_name(value) } else { check_address(value) } {
        notes.error(&pointer, fault);
        return;
    }
    match seen.get(&(key, value.to_ascii_lowercase())) {
        // Two addresses that are alike are noted once, as such.
        Some((_, false)) if !written => {}
        Some((first, _)) => notes.error(&pointer, format!("{value:?} is already used at {first}")),
        None => {
            seen.insert((key, value.to_ascii_lowercase()), (pointer, written));
        }
    }
}

/// Refuses addresses that can only mean the bastion itself or its instance metadata, and those that
/// would be inside the cluster's own networks.
fn check_not_local(node: &Node, i: usize, spec: &ClusterSpec, notes: &Notes) {
    for (key, value) in [("address", Some(&node.address)), ("internal_address", node.internal_address.as_ref())] {
        let Some(value) = value else { continue };
        let pointer = format!("/nodes/{i}/{key}");
        let ip = value.parse::<IpAddr>().map(|ip| ip.to_canonical());
        let local = match ip {
            Ok(IpAddr::V4(ip)) => {
                ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()
            }
            Ok(IpAddr::V6(ip)) => {
                ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
            }
            Err(_) => value == "localhost" || value.ends_with(".localhost"),
        };
        if local {
            notes.error(&pointer, format!("{value} is not an address of a host that can be a node"));
        }
        let Ok(IpAddr::V4(ip)) = ip else { continue };
        for (name, net) in [("pod_cidr", spec.network.pod_cidr), ("service_cidr", spec.network.service_cidr)] {
            if net.contains(&ip) {
                notes.error(&pointer, format!("{ip} lies in network.{name} {net}; the node would become unreachable"));
            }
        }
    }
}

fn check_networks(spec: &ClusterSpec, notes: &Notes) {
    let (pods, services) = (spec.network.pod_cidr, spec.network.service_cidr);
    if pods.contains(&services) || services.contains(&pods) {
        notes.error(
            "/network/service_cidr",
            format!("{services} overlaps pod_cidr {pods}; choose networks that are apart"),
        );
    }
    if services.prefix_len() > 24 || services.prefix_len() < 12 {
        notes.error("/network/service_cidr", format!("{services} must be between /12 and /24"));
    }
    // Every node gets a /24 of the pod network from kube-controller-manager.
    let slices = 1u64.checked_shl(24u32.saturating_sub(pods.prefix_len().into())).unwrap_or(0);
    if pods.prefix_len() > 24 || slices < spec.nodes.len() as u64 {
        notes.error(
            "/network/pod_cidr",
            format!("{pods} is too small: each of the {} nodes needs a /24 of it", spec.nodes.len()),
        );
    }
    if spec.network.plugin == NetworkPlugin::None {
        notes.warn("/network/plugin", "nodes stay NotReady until you deploy a network plugin yourself");
    }
}

fn check_labels(node: &Node, pointer: &str, notes: &Notes) {
    for (key, value) in &node.labels {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        let at = format!("{pointer}/labels/{escaped}");
        for fault in [check_qualified_name(key), check_label_value(value)].into_iter().filter_map(Result::err) {
            notes.error(&at, fault);
        }
    }
    let mut seen = Vec::new();
    for (i, taint) in node.taints.iter().enumerate() {
        let at = format!("{pointer}/taints/{i}");
        check_taint(taint, &at, notes);
        if seen.contains(&(&taint.key, taint.effect)) {
            notes.error(&at, format!("repeats the taint {}:{}", taint.key, taint.effect));
        }
        seen.push((&taint.key, taint.effect));
    }
}

fn check_taint(taint: &Taint, at: &str, notes: &Notes) {
    if let Err(fault) = check_qualified_name(&taint.key) {
        notes.error(&format!("{at}/key"), fault);
    }
    if let Err(fault) = check_label_value(&taint.value) {
        notes.error(&format!("{at}/value"), fault);
    }
}

fn check_registries(spec: &ClusterSpec, notes: &Notes) {
    let mut seen = BTreeMap::new();
    for (i, registry) in spec.private_registries.iter().enumerate() {
        let at = format!("/private_registries/{i}");
        let url = &registry.url;
        if let Some(first) = seen.insert(url, i) {
            notes.error(&format!("{at}/url"), format!("{url:?} is already used at /private_registries/{first}/url"));
        }
        let host = url.split('/').next().unwrap_or_default();
        let (name, port) = host.rsplit_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
        let path_ok = url.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-_:".contains(&b));
        let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
        if check_address(name).is_err() || !path_ok || !port_ok || url.len() > 253 {
            notes.error(
                &format!("{at}/url"),
                format!("{url:?} is not a registry: write host[:port][/path] without a scheme"),
            );
        }
        if registry.password.is_some() && registry.user.is_none() {
            notes.error(&format!("{at}/user"), "is required when a password is given");
        }
        if registry.user.as_ref().is_some_and(|u| u.chars().any(char::is_control)) {
            notes.error(&format!("{at}/user"), "contains control characters");
        }
        if registry.password.as_ref().is_some_and(|p| p.expose() == MASK) {
            notes.error(
                &format!("{at}/password"),
                format!("is the mask {MASK:?}: send the password itself, or leave it out"),
            );
        }
    }
    if spec.private_registries.iter().filter(|r| r.is_default).count() > 1 {
        notes.error("/private_registries", "more than one registry is the default; choose one");
    }
}

fn check_address(text: &str) -> Result<(), String> {
    // A name whose last part is a number is read as an IPv4 address by some and as a name by others.
    let last = text.rsplit('.').next().unwrap_or_default();
    let like_a_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if text.parse::<IpAddr>().is_ok() || check_host_name(text).is_ok() && !like_a_number {
        return Ok(());
    }
    Err(format!("{} is neither an IP address nor a DNS name", shorten(text)))
}

fn check_host_name(text: &str) -> Result<(), String> {
    if text.len() <= 253 && text.split('.').all(|label| check_label(label).is_ok()) {
        return Ok(());
    }
    Err(format!(
        "{} is not a host name: use lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
        shorten(text)
    ))
}

/// A node's name is also the value of its label `kubernetes.io/hostname`.
fn check_node_name(text: &str) -> Result<(), String> {
    check_host_name(text)?;
    if text.len() > MAX_LABEL {
        return Err(format!("{} is too long: a node's name has at most {MAX_LABEL} characters", shorten(text)));
    }
    Ok(())
}

fn check_qualified_name(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    if prefix.is_none_or(|p| check_host_name(p).is_ok()) && !name.is_empty() && is_label_word(name) {
        return Ok(());
    }
    Err(format!(
        "{} is not a Kubernetes key: write [domain/]name, the name up to 63 characters of A-Z, a-z, 0-9, '-', '_', '.'",
        shorten(key)
    ))
}

fn check_label_value(value: &str) -> Result<(), String> {
    if is_label_word(value) {
        return Ok(());
    }
    Err(format!(
        "{} is not a Kubernetes label value: use up to 63 characters of A-Z, a-z, 0-9, '-', '_', '.', beginning and ending with a letter or digit",
        shorten(value)
    ))
}

fn is_label_word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

fn shorten(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}
