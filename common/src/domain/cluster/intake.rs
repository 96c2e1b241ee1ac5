//! Reading a cluster spec from JSON: shape and types. What the parts mean together is in `check`.
//!
//! Every fault is noted with its pointer; a spec comes out only when there was none. Defaults give a
//! good cluster and are constants of `spec`, each with its reason.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check;
use super::spec::{
    Addons, ClusterSpec, DEFAULT_POD_CIDR, DEFAULT_SERVICE_CIDR, DEFAULT_SNAPSHOT_INTERVAL_HOURS,
    DEFAULT_SNAPSHOT_RETENTION, DEFAULT_SSH_PORT, DEFAULT_SSH_USER, EtcdSnapshots, Network, NetworkPlugin, Node,
    NodeRole, PrivateRegistry, Profile, Taint, TaintEffect,
};
use crate::domain::secret::Secret;
use crate::intake::{Fault, Faults, Field, Notes};

/// Most nodes in one cluster: what RKE and a single etcd are known to carry.
pub const MAX_NODES: usize = 1_000;
const MAX_REGISTRIES: usize = 64;
const MAX_LABELS: usize = 64;

/// Fields of RKE's cluster.yml that are code or read files of the bastion, with the word for users.
const REFUSED: &[&str] = &[
    "addons_include",
    "addon_job_timeout",
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
    "authorization",
    "docker_socket",
];

/// Reads and checks a spec.
///
/// # Errors
/// All faults at once, each with its JSON pointer.
pub fn read(document: &Value) -> Result<(ClusterSpec, Vec<Fault>), Faults> {
    read_and(document, |_| {})
}

/// Reads and checks the spec that is to replace a stored one, whose passwords it inherits where it
/// sends none; see [`ClusterSpec::inherit_secrets`].
///
/// # Errors
/// As [`read`].
pub fn read_change(document: &Value, stored: &ClusterSpec) -> Result<(ClusterSpec, Vec<Fault>), Faults> {
    read_and(document, |spec| spec.inherit_secrets(stored))
}

fn read_and(document: &Value, complete: impl FnOnce(&mut ClusterSpec)) -> Result<(ClusterSpec, Vec<Fault>), Faults> {
    let notes = Notes::default();
    let mut spec = read_spec(&Field::root(document, &notes));
    if let Some(spec) = &mut spec {
        complete(spec);
        check::check(spec, &notes);
    }
    let faults = notes.into_faults();
    match spec {
        Some(spec) if faults.is_acceptable() => Ok((spec, faults.warnings)),
        _ => Err(faults),
    }
}

/// Reads a spec at a place inside a larger document, without checking the parts together.
/// Comes out with defaults in place of faulty parts where it can, so that `check` finds more.
#[must_use]
pub fn read_spec(at: &Field<'_>) -> Option<ClusterSpec> {
    let mut o = at.clone().required().object()?;
    let version = o.field("kubernetes_version").required().parse();
    let nodes = read_nodes(&o.field("nodes").required());
    let network = read_network(&o.field("network"));
    let etcd_snapshots = read_snapshots(&o.field("etcd_snapshots"));
    let addons = read_addons(&o.field("addons"));
    let private_registries = read_registries(&o.field("private_registries"));
    let profile = o.field("profile").parse().unwrap_or(Profile::None);
    let ssh_user = read_user(&o.field("ssh_user")).unwrap_or_else(|| DEFAULT_SSH_USER.into());
    finish(o);
    Some(ClusterSpec {
        // A missing version is noted above; the placeholder lets the other parts be checked too.
        kubernetes_version: version.or_else(|| "v0.0.0-rancher0-0".parse().ok())?,
        nodes,
        network: network?,
        etcd_snapshots,
        addons,
        private_registries,
        profile,
        ssh_user,
    })
}

fn finish(mut object: crate::intake::Object<'_>) {
    for key in REFUSED {
        object.refuse(
            key,
            "is refused: in RKE it runs code or reads files of the bastion; ask an operator of the service for what you need",
        );
    }
    object.finish();
}

fn read_nodes(at: &Field<'_>) -> Vec<Node> {
    let items = at.items().unwrap_or_default();
    if items.len() > MAX_NODES {
        at.error(format!("has {} nodes; at most {MAX_NODES} are allowed", items.len()));
        return Vec::new();
    }
    items.iter().filter_map(read_node).collect()
}

fn read_node(at: &Field<'_>) -> Option<Node> {
    let mut o = at.object()?;
    let address = o.field("address").required().string().map(ToOwned::to_owned);
    let internal_address = o.field("internal_address").string().map(ToOwned::to_owned);
    let hostname = o.field("hostname").string().map(ToOwned::to_owned);
    let port = o.field("port").integer(1..=65_535).and_then(|p| u16::try_from(p).ok());
    let user = read_user(&o.field("user"));
    let roles = read_roles(&o.field("roles").required());
    let labels = read_labels(&o.field("labels"));
    let taints = o.field("taints").items().unwrap_or_default().iter().filter_map(read_taint).collect();
    finish(o);
    Some(Node {
        address: address?,
        internal_address,
        hostname,
        port: port.unwrap_or(DEFAULT_SSH_PORT),
        user,
        roles,
        labels,
        taints,
    })
}

