//! Desired state of a cluster: the typed description that a user sends.
//!
//! There is no field here through which text becomes code or names a file of the bastion
//! (`addons_include`, `ssh_key_path`, `extra_binds`, …): see `hostile.md` F5. JSON is written by
//! [`ClusterSpec::to_json`] and read by `intake`, the only two ways between text and value.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::domain::secret::{MASK, Secret};
use crate::domain::spelled;

/// Default CIDR of pods; the one RKE documents.
pub const DEFAULT_POD_CIDR: &str = "10.42.0.0/16";
/// Default CIDR of services; the one RKE documents.
pub const DEFAULT_SERVICE_CIDR: &str = "10.43.0.0/16";
/// Default user for SSH: what Rancher's own images use.
pub const DEFAULT_SSH_USER: &str = "rancher";
/// Default port for SSH.
pub const DEFAULT_SSH_PORT: u16 = 22;
/// Hours between snapshots of etcd: RKE's recommendation of twice a day.
pub const DEFAULT_SNAPSHOT_INTERVAL_HOURS: u64 = 12;
/// Snapshots kept: three days of them.
pub const DEFAULT_SNAPSHOT_RETENTION: u64 = 6;

spelled! {
    /// What a node does.
    pub enum NodeRole {
        /// Runs the Kubernetes API and controllers.
        ControlPlane = "controlplane",
        /// Runs etcd.
        Etcd = "etcd",
        /// Runs workloads.
        Worker = "worker",
    }
}

spelled! {
    /// The network plugin.
    pub enum NetworkPlugin {
        /// Calico policies over flannel; RKE's default.
        Canal = "canal",
        /// Calico.
        Calico = "calico",
        /// Flannel; no network policies.
        Flannel = "flannel",
        /// None; you deploy one yourself.
        None = "none",
    }
}

spelled! {
    /// What a taint does to pods that do not tolerate it.
    pub enum TaintEffect {
        /// They are not scheduled here.
        NoSchedule = "NoSchedule",
        /// They are rather scheduled elsewhere.
        PreferNoSchedule = "PreferNoSchedule",
        /// They are evicted.
        NoExecute = "NoExecute",
    }
}

spelled! {
    /// How far the cluster is hardened.
    pub enum Profile {
        /// As RKE builds it.
        None = "none",
        /// As Rancher's hardening guide for RKE says, so that the CIS benchmark passes.
        Cis = "cis",
    }
}

/// A Kubernetes version as RKE names it: `v1.30.14-rancher1-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion(String);

impl KubernetesVersion {
    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Major, minor and patch.
    #[must_use]
    pub fn numbers(&self) -> (u32, u32, u32) {
        let (major, minor, patch, _, _) = self.order();
        (major, minor, patch)
    }

    /// Everything that tells which of two versions is newer: major, minor, patch, Rancher's build and
    /// its revision.
    #[must_use]
    pub fn order(&self) -> (u32, u32, u32, u32, u32) {
        let number = |n: &str| n.trim_start_matches("rancher").parse().unwrap_or(0);
        let mut numbers = self.0[1..].split(['.', '-']).map(number);
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next(), next(), next(), next())
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for KubernetesVersion {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |s: &str| !s.is_empty() && s.len() <= 4 && s.bytes().all(|b| b.is_ascii_digit());
        let well_formed = || {
            let (core, build) = text.strip_prefix('v')?.split_once("-rancher")?;
            let (rancher, revision) = build.split_once('-')?;
            let mut core = core.split('.');
            let three = number(core.next()?) && number(core.next()?) && number(core.next()?) && core.next().is_none();
            (three && number(rancher) && number(revision)).then_some(())
        };
        well_formed().map(|()| Self(text.to_owned())).ok_or_else(|| {
            format!("{text:?} is not a version that RKE knows: write it as `v1.30.14-rancher1-1` (`rke config --list-version --all` shows them)")
        })
    }
}

/// A taint: `key=value:Effect` in RKE's own order of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Label-like key.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

/// A host that is, or is to be, part of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Address that the bastion reaches it at: IP or DNS name.
    pub address: String,
    /// Address that the other nodes reach it at, when it is another one.
    pub internal_address: Option<String>,
    /// Name in Kubernetes; the address when absent.
    pub hostname: Option<String>,
    /// Port of SSH.
    pub port: u16,
    /// User for SSH; the cluster's `ssh_user` when absent.
    pub user: Option<String>,
    /// What it does; never empty, no repeats, in the order of [`NodeRole`].
    pub roles: Vec<NodeRole>,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints.
    pub taints: Vec<Taint>,
}

impl Node {
    /// True when the node has the role.
    #[must_use]
    pub fn has(&self, role: NodeRole) -> bool {
        self.roles.contains(&role)
    }

    /// The node's name in Kubernetes.
    #[must_use]
    pub fn kubernetes_name(&self) -> &str {
        self.hostname.as_deref().unwrap_or(&self.address)
    }
}

/// The cluster's networks. CIDRs can never be changed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The plugin.
    pub plugin: NetworkPlugin,
    /// Addresses of pods.
    pub pod_cidr: ipnet::Ipv4Net,
    /// Addresses of services.
    pub service_cidr: ipnet::Ipv4Net,
}

/// Recurring snapshots of etcd on the etcd nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSnapshots {
    /// Whether they are taken.
    pub enabled: bool,
    /// Hours between two.
    pub interval_hours: u64,
    /// How many are kept.
    pub retention: u64,
}

