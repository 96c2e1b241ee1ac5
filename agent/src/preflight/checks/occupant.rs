//! Whose cluster a host carries: told by its CA first, by what runs and lies there otherwise.

use cratekube_common::domain::cluster::spec::{Node, NodeRole};
use cratekube_common::domain::failure::FailureClass as Class;

use super::super::docker::DockerFacts;
use super::super::facts::HostFacts;
use super::{Check, Expected};

/// Whose cluster a host carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupant {
    /// Nobody's.
    Nobody,
    /// This one.
    Own,
    /// Perhaps this one: it was built, and the host does not show its CA.
    Untold,
    /// Another one, and how that is known.
    Other(String),
    /// Nobody's, but something was left.
    Left(Vec<String>),
}

/// Tells whose cluster a host carries.
#[must_use]
pub fn occupant(expected: &Expected, facts: &HostFacts, docker: Option<&DockerFacts>) -> Occupant {
    let containers = docker.map(|docker| docker.containers.as_slice()).unwrap_or_default();
    let of_rke: Vec<&str> = containers.iter().filter(|c| c.of_rke).map(|c| c.name.as_str()).collect();
    let ca = docker.and_then(|docker| docker.ca_sha256.as_ref()).or(facts.ca_sha256.as_ref());
    if let Some(ca) = ca {
        let short: String = ca.chars().take(16).collect();
        return match (expected.ca.contains(ca), expected.ca.is_empty()) {
            (true, _) => Occupant::Own,
            (false, true) => Occupant::Other(format!("its CA is {short}…, and this cluster has none yet")),
            (false, false) => Occupant::Other(format!("its CA is {short}…, which is not this cluster's")),
        };
    }
    if let Some(other) = facts.other.first() {
        return Occupant::Other(format!("it was set up by {other}"));
    }
    if !of_rke.is_empty() {
        return match expected.ca.is_empty() {
            true => Occupant::Other(format!("containers of RKE are there: {}", of_rke.join(", "))),
            false => Occupant::Untold,
        };
    }
    let mut left = facts.left.clone();
    let pods = containers.iter().filter(|c| c.name.starts_with("k8s_")).count();
    if pods > 0 {
        left.push(format!("{pods} containers of pods"));
    }
    if left.is_empty() { Occupant::Nobody } else { Occupant::Left(left) }
}

pub(super) fn occupied(node: &Node, facts: &HostFacts, occupant: &Occupant) -> Check {
    const NAME: &str = "leftovers";
    match occupant {
        Occupant::Nobody => Check::ok(NAME, "nothing of another cluster is there"),
        Occupant::Own => Check::ok(NAME, "it carries this cluster"),
        Occupant::Untold => Check::warning(
            NAME,
            "it runs containers of RKE, but does not show which CA they work with",
            "If the host belonged to another cluster before, clean it first.",
        ),
        Occupant::Other(how) => Check::failed(
            NAME,
            Class::Host,
            format!("it carries another cluster: {how}"),
            "Remove that cluster, or clean the host (its Kubernetes and etcd containers, /etc/kubernetes, /var/lib/etcd, /var/lib/kubelet), or take another host: RKE would wait for minutes and fail with certificates that do not fit.",
        ),
        Occupant::Left(left) => {
            let detail = format!("a cluster was here: {} was left", left.join(", "));
            let remedy = "Clean the host; what was left keeps RKE from building, or mixes into the new cluster.";
            match facts.etcd_data && node.has(NodeRole::Etcd) {
                true => Check::failed(NAME, Class::Host, format!("{detail}, also data of etcd"), remedy),
                false => Check::warning(NAME, detail, remedy),
            }
        }
    }
}
