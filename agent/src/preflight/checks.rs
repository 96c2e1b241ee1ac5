//! What follows from what was found: for each host a list of checks. Pure.

use std::collections::{BTreeMap, BTreeSet};

use cratekube_common::domain::cluster::spec::{ClusterSpec, Node, NodeRole};
use cratekube_common::domain::failure::FailureClass as Class;
use cratekube_common::domain::time::Timestamp;
use serde::Serialize;

use super::docker::{DockerFacts, DockerFault};
use super::facts::{Disk, HostFacts, ProbeFault, Reach, Socket};
use super::needs::{self, Judged};
use crate::ssh::SshFault;
use crate::ssh::known::HostRecord;

const MIB: u64 = 1024;
const GIB: u64 = 1024 * MIB;
/// Images of one Kubernetes and room to replace them: less, and the kubelet evicts pods at once.
const DOCKER_LEAST: u64 = 5 * GIB;
/// Less will be regretted soon.
const DOCKER_WELL: u64 = 15 * GIB;
/// A host that has the images already needs room for one more set of containers only.
const DOCKER_LEAST_BUILT: u64 = GIB;
/// etcd's database may grow to 2 GiB, and snapshots lie beside it.
const ETCD_LEAST: u64 = GIB;
const ETCD_WELL: u64 = 4 * GIB;
/// Certificates that begin now are not valid yet on a host that is behind; etcd complains earlier.
const SKEW_LEAST: i64 = 5;
const SKEW_MOST: i64 = 60;
/// Most ways to other hosts that a sentence names.
const MOST_NAMED: usize = 5;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// RKE would go on; it will be regretted.
    Warning,
    /// RKE would fail, or build something that does not work.
    Failed,
}

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
        let skews: Vec<i64> = hosts.iter().filter_map(|host| skew(host.found.as_ref().ok()?)).collect();
        let agree = skews.iter().max().zip(skews.iter().min()).is_some_and(|(most, least)| most - least <= SKEW_LEAST);
        let off = skews.len() > 1 && agree && skews.iter().all(|skew| skew.abs() > SKEW_LEAST);
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
    let mut checks = vec![login(found), forwarding(found)];
    checks.extend(docker(spec, found));
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
            checks.extend(disks(host.node, facts, matches!(occupant, Occupant::Own)));
            checks.push(clock(found, all));
            checks.push(ports(spec, host.node, facts, docker));
            checks.push(reach(spec, host.node, facts, all));
            checks.push(swap(facts));
            checks.push(unique(host.node, facts, all));
            checks.push(occupied(host.node, facts, &occupant));
        }
    }
    checks
}

fn login(found: &Found) -> Check {
    match &found.exchanged {
        None => Check::ok("ssh", "logged in"),
        Some(record) => Check::warning(
            "ssh",
            format!(
                "logged in; it shows another host key than at {}: as nothing was built yet, the new one is on record now",
                record.since
            ),
            "If the host was not set up anew since, find out who answers at this address before going on.",
        ),
    }
}

fn forwarding(found: &Found) -> Check {
    match &found.forwarding {
        Ok(()) => Check::ok("forwarding", "sshd forwards connections"),
        Err(fault) => Check::ssh("forwarding", fault),
    }
}

fn docker(spec: &ClusterSpec, found: &Found) -> Vec<Check> {
    let facts = match &found.docker {
        Ok(facts) => facts,
        // Where TCP is not forwarded, sshd opens no socket either, and says it like a socket that is not there.
        Err(DockerFault::Ssh(SshFault::NotOpened(_))) if matches!(found.forwarding, Err(SshFault::Forbidden(_))) => {
            let detail = "whether the SSH user may use Docker cannot be told while sshd forbids forwarding";
            return vec![Check::warning("docker", detail, "Let sshd forward connections first.")];
        }
        Err(DockerFault::Ssh(SshFault::NotOpened(socket))) => return vec![closed(socket, found)],
        Err(DockerFault::Ssh(fault)) => {
            let check = Check::ssh("docker", fault);
            let detail = DockerFault::Ssh(fault.clone()).to_string();
            return vec![Check { class: Some(Class::Docker), detail, ..check }];
        }
        Err(fault) => {
            let remedy = "See what listens at /var/run/docker.sock on the host; it must be Docker itself.";
            return vec![Check::failed("docker", Class::Docker, fault.to_string(), remedy)];
        }
    };
    let access = Check::ok("docker", "the SSH user may use Docker");
    let (taken, _) = needs::docker_versions(&spec.kubernetes_version);
    let list = taken.iter().map(|(major, minor)| format!("{major}.{minor}")).collect::<Vec<_>>().join(", ");
    let version = &facts.version;
    let judged = match needs::judge_docker(version, &spec.kubernetes_version) {
        Judged::Taken => Check::ok("docker_version", format!("Docker {version}")),
        Judged::Unknown => Check::warning(
            "docker_version",
            format!("Docker {version} is newer than what is known of RKE; this `rke` will take it or say so"),
            format!("Known to be taken for {}: {list}.", spec.kubernetes_version),
        ),
        Judged::Refused => Check::failed(
            "docker_version",
            Class::Docker,
            format!("RKE does not take Docker {version} for {}", spec.kubernetes_version),
            format!("Install a version that it takes: {list}."),
        ),
    };
    vec![access, judged]
}

