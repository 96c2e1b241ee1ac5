//! What RKE needs of a host, by role: ports, ways to other hosts, versions of Docker. Data.

use std::collections::BTreeSet;

use cratekube_common::domain::cluster::spec::{ClusterSpec, KubernetesVersion, Node, NodeRole};

/// A TCP port that RKE will listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// RKE's container, or the beginning of the name of a pod's container, that may hold it already.
    pub holder: &'static str,
}

const fn port(number: u16, holder: &'static str) -> Port {
    Port { number, holder }
}

const ETCD: [Port; 2] = [port(2379, "etcd"), port(2380, "etcd")];
const CONTROL_PLANE: [Port; 1] = [port(6443, "kube-apiserver")];
/// Secure ports of controller manager and scheduler, from Kubernetes 1.22 the only ones.
const CONTROLLERS: [Port; 2] = [port(10257, "kube-controller-manager"), port(10259, "kube-scheduler")];
/// Where there is no API server a proxy to one listens in its place.
const NO_CONTROL_PLANE: [Port; 1] = [port(6443, "nginx-proxy")];
const EVERY_NODE: [Port; 3] = [port(10250, "kubelet"), port(10248, "kubelet"), port(10256, "kube-proxy")];
const INGRESS: [Port; 2] = [port(80, "k8s_"), port(443, "k8s_")];

/// Ports that RKE will listen on.
#[must_use]
pub fn ports(node: &Node, spec: &ClusterSpec) -> Vec<Port> {
    let mut ports = EVERY_NODE.to_vec();
    if node.has(NodeRole::Etcd) {
        ports.extend(ETCD);
    }
    if node.has(NodeRole::ControlPlane) {
        ports.extend(CONTROL_PLANE);
        ports.extend(CONTROLLERS);
    } else {
        ports.extend(NO_CONTROL_PLANE);
    }
    if node.has(NodeRole::Worker) && spec.addons.ingress {
        ports.extend(INGRESS);
    }
    ports.sort_by_key(|port| port.number);
    ports
}

/// Whether a container may hold a port.
#[must_use]
pub fn holds(port: Port, container: &str) -> bool {
    if port.holder == "k8s_" {
        return container.starts_with("k8s_") && container.contains("ingress");
    }
    // While it is replaced, RKE calls the old one `old-…`.
    container == port.holder || container.strip_prefix("old-") == Some(port.holder)
}

/// Address at which other nodes reach a node.
#[must_use]
pub fn inner_address(node: &Node) -> &str {
    node.internal_address.as_deref().unwrap_or(&node.address)
}

/// What a node must reach on the others, as `address:port`, each once.
#[must_use]
pub fn peers(node: &Node, spec: &ClusterSpec) -> BTreeSet<String> {
    let mut peers = BTreeSet::new();
    for other in spec.nodes.iter().filter(|other| other.address != node.address) {
        let mut need = |port: u16| {
            peers.insert(format!("{}:{port}", inner_address(other)));
        };
        if other.has(NodeRole::ControlPlane) {
            need(6443);
        }
        if other.has(NodeRole::Etcd) && (node.has(NodeRole::Etcd) || node.has(NodeRole::ControlPlane)) {
            need(2379);
        }
        if other.has(NodeRole::Etcd) && node.has(NodeRole::Etcd) {
            need(2380);
        }
        if node.has(NodeRole::ControlPlane) {
            need(10250);
        }
    }
    peers
}

/// Docker before the numbering by years and months ended; every RKE takes these.
const ALWAYS: [(u32, u32); 8] = [(1, 13), (17, 3), (17, 6), (17, 9), (18, 6), (18, 9), (19, 3), (20, 10)];

/// Versions of Docker that RKE takes for a minor version of Kubernetes, as its metadata of 2024 has them,
/// and whether later releases of RKE may have added to them.
#[must_use]
pub fn docker_versions(kubernetes: &KubernetesVersion) -> (Vec<(u32, u32)>, bool) {
    let minor = kubernetes.numbers().1;
    let mut taken = ALWAYS.to_vec();
    if minor >= 23 {
        taken.extend([(23, 0), (24, 0)]);
    }
    if minor >= 25 {
        taken.push((25, 0));
    }
    (taken, minor >= 25)
}

