//! What is in a cluster that is removed, and the steps on it.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use cratekube_agent::kube::configure;
use cratekube_agent::kube::removal::{freeze, record, release};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::step::StepOutcome;
use cratekube_tests::cluster_api::ClusterApi;
use serde_json::{Value, json};

use super::support::{Built, HOST};

pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
pub const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";

pub fn service(name: &str, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": kind, "ports": [{"port": 80}]}})
}

pub fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}})
}

pub fn ingress(name: &str, class: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ingressClassName": class, "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}})
}

pub fn pod(name: &str, claim: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "containers": [{"name": "c", "image": "x"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
}

/// Fills a cluster with what holds objects in the cloud, and with what holds none.
pub fn fill(api: &ClusterApi) {
    for object in [
        service("web", "LoadBalancer"),
        service("inner", "ClusterIP"),
        ingress("shop", "alb"),
        ingress("plain", "nginx"),
        claim("data"),
        claim("spare"),
        pod("db-0", "data"),
    ] {
        api.write(HOST, object);
    }
}

/// Names of the objects of a kind.
pub fn names(api: &ClusterApi, group: &str, plural: &str) -> Vec<String> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    api.list(HOST, group, plural).iter().map(name).collect()
}

/// One request of a user; its status.
pub fn ask(api: &ClusterApi, method: &str, path: &str, body: &Value) -> u16 {
    api.ask(HOST, "somebody", method, path, body).unwrap().0
}

/// Does a step in this process.
pub async fn step(built: &Built, kind: TaskKind, asked: &Value) -> StepOutcome {
    let input = built.input(kind, asked.clone());
    match kind {
        TaskKind::Configure => configure::run(&input, &built.said).await,
        TaskKind::Freeze => freeze::run(&input, &built.said).await,
        TaskKind::Record => record::run(&input, &built.said).await,
        TaskKind::Release => release::run(&input, &built.said).await,
        other => panic!("{other}"),
    }
}
