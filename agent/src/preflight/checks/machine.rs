//! The machine itself: its disks, its clock, its swap, and whether it is one of its own.

use std::collections::BTreeMap;

use cratekube_common::domain::cluster::spec::{Node, NodeRole};
use cratekube_common::domain::failure::FailureClass as Class;

use super::super::facts::{Disk, HostFacts};
use super::{Check, Found, Together};

const MIB: u64 = 1024;
pub(super) const GIB: u64 = 1024 * MIB;
/// Images of one Kubernetes and room to replace them: less, and the kubelet evicts pods at once.
pub(super) const DOCKER_LEAST: u64 = 5 * GIB;
/// Less will be regretted soon.
pub(super) const DOCKER_WELL: u64 = 15 * GIB;
/// A host that has the images already needs room for one more set of containers only.
pub(super) const DOCKER_LEAST_BUILT: u64 = GIB;
/// etcd's database may grow to 2 GiB, and snapshots lie beside it.
const ETCD_LEAST: u64 = GIB;
const ETCD_WELL: u64 = 4 * GIB;
/// Certificates that begin now are not valid yet on a host that is behind; etcd complains earlier.
pub(super) const SKEW_LEAST: i64 = 5;
const SKEW_MOST: i64 = 60;

pub(super) fn disks(node: &Node, facts: &HostFacts, built: bool) -> Vec<Check> {
    let least = if built { DOCKER_LEAST_BUILT } else { DOCKER_LEAST };
    let docker = disk("disk_docker", "Docker's data", facts.disks.get("docker"), least, DOCKER_WELL);
    let etcd = node
        .has(NodeRole::Etcd)
        .then(|| disk("disk_etcd", "/var/lib/etcd", facts.disks.get("etcd"), ETCD_LEAST, ETCD_WELL));
    [Some(docker), etcd].into_iter().flatten().collect()
}

pub(super) fn disk(name: &'static str, what: &str, disk: Option<&Disk>, least: u64, well: u64) -> Check {
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
pub(super) fn skew(found: &Found) -> Option<i64> {
    let facts = found.facts.as_ref().ok()?;
    // Whole seconds on the host: its clock may be up to one further.
    let most = facts.began?.saturating_add(1).saturating_sub(found.sent.as_millis().div_euclid(1_000));
    let least = facts.ended?.saturating_sub(found.received.as_millis().div_euclid(1_000) + 1);
    Some(if most < 0 { most } else { least.max(0) })
}

pub(super) fn clock(found: &Found, all: &Together<'_>) -> Check {
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

pub(super) fn swap(facts: &HostFacts) -> Check {
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

pub(super) fn unique(node: &Node, facts: &HostFacts, all: &Together<'_>) -> Check {
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
