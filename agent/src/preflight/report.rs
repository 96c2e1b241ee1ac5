//! What preflight says: lines for people, findings for programs, and the failure.

use std::collections::BTreeMap;

use cratekube_common::domain::cluster::preflight::Grade;
use cratekube_common::domain::failure::{Failure, FailureClass as Class};
use serde_json::{Value, json};

use super::checks::{Check, Found, Host};

/// Most hosts that a sentence names.
const MOST_NAMED: usize = 10;
/// Most remedies that a failure gives.
const MOST_REMEDIES: usize = 4;
/// Findings may take 1 MiB; beyond this they are told shorter.
const MOST_BYTES: usize = 900 * 1024;

/// Lines for people: one for a host that is well, one for each fault of the others.
#[must_use]
pub fn lines(host: &Host<'_>, checks: &[Check]) -> Vec<String> {
    let address = &host.node.address;
    let mut lines: Vec<String> = checks
        .iter()
        .filter(|check| check.result != Grade::Ok)
        .map(|check| {
            let grade = if check.result == Grade::Failed { "FAILED" } else { "warning" };
            let remedy = check.remedy.as_deref().map(|remedy| format!(" - {remedy}")).unwrap_or_default();
            format!("[{address}] {grade} {}: {}{remedy}", check.name, check.detail)
        })
        .collect();
    if checks.iter().all(|check| check.result != Grade::Failed) {
        lines.push(format!("[{address}] ready{}", host.found.as_ref().map(summary).unwrap_or_default()));
    }
    lines
}

fn summary(found: &Found) -> String {
    let mut words = Vec::new();
    if let Ok(facts) = &found.facts {
        words.extend([facts.os.clone(), format!("kernel {}", facts.kernel), facts.arch.clone()]);
    }
    if let Ok(docker) = &found.docker {
        words.push(format!("Docker {}", docker.version));
    }
    words.retain(|word| !word.is_empty());
    if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
}

