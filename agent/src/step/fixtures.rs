//! Inputs of steps, for tests.

#![allow(unreachable_pub, clippy::unwrap_used)]

use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::task::TaskKind;
use uuid::Uuid;

use super::{StepInput, StepSettings};

/// What a step of a kind is told about a cluster of one node.
pub fn step_input(kind: TaskKind) -> StepInput {
    let spec = serde_json::json!({
        "kubernetes_version": "v1.28.12-rancher1-1",
        "nodes": [{"address": "192.0.2.1", "roles": ["controlplane", "etcd", "worker"]}],
        "private_registries": [{"url": "registry.example", "user": "u", "password": "hunter2-canary"}],
    });
    let id = Uuid::from_u128(7);
    StepInput {
        kind,
        environment: "prod".parse().unwrap(),
        name: "blue".parse().unwrap(),
        cluster: id.into(),
        operation: id.into(),
        attempt: id.into(),
        spec: intake::read(&spec).unwrap().0,
        working: "/nowhere".into(),
        run_dir: "/nowhere/run".into(),
        settings: StepSettings::default(),
        input: serde_json::Value::Null,
    }
}
