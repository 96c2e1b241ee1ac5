//! Nodes: a node is known by its address. One that goes by the same name at another address is
//! replaced.

use std::collections::BTreeSet;

use cratekube_common::domain::cluster::spec::{Node, NodeRole, TaintEffect};

use super::ChangeClass::{self, Disruptive, Impossible, LosesData, Safe};
use super::Ledger;

/// A node and where it is in its list.
type Placed<'a> = (usize, &'a Node);

pub(super) fn compare(ledger: &mut Ledger, from: &[Node], to: &[Node]) {
    let noted = ledger.changes.len();
    let at = |nodes: &[Node], address: &str| nodes.iter().position(|node| node.address == address);
    let mut replaced = BTreeSet::new();
    for (j, wanted) in to.iter().enumerate() {
        if let Some(i) = at(from, &wanted.address) {
            compare_node(ledger, (i, &from[i]), (j, wanted));
            continue;
        }
        let same_name = |node: &Node| node.hostname.is_some() && node.hostname == wanted.hostname;
        let old = from.iter().enumerate().find(|(_, node)| same_name(node) && at(to, &node.address).is_none());
        match old {
            Some((i, old)) => {
                replaced.insert(i);
                let places = (format!("/nodes/{i}/address"), format!("/nodes/{j}/address"));
                let because =
                    "The host is replaced: the node is taken out at its old address and built anew at the new one.";
                ledger.moved((&places.0, &places.1), Disruptive, because);
                compare_node(ledger, (i, old), (j, wanted));
            }
            None => {
                let (class, because) = arrival(wanted);
                ledger.added(&format!("/nodes/{j}"), class, because);
            }
        }
    }
    for (i, gone) in from.iter().enumerate() {
        if at(to, &gone.address).is_none() && !replaced.contains(&i) {
            ledger.removed(&format!("/nodes/{i}"), Disruptive, departure(gone));
        }
    }
    compare_planes(ledger, from, to);
    if from != to && ledger.changes.len() == noted {
        ledger.note("/nodes", Safe, "Only the order is another.");
    }
}

fn arrival(node: &Node) -> (ChangeClass, &'static str) {
    if node.has(NodeRole::Etcd) {
        (Disruptive, "etcd gets a member; its members and the API restart one after the other.")
    } else if node.has(NodeRole::ControlPlane) {
        (Disruptive, "The control plane grows; every node's way to the API restarts.")
    } else {
        (Safe, "A worker joins beside those that run.")
    }
}

fn departure(node: &Node) -> &'static str {
    if node.has(NodeRole::Etcd) {
        "A member leaves etcd, and its host is cleaned; pods that ran there start elsewhere, what they kept on the host is gone."
    } else if node.has(NodeRole::ControlPlane) {
        "A node leaves the control plane, and its host is cleaned; pods that ran there start elsewhere."
    } else {
        "The worker is taken out and its host is cleaned; its pods start elsewhere, what they kept on the host is gone."
    }
}

/// What the changes come to for etcd and the control plane as a whole. Only a node that has the role
/// before and after carries it over.
fn compare_planes(ledger: &mut Ledger, from: &[Node], to: &[Node]) {
    for role in [NodeRole::ControlPlane, NodeRole::Etcd] {
        let stays = |node: &&Node| to.iter().any(|wanted| wanted.address == node.address && wanted.has(role));
        let members: Vec<&Node> = from.iter().filter(|node| node.has(role)).collect();
        let staying = members.iter().copied().filter(stays).count();
        if members.is_empty() || staying == members.len() {
            continue;
        }
        if staying == 0 {
            let because = format!(
                "No node with the role {role} stays, and what they know would be gone: add the new ones first, and take the old ones away in a later change."
            );
            ledger.note("/nodes", Impossible, because);
        } else if role == NodeRole::Etcd && staying * 2 <= members.len() {
            let because = format!(
                "Only {staying} of {} members of etcd stay, less than its quorum: if one of them fails meanwhile, the data is lost. Take a snapshot first, or remove one member at a time.",
                members.len()
            );
            ledger.note("/nodes", LosesData, because);
        }
    }
}

fn compare_node(ledger: &mut Ledger, (i, from): Placed<'_>, (j, to): Placed<'_>) {
    let Node { address, internal_address, hostname, port, user, roles, labels, taints } = from;
    let mut note = |key: &str, class, because: &str| {
        let places = (format!("/nodes/{i}/{key}"), format!("/nodes/{j}/{key}"));
        ledger.moved((&places.0, &places.1), class, because);
    };
    let moves = *address != to.address;
    if *internal_address != to.internal_address {
        let holds = reached(from) == reached(to);
        let (class, because) = match (holds, moves) {
            (true, _) => (Safe, "It says what holds already."),
            (false, true) => (Disruptive, "It changes with the host."),
            (false, false) if from.has(NodeRole::Etcd) => {
                (Impossible, "etcd knows its member by this address: remove the node, apply that, and add it again.")
            }
            (false, false) => (Disruptive, "The node's components restart and are reached at the new address."),
        };
        note("internal_address", class, because);
    }
    if *hostname != to.hostname {
        let (class, because) = if from.kubernetes_name() == to.kubernetes_name() {
            (Safe, "It says what holds already.")
        } else {
            (
                Impossible,
                "Kubernetes would see another node and keep the old one: remove the node, apply that, and add it again.",
            )
        };
        note("hostname", class, because);
    }
    if *port != to.port {
        note("port", Safe, "It is used from the next run on.");
    }
    if *user != to.user {
        note("user", Safe, "It is used from the next run on.");
    }
    if *roles != to.roles {
        note("roles", Disruptive, "What the node does changes: its components are started and stopped, and pods move.");
    }
    if *labels != to.labels {
        note("labels", Safe, "Labels are set on the node; what runs there stays.");
    }
    if *taints != to.taints {
        let evicts =
            |n: &Node| n.taints.iter().filter(|t| t.effect == TaintEffect::NoExecute).cloned().collect::<Vec<_>>();
        let known = evicts(from);
        if evicts(to).iter().any(|taint| !known.contains(taint)) {
            note("taints", Disruptive, "Pods that do not tolerate the new taint are evicted.");
        } else {
            note("taints", Safe, "Taints are set on the node; what runs there stays.");
        }
    }
}

/// The address that the other nodes reach it at.
fn reached(node: &Node) -> &str {
    node.internal_address.as_deref().unwrap_or(&node.address)
}