fn read_roles(at: &Field<'_>) -> Vec<NodeRole> {
    let items = at.items();
    let mut roles: Vec<NodeRole> = items.iter().flatten().filter_map(Field::parse).collect();
    if items.is_some_and(|items| items.is_empty()) {
        at.error("must name at least one of controlplane, etcd, worker");
    }
    let named = roles.len();
    roles.sort();
    roles.dedup();
    if roles.len() < named {
        at.error("names a role twice");
    }
    roles
}

fn read_labels(at: &Field<'_>) -> BTreeMap<String, String> {
    let entries = at.entries().unwrap_or_default();
    if entries.len() > MAX_LABELS {
        at.error(format!("has {} labels; at most {MAX_LABELS} are allowed", entries.len()));
    }
    let read = |(key, field): (&str, Field<'_>)| {
        field.not_null();
        Some((key.to_owned(), field.string()?.to_owned()))
    };
    entries.into_iter().filter_map(read).collect()
}

fn read_taint(at: &Field<'_>) -> Option<Taint> {
    if let Some(text) = at.as_text() {
        return at.check(parse_taint(text));
    }
    let mut o = at.object()?;
    let key = o.field("key").required().string().map(ToOwned::to_owned);
    let value = o.field("value").string().unwrap_or_default().to_owned();
    let effect: Option<TaintEffect> = o.field("effect").required().parse();
    finish(o);
    Some(Taint { key: key?, value, effect: effect? })
}

/// `key=value:Effect` or `key:Effect`, as kubectl writes taints.
fn parse_taint(text: &str) -> Result<Taint, String> {
    let form =
        || format!("{text:?} is not a taint: write `key=value:NoSchedule` or an object with key, value and effect");
    let (pair, effect) = text.rsplit_once(':').ok_or_else(form)?;
    let effect = effect.parse().map_err(|fault| format!("{}: {fault}", form()))?;
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    Ok(Taint { key: key.to_owned(), value: value.to_owned(), effect })
}

fn read_network(at: &Field<'_>) -> Option<Network> {
    let default = Network {
        plugin: NetworkPlugin::Canal,
        pod_cidr: DEFAULT_POD_CIDR.parse().ok()?,
        service_cidr: DEFAULT_SERVICE_CIDR.parse().ok()?,
    };
    let Some(mut o) = at.object() else { return Some(default) };
    let plugin = o.field("plugin").parse().unwrap_or(default.plugin);
    let pod_cidr = read_cidr(&o.field("pod_cidr")).unwrap_or(default.pod_cidr);
    let service_cidr = read_cidr(&o.field("service_cidr")).unwrap_or(default.service_cidr);
    finish(o);
    Some(Network { plugin, pod_cidr, service_cidr })
}

fn read_cidr(at: &Field<'_>) -> Option<ipnet::Ipv4Net> {
    let text = at.string()?;
    let Ok(net) = text.parse::<ipnet::Ipv4Net>() else {
        at.error(format!("{text:?} is not an IPv4 network: write it as `10.42.0.0/16`"));
        return None;
    };
    if net.network() != net.addr() {
        at.error(format!("{text:?} has host bits set: did you mean `{}`?", net.trunc()));
        return None;
    }
    Some(net)
}

fn read_snapshots(at: &Field<'_>) -> EtcdSnapshots {
    let default = EtcdSnapshots {
        enabled: true,
        interval_hours: DEFAULT_SNAPSHOT_INTERVAL_HOURS,
        retention: DEFAULT_SNAPSHOT_RETENTION,
    };
    let Some(mut o) = at.object() else { return default };
    let spec = EtcdSnapshots {
        enabled: o.field("enabled").boolean().unwrap_or(default.enabled),
        interval_hours: o.field("interval_hours").integer(1..=720).unwrap_or(default.interval_hours),
        retention: o.field("retention").integer(1..=1_000).unwrap_or(default.retention),
    };
    finish(o);
    spec
}

fn read_addons(at: &Field<'_>) -> Addons {
    let Some(mut o) = at.object() else { return Addons { ingress: true, metrics: true, dns: true } };
    let mut on = |key| o.field(key).boolean().unwrap_or(true);
    let addons = Addons { ingress: on("ingress"), metrics: on("metrics"), dns: on("dns") };
    finish(o);
    addons
}

fn read_registries(at: &Field<'_>) -> Vec<PrivateRegistry> {
    let items = at.items().unwrap_or_default();
    if items.len() > MAX_REGISTRIES {
        at.error(format!("has {} registries; at most {MAX_REGISTRIES} are allowed", items.len()));
    }
    items.iter().filter_map(read_registry).collect()
}

fn read_registry(at: &Field<'_>) -> Option<PrivateRegistry> {
    let mut o = at.object()?;
    let url = o.field("url").required().string().map(ToOwned::to_owned);
    let user = o.field("user").string().map(ToOwned::to_owned);
    let password = o.field("password").string().map(Secret::new);
    let is_default = o.field("is_default").boolean().unwrap_or(false);
    finish(o);
    Some(PrivateRegistry { url: url?, user, password, is_default })
}

fn read_user(at: &Field<'_>) -> Option<String> {
    let user = at.string()?;
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    let ok = user.len() <= 32 && user.starts_with(first) && user.chars().all(rest);
    if !ok {
        at.error(format!("{user:?} is not a user name: use up to 32 characters of a-z, 0-9, '_' and '-', beginning with a letter or '_'"));
        return None;
    }
    Some(user.to_owned())
}
