//! Cluster descriptions that tests send.

use serde_json::{Value, json};

/// A Kubernetes version that the rehearsal offers.
pub const VERSION: &str = "v1.28.12-rancher1-1";

/// A cluster of one node that does everything.
#[must_use]
pub fn single(name: &str, address: &str) -> Value {
    json!({"name": name, "spec": {
        "kubernetes_version": VERSION,
        "nodes": [{"address": address, "roles": ["controlplane", "etcd", "worker"]}],
    }})
}

/// A cluster of one node that no other number has: hosts remember whose they are.
#[must_use]
pub fn nth(name: &str, n: usize) -> Value {
    single(name, &format!("198.18.{}.{}", n / 250, n % 250 + 1))
}

/// A cluster of one control plane node and one worker.
#[must_use]
pub fn with_worker(name: &str, first: &str, worker: &str) -> Value {
    json!({"name": name, "spec": {
        "kubernetes_version": VERSION,
        "nodes": [
            {"address": first, "roles": ["controlplane", "etcd", "worker"]},
            {"address": worker, "roles": ["worker"]},
        ],
    }})
}