/// Why Docker's socket does not open over SSH: sshd does not tell, but the probe saw it from within.
fn closed(socket: &str, found: &Found) -> Check {
    let seen = found.facts.as_ref().ok().and_then(|facts| facts.docker_socket);
    let failed = |detail: String, remedy: &str| Check::failed("docker", Class::Docker, detail, remedy);
    match seen {
        Some(Socket::Open) => {
            let fault = SshFault::Forbidden("the forwarding of sockets, over which RKE uses Docker");
            failed(fault.to_string(), fault.remedy())
        }
        Some(Socket::Closed) => failed(
            format!("the SSH user may not use Docker: {socket} is closed to it"),
            "Add the SSH user to the group docker (`usermod -aG docker USER`).",
        ),
        Some(Socket::Missing) => failed(
            format!("Docker does not run: there is no {socket}"),
            "Install Docker and start it (`systemctl enable --now docker`).",
        ),
        None => {
            let fault = SshFault::NotOpened(socket.to_owned());
            Check { detail: DockerFault::Ssh(fault.clone()).to_string(), ..Check::ssh("docker", &fault) }
        }
    }
}

fn disks(node: &Node, facts: &HostFacts, built: bool) -> Vec<Check> {
    let least = if built { DOCKER_LEAST_BUILT } else { DOCKER_LEAST };
    let docker = disk("disk_docker", "Docker's data", facts.disks.get("docker"), least, DOCKER_WELL);
    let etcd = node
        .has(NodeRole::Etcd)
        .then(|| disk("disk_etcd", "/var/lib/etcd", facts.disks.get("etcd"), ETCD_LEAST, ETCD_WELL));
    [Some(docker), etcd].into_iter().flatten().collect()
}

fn disk(name: &'static str, what: &str, disk: Option<&Disk>, least: u64, well: u64) -> Check {
    let Some(disk) = disk else {
        let detail = format!("the free space for {what} cannot be told");
        return Check::warning(name, detail, "See that `df` works on the host.");
    };
    let gib = |kib: u64| format!("{}.{} GiB", kib / GIB, kib % GIB * 10 / GIB);
    let detail = format!("{} of {} are free for {what} on {}", gib(disk.free_kib), gib(disk.size_kib), disk.mount);
    let remedy = || format!("Free or add space on {}: {} at least, better {}.", disk.mount, gib(least), gib(well));
    // The kubelet begins to evict pods when less than 15 % are free where images are.
    let low = disk.free_kib < well || disk.free_kib < disk.size_kib * 15 / 100;
    match disk.free_kib {
        free if free < least => Check::failed(name, Class::Host, detail, remedy()),
        _ if low => Check::warning(name, detail, remedy()),
        _ => Check::ok(name, detail),
    }
}

/// By how many seconds a host's clock is off, as little as what was seen allows: the probe began after it
/// was sent and ended before its answer was here.
fn skew(found: &Found) -> Option<i64> {
    let facts = found.facts.as_ref().ok()?;
    // Whole seconds on the host: its clock may be up to one further.
    let most = facts.began?.saturating_add(1).saturating_sub(found.sent.as_millis().div_euclid(1_000));
    let least = facts.ended?.saturating_sub(found.received.as_millis().div_euclid(1_000) + 1);
    Some(if most < 0 { most } else { least.max(0) })
}

fn clock(found: &Found, all: &Together<'_>) -> Check {
    const REMEDY: &str = "Synchronise the clocks of the host and of the bastion (chrony, systemd-timesyncd).";
    let Some(skew) = skew(found) else {
        return Check::warning("clock", "the host does not tell the time", REMEDY);
    };
    let direction = if skew < 0 { "behind" } else { "ahead of" };
    let who = if all.bastion_is_off {
        " (all hosts agree with each other: it is rather the bastion that is wrong)"
    } else {
        ""
    };
    let detail = format!("its clock is {} s {direction} the bastion's{who}", skew.saturating_abs());
    match skew.saturating_abs() {
        off if off > SKEW_MOST => Check::failed("clock", Class::Host, detail, REMEDY),
        off if off > SKEW_LEAST => Check::warning("clock", detail, REMEDY),
        _ => Check::ok("clock", "its clock agrees with the bastion's"),
    }
}