/// What is to be thought of a version of Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// RKE takes it.
    Taken,
    /// Newer than what is known; whether this RKE takes it, only it knows.
    Unknown,
    /// RKE refuses it.
    Refused,
}

/// Judges a version of Docker as `rke up` will.
#[must_use]
pub fn judge_docker(version: &str, kubernetes: &KubernetesVersion) -> Judged {
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return Judged::Unknown };
    let (taken, may_grow) = docker_versions(kubernetes);
    if taken.contains(&(major, minor)) {
        return Judged::Taken;
    }
    let newest = taken.iter().max().copied().unwrap_or_default();
    if may_grow && (major, minor) > newest { Judged::Unknown } else { Judged::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::cluster::intake;
    use serde_json::json;

    fn spec() -> ClusterSpec {
        let node = |address: &str, roles: serde_json::Value| json!({"address": address, "roles": roles});
        intake::read(&json!({
            "kubernetes_version": "v1.28.12-rancher1-1",
            "nodes": [
                node("10.0.0.1", json!(["controlplane", "etcd"])),
                node("10.0.0.2", json!(["etcd"])),
                {"address": "10.0.0.3", "internal_address": "192.168.0.3", "roles": ["worker"]},
            ],
        }))
        .unwrap()
        .0
    }

    #[test]
    fn each_role_needs_its_ports_and_its_ways_to_others() {
        let spec = spec();
        let numbers = |node: usize| -> Vec<u16> { ports(&spec.nodes[node], &spec).iter().map(|p| p.number).collect() };
        assert_eq!(numbers(0), [2379, 2380, 6443, 10248, 10250, 10256, 10257, 10259]);
        assert_eq!(numbers(1), [2379, 2380, 6443, 10248, 10250, 10256]);
        assert_eq!(numbers(2), [80, 443, 6443, 10248, 10250, 10256]);
        let of = |node: usize| peers(&spec.nodes[node], &spec).into_iter().collect::<Vec<_>>();
        assert_eq!(of(0), ["10.0.0.2:10250", "10.0.0.2:2379", "10.0.0.2:2380", "192.168.0.3:10250"]);
        assert_eq!(of(1), ["10.0.0.1:2379", "10.0.0.1:2380", "10.0.0.1:6443"]);
        assert_eq!(of(2), ["10.0.0.1:6443"]);
    }

    #[test]
    fn a_port_may_be_held_by_the_container_that_will_hold_it() {
        assert!(holds(port(2379, "etcd"), "etcd") && holds(port(2379, "etcd"), "old-etcd"));
        assert!(!holds(port(2379, "etcd"), "my-etcd"));
        assert!(holds(INGRESS[0], "k8s_controller_nginx-ingress-controller-x_ingress-nginx_1"));
        assert!(!holds(INGRESS[0], "k8s_web_shop"));
    }

    #[test]
    fn versions_of_docker_are_judged_as_rke_does() {
        let k = |text: &str| text.parse::<KubernetesVersion>().unwrap();
        let old = k("v1.20.15-rancher1-1");
        // Recorded from the real binary.
        assert_eq!(judge_docker("26.1.4-ce+lab0", &old), Judged::Refused);
        for taken in ["1.13.1", "17.03.2-ce", "18.09.9", "20.10.24+dfsg1"] {
            assert_eq!(judge_docker(taken, &old), Judged::Taken, "{taken}");
        }
        assert_eq!(judge_docker("24.0.7", &old), Judged::Refused);
        assert_eq!(judge_docker("24.0.7", &k("v1.23.6-rancher1-1")), Judged::Taken);
        assert_eq!(judge_docker("25.0.1", &k("v1.28.12-rancher1-1")), Judged::Taken);
        assert_eq!(judge_docker("27.3.1", &k("v1.30.14-rancher1-1")), Judged::Unknown);
        assert_eq!(judge_docker("19.02.0", &k("v1.30.14-rancher1-1")), Judged::Refused);
        assert_eq!(judge_docker("dev", &old), Judged::Unknown);
    }
}
