//! A cluster spec as RKE's `cluster.yml`.
//!
//! The document is made of the spec alone, never of a user's bytes, and the same spec gives the same
//! bytes. Everything that RKE would otherwise choose by its own release is written out.
//!
//! Not here: `ignore_docker_version`, which RKE accepts in the file and ignores; it works only as a
//! flag. And no field that is code or reads a file of the bastion, but for the key chosen by the
//! agent's operator.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{harden, yaml};
use crate::domain::cluster::spec::{ClusterSpec, Node, PrivateRegistry};

/// Seconds that an add-on's job may take. RKE's 45 are too short where images are pulled first.
const ADDON_JOB_TIMEOUT_SECONDS: u64 = 300;

const HEADER: &str = "# Written by CrateKube's agent from the cluster's spec; changes made here are lost.\n";

/// How RKE logs in to the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshAccess {
    /// With a private key that the bastion has as a file.
    Key {
        /// Its path, as `rke` sees it.
        path: String,
    },
    /// With the keys of the SSH agent that `SSH_AUTH_SOCK` names.
    Agent,
    /// As the agent is set up: for those who show the document and do not run it.
    Untold,
}

/// Renders `cluster.yml`.
#[must_use]
pub fn cluster_yml(spec: &ClusterSpec, cluster_name: &str, access: &SshAccess) -> String {
    format!("{HEADER}{}", yaml::emit(&document(spec, cluster_name, access)))
}

fn document(spec: &ClusterSpec, cluster_name: &str, access: &SshAccess) -> Value {
    let mut document = json!({
        "cluster_name": cluster_name,
        "kubernetes_version": spec.kubernetes_version.as_str(),
        "nodes": spec.nodes.iter().map(|n| node(n, &spec.ssh_user)).collect::<Vec<_>>(),
        "services": services(spec),
        "network": {"plugin": spec.network.plugin},
        "ingress": {"provider": provider(spec.addons.ingress, "nginx")},
        "monitoring": {"provider": provider(spec.addons.metrics, "metrics-server")},
        "dns": {"provider": provider(spec.addons.dns, "coredns")},
        "addon_job_timeout": ADDON_JOB_TIMEOUT_SECONDS,
    });
    if !spec.private_registries.is_empty() {
        document["private_registries"] = spec.private_registries.iter().map(registry).collect();
    }
    match access {
        SshAccess::Key { path } => document["ssh_key_path"] = json!(path),
        SshAccess::Agent => document["ssh_agent_auth"] = json!(true),
        SshAccess::Untold => {}
    }
    document
}

fn node(node: &Node, ssh_user: &str) -> Value {
    let mut document = json!({
        "address": node.address,
        // RKE's type is a string.
        "port": node.port.to_string(),
        "user": node.user.as_deref().unwrap_or(ssh_user),
        "role": node.roles,
    });
    if let Some(address) = &node.internal_address {
        document["internal_address"] = json!(address);
    }
    if let Some(name) = &node.hostname {
        document["hostname_override"] = json!(name);
    }
    if !node.labels.is_empty() {
        document["labels"] = json!(node.labels);
    }
    if !node.taints.is_empty() {
        let taint =
            |t: &crate::domain::cluster::spec::Taint| json!({"key": t.key, "value": t.value, "effect": t.effect});
        document["taints"] = node.taints.iter().map(taint).collect();
    }
    document
}

fn services(spec: &ClusterSpec) -> Value {
    let (pods, services) = (spec.network.pod_cidr.to_string(), spec.network.service_cidr.to_string());
    let mut document = json!({
        "etcd": {
            // The legacy recurring snapshots; `backup_config` replaces them.
            "snapshot": false,
            "backup_config": {
                "enabled": spec.etcd_snapshots.enabled,
                // Written even when disabled: without them a snapshot on request fails.
                "interval_hours": spec.etcd_snapshots.interval_hours,
                "retention": spec.etcd_snapshots.retention,
            },
        },
        "kube-api": {"service_cluster_ip_range": services},
        "kube-controller": {"cluster_cidr": pods, "service_cluster_ip_range": services},
        "kubelet": {"cluster_dns_server": dns_address(spec.network.service_cidr).to_string()},
        // The host's own limit stays: kube-proxy would write a kernel setting for the whole host, and it
        // does not start where it may not (hosts in containers, hardened ones).
        "kubeproxy": {"extra_args": {"conntrack-max-per-core": "0"}},
    });
    harden::harden(&mut document, spec);
    document
}

/// The tenth address of the service network, where RKE puts DNS by convention.
fn dns_address(services: ipnet::Ipv4Net) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(services.network().to_bits().saturating_add(10))
}

fn provider(wanted: bool, name: &'static str) -> &'static str {
    if wanted { name } else { "none" }
}

fn registry(registry: &PrivateRegistry) -> Value {
    let mut document = json!({"url": registry.url, "is_default": registry.is_default});
    if let Some(user) = &registry.user {
        document["user"] = json!(user);
    }
    if let Some(password) = &registry.password {
        document["password"] = json!(password.expose());
    }
    document
}
