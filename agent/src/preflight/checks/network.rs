//! A host among others: the ports that RKE will listen on there, and its ways to the ports of others.

use cratekube_common::domain::cluster::spec::{ClusterSpec, Node};
use cratekube_common::domain::failure::FailureClass as Class;

use super::super::docker::DockerFacts;
use super::super::facts::{HostFacts, Reach};
use super::super::needs;
use super::{Check, Together};

/// Most ways to other hosts that a sentence names.
const MOST_NAMED: usize = 5;

pub(super) fn ports(spec: &ClusterSpec, node: &Node, facts: &HostFacts, docker: Option<&DockerFacts>) -> Check {
    let Some(listening) = &facts.listening else {
        return Check::warning("ports", "the ports in use cannot be told", "See that /proc/net/tcp can be read.");
    };
    let (mut own, mut taken) = (0, Vec::new());
    for port in needs::ports(node, spec).into_iter().filter(|port| listening.contains(&port.number)) {
        match docker {
            Some(docker) if docker.runs(|name| needs::holds(port, name)) => own += 1,
            _ => taken.push(port.number.to_string()),
        }
    }
    let list = taken.join(", ");
    match (taken.is_empty(), docker) {
        (true, _) if own > 0 => Check::ok("ports", format!("free, or held by RKE's own containers ({own})")),
        (true, _) => Check::ok("ports", "all that RKE needs are free"),
        (false, None) => Check::warning(
            "ports",
            format!("in use: {list}; by whom cannot be told without Docker"),
            "Mend the access to Docker first.",
        ),
        (false, Some(_)) => Check::failed(
            "ports",
            Class::Host,
            format!("in use by something that is not RKE's: {list}"),
            "Stop what listens there (`ss -ltnp` names it): RKE needs these ports.",
        ),
    }
}

pub(super) fn reach(spec: &ClusterSpec, node: &Node, facts: &HostFacts, all: &Together<'_>) -> Check {
    let needed = needs::peers(node, spec);
    if needed.is_empty() {
        return Check::ok("reach", "it needs no other host");
    }
    if let Some(why) = &facts.reach_untested {
        let remedy = "RKE will try it itself; install bash and coreutils to know before.";
        return Check::warning("reach", format!("the ways to other hosts were not tried: {why}"), remedy);
    }
    let of_absent = |peer: &str| peer.rsplit_once(':').is_some_and(|(address, _)| all.absent.contains(address));
    let mut blocked = Vec::new();
    let mut untold = 0;
    for peer in needed.iter().filter(|peer| !of_absent(peer)) {
        match facts.reach.get(peer) {
            Some(Reach::Open | Reach::Refused) => {}
            Some(Reach::Silent) => blocked.push(format!("{peer} does not answer")),
            Some(Reach::Unreachable) => blocked.push(format!("{peer} cannot be reached")),
            Some(Reach::Unresolved) => blocked.push(format!("{peer} is not known there")),
            None => untold += 1,
        }
    }
    if blocked.is_empty() && untold == 0 {
        return Check::ok("reach", format!("reaches the ports that it needs on other hosts ({})", needed.len()));
    }
    if blocked.is_empty() {
        let detail = format!("{untold} ways to other hosts could not be tried");
        return Check::warning("reach", detail, "RKE will try them itself.");
    }
    let more = blocked.len().saturating_sub(MOST_NAMED);
    blocked.truncate(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Check::failed(
        "reach",
        Class::Network,
        format!("from here {}{more}", blocked.join(", ")),
        "Let the cluster's hosts reach each other on these ports: security groups, firewalls, and `internal_address` in the spec.",
    )
}
