//! The cluster spec as the API's description shows it. What reads it is `domain::cluster::intake`.

#![allow(dead_code, reason = "these types describe a document; another module reads it")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// Desired state of a cluster.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterSpec)]
pub(in super::super) struct Spec {
    /// In RKE's spelling.
    #[schema(example = "v1.30.14-rancher1-1")]
    kubernetes_version: String,
    /// The hosts; at least one with the role `controlplane` and one with `etcd`.
    nodes: Vec<Node>,
    network: Option<Network>,
    etcd_snapshots: Option<EtcdSnapshots>,
    addons: Option<Addons>,
    private_registries: Option<Vec<PrivateRegistry>>,
    profile: Option<Profile>,
    /// User for SSH on nodes that name none.
    #[schema(default = "rancher")]
    ssh_user: Option<String>,
}

/// How far the cluster is hardened; `none` when absent. `cis` is Rancher's hardening guide for RKE: the
/// API's part of it, which asks for sysctls and a user on the hosts, too.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Profile {
    None,
    Cis,
}

/// A host.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    /// Address that the bastion reaches it at: IP or DNS name.
    address: String,
    /// Address that the other nodes reach it at, when it is another one.
    internal_address: Option<String>,
    /// Name in Kubernetes; the address when absent.
    hostname: Option<String>,
    #[schema(default = 22)]
    port: Option<u16>,
    user: Option<String>,
    /// Of `controlplane`, `etcd`, `worker`.
    roles: Vec<NodeRole>,
    labels: Option<BTreeMap<String, String>>,
    /// Objects, or text as `key=value:NoSchedule`.
    taints: Option<Vec<Taint>>,
}

/// What a node does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NodeRole {
    ControlPlane,
    Etcd,
    Worker,
}

/// A taint.
#[derive(Debug, Serialize, ToSchema)]
struct Taint {
    key: String,
    value: Option<String>,
    effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Serialize, ToSchema)]
enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// The cluster's networks; their ranges can never be changed later.
#[derive(Debug, Serialize, ToSchema)]
struct Network {
    plugin: Option<NetworkPlugin>,
    #[schema(default = "10.42.0.0/16")]
    pod_cidr: Option<String>,
    #[schema(default = "10.43.0.0/16")]
    service_cidr: Option<String>,
}

/// The network plugin; `canal` when absent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NetworkPlugin {
    Canal,
    Calico,
    Flannel,
    None,
}

/// Recurring snapshots of etcd.
#[derive(Debug, Serialize, ToSchema)]
struct EtcdSnapshots {
    #[schema(default = true)]
    enabled: Option<bool>,
    #[schema(default = 12, minimum = 1, maximum = 720)]
    interval_hours: Option<u64>,
    #[schema(default = 6, minimum = 1, maximum = 1000)]
    retention: Option<u64>,
}

/// What is deployed into the cluster; all of it when absent.
#[derive(Debug, Serialize, ToSchema)]
struct Addons {
    ingress: Option<bool>,
    metrics: Option<bool>,
    dns: Option<bool>,
}

/// A registry that needs a login, or that stands in for the public one.
#[derive(Debug, Serialize, ToSchema)]
struct PrivateRegistry {
    /// `host[:port][/path]`, without a scheme.
    url: String,
    user: Option<String>,
    /// Never shown again: `***` stands for it. In a change, a password that is left out or `***` is the
    /// one stored under this URL; leave out `user`, too, to end the login.
    #[schema(write_only)]
    password: Option<String>,
    #[schema(default = false)]
    is_default: Option<bool>,
}