fn ports(spec: &ClusterSpec, node: &Node, facts: &HostFacts, docker: Option<&DockerFacts>) -> Check {
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

fn reach(spec: &ClusterSpec, node: &Node, facts: &HostFacts, all: &Together<'_>) -> Check {
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

fn swap(facts: &HostFacts) -> Check {
    match facts.swap {
        Some(0) => Check::ok("swap", "off"),
        Some(_) => Check::warning(
            "swap",
            "swap is on",
            "Turn it off (`swapoff -a`, and in /etc/fstab): the kubelet does not count with it.",
        ),
        None => Check::warning("swap", "whether swap is on cannot be told", "See that /proc/swaps can be read."),
    }
}

fn unique(node: &Node, facts: &HostFacts, all: &Together<'_>) -> Check {
    let others = |map: &BTreeMap<&str, Vec<&str>>, key: &str| -> Vec<String> {
        let same = map.get(key).into_iter().flatten();
        same.filter(|address| **address != node.address).map(ToString::to_string).collect()
    };
    let same_machine = others(&all.boots, &facts.boot_id);
    if !same_machine.is_empty() {
        return Check::failed(
            "identity",
            Class::Config,
            format!("it is the same machine as {}", same_machine.join(", ")),
            "Name each host once in the spec, with all its roles.",
        );
    }
    let (same_id, same_name) = (others(&all.machines, &facts.machine_id), others(&all.names, &facts.hostname));
    if !same_name.is_empty() {
        return Check::warning(
            "identity",
            format!("its name {} is also that of {}", facts.hostname, same_name.join(", ")),
            "Give each host a name of its own (`hostnamectl set-hostname`).",
        );
    }
    if !same_id.is_empty() {
        return Check::warning(
            "identity",
            format!("its machine id is also that of {}: they were made from one image", same_id.join(", ")),
            "Let each host make its own: empty /etc/machine-id, run `systemd-machine-id-setup`, and start it again.",
        );
    }
    Check::ok("identity", format!("its name {} and its machine id are its own", facts.hostname))
}

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

fn occupied(node: &Node, facts: &HostFacts, occupant: &Occupant) -> Check {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cratekube_common::domain::cluster::intake;
    use serde_json::json;

    pub(crate) fn spec(hosts: usize) -> ClusterSpec {
        let node = json!({"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]});
        let mut spec = intake::read(&json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": [node]})).unwrap().0;
        spec.nodes = vec![spec.nodes[0].clone(); hosts];
        for (at, node) in spec.nodes.iter_mut().enumerate() {
            if at > 2 {
                node.roles = vec![NodeRole::Worker];
            }
            node.address = format!("10.0.{}.{}", at / 250, at % 250 + 1);
        }
        spec
    }

    /// A host that is well; the bastion's clock stood at 1000 s when the probe was sent, at 1002 s after it.
    pub(crate) fn well(at: usize, spec: &ClusterSpec) -> Found {
        let disk = Disk { size_kib: 200 * GIB, free_kib: 100 * GIB, mount: "/".into() };
        let node = &spec.nodes[at];
        let facts = HostFacts {
            hostname: format!("node-{at}"),
            machine_id: format!("machine-{at}"),
            boot_id: format!("boot-{at}"),
            swap: Some(0),
            listening: Some([22].into()),
            disks: [("docker".to_owned(), disk.clone()), ("etcd".to_owned(), disk)].into(),
            reach: needs::peers(node, spec).into_iter().map(|peer| (peer, Reach::Refused)).collect(),
            began: Some(1_000),
            ended: Some(1_002),
            ..HostFacts::default()
        };
        Found {
            facts: Ok(facts),
            docker: Ok(DockerFacts { version: "24.0.7".into(), ..DockerFacts::default() }),
            forwarding: Ok(()),
            exchanged: None,
            sent: Timestamp::from_millis(1_000_000),
            received: Timestamp::from_millis(1_002_000),
        }
    }

    fn grades(host: usize, judged: &[Vec<Check>]) -> Vec<(&'static str, Grade)> {
        judged[host].iter().filter(|c| c.result != Grade::Ok).map(|c| (c.name, c.result)).collect()
    }

    fn judged(spec: &ClusterSpec, change: impl Fn(usize, &mut Found)) -> Vec<Vec<Check>> {
        let found = (0..spec.nodes.len()).map(|at| {
            let mut found = well(at, spec);
            change(at, &mut found);
            found
        });
        let hosts: Vec<Host<'_>> =
            spec.nodes.iter().zip(found).map(|(node, found)| Host { node, found: Ok(found) }).collect();
        judge(spec, &Expected::default(), &hosts)
    }

    fn shifted(found: &mut Found, by: i64) {
        let facts = found.facts.as_mut().unwrap();
        (facts.began, facts.ended) = (facts.began.map(|t| t + by), facts.ended.map(|t| t + by));
    }

    #[test]
    fn hosts_that_are_well_have_nothing_to_be_said_of() {
        let spec = spec(3);
        let judged = judged(&spec, |_, _| {});
        for host in 0..3 {
            assert_eq!(grades(host, &judged), []);
        }
    }

    #[test]
    fn a_slow_probe_is_not_taken_for_a_wrong_clock() {
        let spec = spec(1);
        // The answer took a minute; the host's clock lies between.
        let slow = |found: &mut Found| found.received = Timestamp::from_millis(1_060_000);
        assert_eq!(
            skew(&{
                let mut found = well(0, &spec);
                slow(&mut found);
                found
            }),
            Some(0)
        );
        for (by, grade) in [
            (0, None),
            (4, None),
            (-4, None),
            (20, Some(Grade::Warning)),
            (-20, Some(Grade::Warning)),
            (90, Some(Grade::Failed)),
            (-90, Some(Grade::Failed)),
        ] {
            let judged = judged(&spec, |_, found| shifted(found, by));
            assert_eq!(grades(0, &judged).first().map(|(_, grade)| *grade), grade, "{by}");
        }
        let judged = judged(&spec, |_, found| found.facts.as_mut().unwrap().began = Some(i64::MAX));
        assert_eq!(grades(0, &judged), [], "a clock that nobody believes is held against its end");
    }

    #[test]
    fn when_all_hosts_agree_it_is_rather_the_bastions_clock_that_is_wrong() {
        let spec = spec(3);
        let together = judged(&spec, |_, found| shifted(found, 40));
        assert!(together[1].iter().any(|check| check.detail.contains("rather the bastion")));
        let alone = judged(&spec, |at, found| shifted(found, if at == 1 { 40 } else { 0 }));
        assert_eq!((grades(0, &alone), grades(1, &alone).len()), (vec![], 1));
        assert!(!alone[1].iter().any(|check| check.detail.contains("rather the bastion")));
    }

    #[test]
    fn a_disk_is_judged_by_what_has_still_to_go_there() {
        let disk = |free: u64| Disk { size_kib: 100 * GIB, free_kib: free, mount: "/data".into() };
        let grade =
            |free: u64, least: u64| super::disk("disk_docker", "Docker", Some(&disk(free)), least, DOCKER_WELL).result;
        assert_eq!(grade(3 * GIB, DOCKER_LEAST), Grade::Failed);
        assert_eq!(grade(3 * GIB, DOCKER_LEAST_BUILT), Grade::Warning);
        assert_eq!(grade(14 * GIB, DOCKER_LEAST), Grade::Warning);
        assert_eq!(grade(40 * GIB, DOCKER_LEAST), Grade::Ok);
        assert_eq!(super::disk("disk_etcd", "etcd", None, 1, 1).result, Grade::Warning);
    }

    #[test]
    fn whose_cluster_a_host_carries_is_told_by_its_ca_first() {
        let own = Expected { ca: vec!["a".repeat(64), "b".repeat(64)] };
        let none = Expected::default();
        let docker = |names: &[&str], ca: Option<&str>| {
            let container = |name: &&str| super::super::docker::Container {
                name: (*name).into(),
                running: true,
                of_rke: *name == "kubelet",
            };
            DockerFacts {
                containers: names.iter().map(container).collect(),
                ca_sha256: ca.map(str::to_owned),
                ..DockerFacts::default()
            }
        };
        let tell =
            |expected: &Expected, facts: &HostFacts, docker: &DockerFacts| occupant(expected, facts, Some(docker));
        let empty = HostFacts::default();
        let left = HostFacts { left: vec!["/etc/cni".into()], ..HostFacts::default() };
        let k3s = HostFacts { other: vec!["k3s".into()], ..HostFacts::default() };
        assert_eq!(tell(&own, &empty, &docker(&["kubelet"], Some(&"b".repeat(64)))), Occupant::Own);
        assert!(matches!(tell(&own, &empty, &docker(&[], Some(&"c".repeat(64)))), Occupant::Other(_)));
        assert!(matches!(tell(&none, &empty, &docker(&[], Some(&"a".repeat(64)))), Occupant::Other(_)));
        assert_eq!(tell(&own, &empty, &docker(&["kubelet"], None)), Occupant::Untold);
        assert!(matches!(tell(&none, &empty, &docker(&["kubelet"], None)), Occupant::Other(_)));
        assert!(matches!(tell(&none, &k3s, &docker(&[], None)), Occupant::Other(_)));
        assert_eq!(tell(&none, &empty, &docker(&["shop"], None)), Occupant::Nobody);
        assert!(matches!(tell(&none, &left, &docker(&["k8s_POD"], None)), Occupant::Left(left) if left.len() == 2));
    }
}
