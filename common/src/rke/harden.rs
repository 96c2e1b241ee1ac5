//! What Rancher's hardening guide for RKE adds to `cluster.yml`.
//!
//! The guide differs by Kubernetes version in one thing: pods are bound by security policies before
//! 1.25, and by the admission configuration `restricted` (RKE exempts `ingress-nginx` and
//! `kube-system` from it) from there on.
//!
//! Not here: what the guide asks of the hosts (`domain::cluster::check` warns of it), and what it asks
//! of every namespace once the cluster runs.

use serde_json::{Value, json};

use crate::domain::cluster::check::ETCD_ID;
use crate::domain::cluster::spec::{ClusterSpec, KubernetesVersion, Profile};

/// First minor version without pod security policies.
const WITHOUT_POD_SECURITY_POLICIES: (u32, u32) = (1, 25);
/// The kubelet renews its serving certificate, and the controller manager signs it.
const ROTATE_SERVING_CERTIFICATE: &str = "RotateKubeletServerCertificate=true";

/// Adds to a document's `services` what the spec's profile asks for.
pub(super) fn harden(services: &mut Value, spec: &ClusterSpec) {
    if spec.profile != Profile::Cis {
        return;
    }
    services["etcd"]["uid"] = json!(ETCD_ID);
    services["etcd"]["gid"] = json!(ETCD_ID);
    let api = &mut services["kube-api"];
    api["secrets_encryption_config"] = json!({"enabled": true});
    api["audit_log"] = audit_log();
    api["event_rate_limit"] = event_rate_limit();
    if has_pod_security_policies(&spec.kubernetes_version) {
        api["pod_security_policy"] = json!(true);
    } else {
        api["pod_security_configuration"] = json!("restricted");
    }
    services["kube-controller"]["extra_args"] = json!({"feature-gates": ROTATE_SERVING_CERTIFICATE});
    services["kubelet"]["extra_args"] = json!({"feature-gates": ROTATE_SERVING_CERTIFICATE});
    services["kubelet"]["generate_serving_certificate"] = json!(true);
}

fn has_pod_security_policies(version: &KubernetesVersion) -> bool {
    let (major, minor, _) = version.numbers();
    (major, minor) < WITHOUT_POD_SECURITY_POLICIES
}

/// Thirty days, ten files of 100 MB, who did what but not with which content.
fn audit_log() -> Value {
    json!({
        "enabled": true,
        "configuration": {
            "max_age": 30,
            "max_backup": 10,
            "max_size": 100,
            "path": "/var/log/kube-audit/audit-log.json",
            "format": "json",
            "policy": {
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "rules": [{"level": "Metadata"}],
            },
        },
    })
}

fn event_rate_limit() -> Value {
    json!({
        "enabled": true,
        "configuration": {
            "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
            "kind": "Configuration",
            "limits": [{"type": "Server", "qps": 5_000, "burst": 20_000}],
        },
    })
}