/// What RKE deploys into the cluster besides the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addons {
    /// The nginx ingress controller.
    pub ingress: bool,
    /// The metrics server.
    pub metrics: bool,
    /// CoreDNS.
    pub dns: bool,
}

/// A registry that needs a login, or that stands in for the public one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateRegistry {
    /// Host and path, without scheme.
    pub url: String,
    /// User, when it needs a login.
    pub user: Option<String>,
    /// Password; write-only in the API.
    pub password: Option<Secret>,
    /// Whether RKE's own images are pulled from here.
    pub is_default: bool,
}

/// Desired state of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    /// Kubernetes version, in RKE's spelling. Mandatory: RKE's default changes with its release.
    pub kubernetes_version: KubernetesVersion,
    /// The hosts.
    pub nodes: Vec<Node>,
    /// The networks.
    pub network: Network,
    /// Snapshots of etcd.
    pub etcd_snapshots: EtcdSnapshots,
    /// Add-ons.
    pub addons: Addons,
    /// Registries.
    pub private_registries: Vec<PrivateRegistry>,
    /// Hardening.
    pub profile: Profile,
    /// User for SSH on nodes that name none.
    pub ssh_user: String,
}

/// Whether a document shows secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As they are: for the agent, over mTLS.
    Reveal,
    /// [`MASK`] in their place: for everyone else.
    Mask,
}

impl ClusterSpec {
    /// The spec as a JSON document; `intake::read` reads it back.
    #[must_use]
    pub fn to_json(&self, secrets: Secrets) -> Value {
        json!({
            "kubernetes_version": self.kubernetes_version.as_str(),
            "nodes": self.nodes.iter().map(node_json).collect::<Vec<_>>(),
            "network": {
                "plugin": self.network.plugin,
                "pod_cidr": self.network.pod_cidr.to_string(),
                "service_cidr": self.network.service_cidr.to_string(),
            },
            "etcd_snapshots": {
                "enabled": self.etcd_snapshots.enabled,
                "interval_hours": self.etcd_snapshots.interval_hours,
                "retention": self.etcd_snapshots.retention,
            },
            "addons": {
                "ingress": self.addons.ingress,
                "metrics": self.addons.metrics,
                "dns": self.addons.dns,
            },
            "private_registries": self.private_registries.iter().map(|r| registry_json(r, secrets)).collect::<Vec<_>>(),
            "profile": self.profile,
            "ssh_user": self.ssh_user,
        })
    }

    /// Takes the secrets out, leaving [`MASK`]: what is stored beside the spec, encrypted.
    pub fn take_secrets(&mut self) -> SpecSecrets {
        let mask = |registry: &mut PrivateRegistry| {
            registry.password.as_mut().map(|password| std::mem::replace(password, Secret::new(MASK)))
        };
        SpecSecrets { registry_passwords: self.private_registries.iter_mut().map(mask).collect() }
    }

    /// Puts the secrets back that [`Self::take_secrets`] took out.
    pub fn put_secrets(&mut self, secrets: SpecSecrets) {
        for (registry, password) in self.private_registries.iter_mut().zip(secrets.registry_passwords) {
            registry.password = password;
        }
    }

    /// Takes over the passwords that a change does not send. A registry keeps the password that is
    /// stored under its URL when it names a user and leaves the password out, or sends [`MASK`].
    /// Leaving out the user, too, ends the login.
    pub fn inherit_secrets(&mut self, stored: &Self) {
        for registry in self.private_registries.iter_mut().filter(|registry| registry.user.is_some()) {
            let unsaid = registry.password.as_ref().is_none_or(|password| password.expose() == MASK);
            let known = stored.private_registries.iter().find(|known| known.url == registry.url);
            if let Some(password) = known.and_then(|known| known.password.clone()).filter(|_| unsaid) {
                registry.password = Some(password);
            }
        }
    }

    /// Nodes that have a role.
    pub fn nodes_with(&self, role: NodeRole) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.has(role))
    }
}

/// The secrets of a spec, by position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecSecrets {
    /// Password of each private registry.
    pub registry_passwords: Vec<Option<Secret>>,
}

impl SpecSecrets {
    /// True when there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registry_passwords.iter().all(Option::is_none)
    }
}

fn node_json(node: &Node) -> Value {
    let taint = |t: &Taint| json!({"key": t.key, "value": t.value, "effect": t.effect});
    let mut document = json!({
        "address": node.address,
        "port": node.port,
        "roles": node.roles,
        "labels": node.labels,
        "taints": node.taints.iter().map(taint).collect::<Vec<_>>(),
    });
    let optional = [("internal_address", &node.internal_address), ("hostname", &node.hostname), ("user", &node.user)];
    for (key, value) in optional {
        if let Some(value) = value {
            document[key] = json!(value);
        }
    }
    document
}

fn registry_json(registry: &PrivateRegistry, secrets: Secrets) -> Value {
    let mut document = json!({"url": registry.url, "is_default": registry.is_default});
    if let Some(user) = &registry.user {
        document["user"] = json!(user);
    }
    if let Some(password) = &registry.password {
        document["password"] = match secrets {
            Secrets::Reveal => json!(password.expose()),
            Secrets::Mask => json!(MASK),
        };
    }
    document
}
