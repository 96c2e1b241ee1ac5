//! What follows from what was found: for each host a list of checks. Pure.
//!
//! - [`access`]: whether it can be worked on, and its Docker used.
//! - [`machine`]: its disks, clock, swap, and that it is itself.
//! - [`network`]: its ports, and its ways to other hosts.
//! - [`mod@occupant`]: whose cluster it carries.

mod access;
mod machine;
mod network;
pub mod occupant;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cratekube_common::domain::cluster::preflight::Grade;
use cratekube_common::domain::cluster::spec::{ClusterSpec, Node};
use cratekube_common::domain::failure::FailureClass as Class;
use cratekube_common::domain::time::Timestamp;
use serde::Serialize;

use self::occupant::{Occupant, occupant};
use super::docker::{DockerFacts, DockerFault};
use super::facts::{HostFacts, ProbeFault};
use super::needs;
use crate::ssh::SshFault;
use crate::ssh::known::HostRecord;

/// One thing that was looked at on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at; stable, for programs.
    pub name: &'static str,
    /// How it went.
    pub result: Grade,
    /// What was found, in a sentence.
    pub detail: String,
    /// Class of the failure, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// What to do, unless it is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Whether waiting can help.
    #[serde(skip)]
    pub retryable: bool,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, result: Grade::Ok, detail: detail.into(), class: None, remedy: None, retryable: false }
    }

    fn warning(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { result: Grade::Warning, remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }

    fn failed(name: &'static str, class: Class, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { result: Grade::Failed, class: Some(class), remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }

    fn ssh(name: &'static str, fault: &SshFault) -> Self {
        let failed = Self::failed(name, fault.class(), fault.to_string(), fault.remedy());
        Self { retryable: fault.retryable(), ..failed }
    }
}

/// What was found on a host that could be logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says of itself.
    pub facts: Result<HostFacts, ProbeFault>,
    /// What its Docker says.
    pub docker: Result<DockerFacts, DockerFault>,
    /// Whether sshd forwards connections.
    pub forwarding: Result<(), SshFault>,
    /// The key on record before, when it shows another one and nothing was built yet.
    pub exchanged: Option<HostRecord>,
    /// The bastion's clock before the probe.
    pub sent: Timestamp,
    /// The bastion's clock after the probe.
    pub received: Timestamp,
}

/// A host and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// Its node in the spec.
    pub node: &'a Node,
    /// What was found.
    pub found: Result<Found, SshFault>,
}

impl Host<'_> {
    fn facts(&self) -> Option<&HostFacts> {
        self.found.as_ref().ok()?.facts.as_ref().ok()
    }
}

/// What is known of the cluster before it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Fingerprints of its CA: none before it was built, two while a rotation is under way.
    pub ca: Vec<String>,
}

/// Looks at all hosts and judges each; in the order of the hosts.
#[must_use]
pub fn judge(spec: &ClusterSpec, expected: &Expected, hosts: &[Host<'_>]) -> Vec<Vec<Check>> {
    let all = Together::of(hosts);
    hosts.iter().map(|host| judge_host(spec, expected, &all, host)).collect()
}

/// What can only be seen of all hosts together.
struct Together<'a> {
    boots: BTreeMap<&'a str, Vec<&'a str>>,
    machines: BTreeMap<&'a str, Vec<&'a str>>,
    names: BTreeMap<&'a str, Vec<&'a str>>,
    /// Inner addresses of hosts that could not be logged in to.
    absent: BTreeSet<&'a str>,
    /// How many clocks were read, and how many of them agree that the bastion's is off by so much.
    bastion_is_off: bool,
}

impl<'a> Together<'a> {
    fn of(hosts: &'a [Host<'a>]) -> Self {
        let (mut boots, mut machines, mut names) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for host in hosts {
            let Some(facts) = host.facts() else { continue };
            let note = |map: &mut BTreeMap<&'a str, Vec<&'a str>>, key: &'a str| {
                if !key.is_empty() {
                    map.entry(key).or_default().push(&host.node.address);
                }
            };
            note(&mut boots, &facts.boot_id);
            note(&mut machines, &facts.machine_id);
            note(&mut names, &facts.hostname);
        }
        let skews: Vec<i64> = hosts.iter().filter_map(|host| machine::skew(host.found.as_ref().ok()?)).collect();
        let agree =
            skews.iter().max().zip(skews.iter().min()).is_some_and(|(most, least)| most - least <= machine::SKEW_LEAST);
        let off = skews.len() > 1 && agree && skews.iter().all(|skew| skew.abs() > machine::SKEW_LEAST);
        let absent = hosts.iter().filter(|host| host.found.is_err());
        Self {
            boots,
            machines,
            names,
            absent: absent.map(|host| needs::inner_address(host.node)).collect(),
            bastion_is_off: off,
        }
    }
}

fn judge_host(spec: &ClusterSpec, expected: &Expected, all: &Together<'_>, host: &Host<'_>) -> Vec<Check> {
    let found = match &host.found {
        Err(fault) => return vec![Check::ssh("ssh", fault)],
        Ok(found) => found,
    };
    let mut checks = vec![access::login(found), access::forwarding(found)];
    checks.extend(access::docker(spec, found));
    match &found.facts {
        Err(fault) => checks.push(Check::failed(
            "probe",
            Class::Host,
            fault.to_string(),
            "Give the SSH user an ordinary shell (`usermod -s /bin/sh USER`), without a forced command.",
        )),
        Ok(facts) => {
            let docker = found.docker.as_ref().ok();
            let occupant = occupant(expected, facts, docker);
            checks.extend(machine::disks(host.node, facts, matches!(occupant, Occupant::Own)));
            checks.push(machine::clock(found, all));
            checks.push(network::ports(spec, host.node, facts, docker));
            checks.push(network::reach(spec, host.node, facts, all));
            checks.push(machine::swap(facts));
            checks.push(machine::unique(host.node, facts, all));
            checks.push(occupant::occupied(host.node, facts, &occupant));
        }
    }
    checks
}