/// Warnings of all hosts, each with its host.
#[must_use]
pub fn warnings(hosts: &[Host<'_>], judged: &[Vec<Check>]) -> Vec<String> {
    let pairs = hosts.iter().zip(judged);
    let of_host = |(host, checks): (&Host<'_>, &Vec<Check>)| -> Vec<String> {
        let warned = checks.iter().filter(|check| check.result == Grade::Warning);
        warned.map(|check| format!("{}: {}", host.node.address, check.detail)).collect()
    };
    pairs.flat_map(of_host).collect()
}

/// The failure of all hosts together; none when RKE may begin.
#[must_use]
pub fn failure(hosts: &[Host<'_>], judged: &[Vec<Check>]) -> Option<Failure> {
    let pairs: Vec<(&str, &Check)> = hosts
        .iter()
        .zip(judged)
        .flat_map(|(host, checks)| checks.iter().map(|check| (host.node.address.as_str(), check)))
        .filter(|(_, check)| check.result == Grade::Failed)
        .collect();
    let mut by_host: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (address, check) in &pairs {
        by_host.entry(address).or_default().push(&check.detail);
    }
    let class = leading(&pairs)?;
    let total = hosts.len();
    let bad: Vec<&str> = hosts.iter().map(|h| h.node.address.as_str()).filter(|a| by_host.contains_key(a)).collect();
    let told: Vec<String> =
        bad.iter().take(MOST_NAMED).map(|host| format!("{host}: {}", by_host[host].join("; "))).collect();
    let more = bad.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" | and {more} more hosts") } else { String::new() };
    let mut remedies: Vec<&str> = Vec::new();
    for remedy in pairs.iter().filter_map(|(_, check)| check.remedy.as_deref()) {
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    remedies.truncate(MOST_REMEDIES);
    Some(Failure {
        class,
        message: format!("{} of {total} hosts are not ready: {}{more}", bad.len(), told.join(" | ")),
        line: None,
        retryable: pairs.iter().all(|(_, check)| check.retryable),
        remedy: remedies.join(" "),
    })
}

/// The class that needs a hand most: one that waiting does not mend, and the most frequent of those.
fn leading(pairs: &[(&str, &Check)]) -> Option<Class> {
    let mut counted: Vec<(bool, usize, Class)> = Vec::new();
    for (_, check) in pairs {
        let class = check.class?;
        match counted.iter_mut().find(|(retryable, _, counted)| *counted == class && *retryable == check.retryable) {
            Some((_, count, _)) => *count += 1,
            None => counted.push((check.retryable, 1, class)),
        }
    }
    counted.into_iter().min_by_key(|(retryable, count, _)| (*retryable, usize::MAX - count)).map(|(_, _, class)| class)
}

/// Findings for programs: `{"hosts": [{"address", "checks": [{"name", "result", "detail", …}], "facts"}]}`.
/// Where that would be too much, facts and what is as it should be are left out, and `"shortened"` says so.
#[must_use]
pub fn findings(hosts: &[Host<'_>], judged: &[Vec<Check>]) -> Value {
    let of = |short: bool| {
        let pairs = hosts.iter().zip(judged);
        let told: Vec<Value> = pairs.map(|(host, checks)| told(host, checks, short)).collect();
        json!({"hosts": told, "shortened": short})
    };
    let whole = of(false);
    if whole.to_string().len() <= MOST_BYTES { whole } else { of(true) }
}

fn told(host: &Host<'_>, checks: &[Check], short: bool) -> Value {
    let checks: Vec<&Check> = checks.iter().filter(|check| !short || check.result == Grade::Failed).collect();
    let mut told = json!({"address": host.node.address, "checks": checks});
    if !short {
        told["facts"] = host.found.as_ref().map(facts).unwrap_or_else(|_| json!({}));
    }
    told
}

fn facts(found: &Found) -> Value {
    let mut told = json!({});
    if let Ok(facts) = &found.facts {
        told = json!({
            "hostname": facts.hostname,
            "os": facts.os,
            "kernel": facts.kernel,
            "arch": facts.arch,
            "cpus": facts.cpus,
            "memory_kib": facts.memory_kib,
            "user": facts.user,
            "root": facts.root,
            "machine_id": facts.machine_id,
        });
        for (name, disk) in &facts.disks {
            told[format!("disk_{name}")] =
                json!({"mount": disk.mount, "size_kib": disk.size_kib, "free_kib": disk.free_kib});
        }
    }
    if let Ok(docker) = &found.docker {
        let running = docker.containers.iter().filter(|container| container.running).count();
        told["docker"] = json!({
            "version": docker.version,
            "root_dir": docker.root_dir,
            "cgroup_version": docker.cgroup_version,
            "containers_running": running,
        });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::checks::tests::{spec, well};
    use crate::preflight::checks::{Expected, judge};
    use crate::ssh::SshFault;

    #[test]
    fn findings_of_a_thousand_hosts_stay_within_their_bound_and_keep_every_fault() {
        let spec = spec(2_000);
        let host = |(at, node)| {
            let refused = || SshFault::Refused { port: 22 };
            Host { node, found: if at % 2 == 0 { Err(refused()) } else { Ok(well(at, &spec)) } }
        };
        let hosts: Vec<Host<'_>> = spec.nodes.iter().enumerate().map(host).collect();
        let judged = judge(&spec, &Expected::default(), &hosts);
        let findings = findings(&hosts, &judged);
        assert_eq!(findings["shortened"], true);
        assert!(findings.to_string().len() <= MOST_BYTES);
        let told = findings["hosts"].as_array().unwrap();
        let faults = told.iter().filter(|host| host["checks"][0]["result"] == "failed").count();
        assert_eq!((told.len(), faults), (2_000, 1_000));
        let failure = failure(&hosts, &judged).unwrap();
        assert!(failure.message.starts_with("1000 of 2000 hosts are not ready") && failure.message.len() < 2_000);
        assert!(failure.message.ends_with("and 990 more hosts") && failure.retryable);
    }

    #[test]
    fn the_class_is_that_of_what_waiting_does_not_mend() {
        let spec = spec(4);
        let faults = [
            SshFault::Refused { port: 22 },
            SshFault::Refused { port: 22 },
            SshFault::Forbidden("it"),
            SshFault::Lost("x".into()),
        ];
        let hosts: Vec<Host<'_>> =
            spec.nodes.iter().zip(faults).map(|(node, fault)| Host { node, found: Err(fault) }).collect();
        let judged = judge(&spec, &Expected::default(), &hosts);
        let failure = failure(&hosts, &judged).unwrap();
        assert_eq!((failure.class, failure.retryable), (Class::Docker, false));
    }
}
