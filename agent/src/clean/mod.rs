//! Removes from the hosts what RKE leaves of a removed cluster.
//!
//! `rke remove` leaves containers of pods, mounts, interfaces, rules of the firewall and directories on
//! every host, and everything on hosts that it did not reach. A script of ours takes them away over SSH:
//! it can be repeated, it asks first whose cluster a host carries, and it touches nothing of another one.
//!
//! - [`clean.sh`](https://pubs.opengroup.org/onlinepubs/9699919799/utilities/sh.html): what runs on a host;
//! - [`answer`]: what it says; [`report`]: how that is told.
//!
//! What the step is told (`StepInput::input`), all of it optional:
//! `{"hosts_terminated": bool, "keep_snapshots": bool, "ca_sha256": "…" or ["…"], "hosts": ["address"]}`.
//! Findings: `{"state": "done" or "skipped", "why"?, "hosts": [{"address", "outcome", "removed": ["…"],
//! "stays": ["…"], "detail"?, "remedy"?}]}`.

pub mod answer;
pub mod report;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::failure::{Failure, FailureClass as Class};
use cratekube_common::rke::state;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::step::StepOutcome;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use self::answer::{Answer, Objection, Way};
use self::report::{Cleaned, Outcome};
use crate::preflight::{Settings, nonce, quoted};
use crate::ssh::{Bounds, Connector, Credentials, KnownHosts, Session, SshFault, Target, fleet};
use crate::step::{Console, StepInput};
use crate::volume::generations::STATE;
use crate::volume::layout::ClusterFile;

/// The script.
const CLEAN: &str = include_str!("clean.sh");
const MOST_OUTPUT: usize = 256 * 1024;
/// Most hosts that are named as not done yet.
const NAMED: usize = 20;
/// Removing hundreds of containers and unmounting what hangs takes minutes.
const CLEAN_TIME: Duration = Duration::from_secs(15 * 60);

/// What the step is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The hosts are about to be terminated: nothing is cleaned.
    pub hosts_terminated: bool,
    /// Snapshots of etcd on the hosts stay.
    pub keep_snapshots: bool,
    /// SHA-256 of CAs of the removed cluster, beside the one in its state: none, one or several.
    #[serde(deserialize_with = "none_one_or_several")]
    pub ca_sha256: Vec<String>,
    /// Hosts that carried the cluster, beside those of the spec and of the volume's record.
    pub hosts: Vec<String>,
}

/// The step: cleans all hosts of a removed cluster, and fails when something may still be there.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    if !input.settings.clean_hosts {
        const OFF: &str = "the hosts were not cleaned: that is off in the agent's settings (`ssh.clean_hosts`); what RKE leaves is still there";
        console.line(OFF);
        let findings = report::skipped(OFF, &[]);
        return StepOutcome { warnings: vec![OFF.into()], findings, ..StepOutcome::default() };
    }
    let asked = match Asked::read(&input.input) {
        Ok(asked) => asked,
        Err(failure) => return StepOutcome { failure: Some(failure), ..StepOutcome::default() },
    };
    console.phase(1, 1, "cleaning all hosts");
    match begin(input, &asked, console).await {
        Ok(cleaned) => {
            cleaned.iter().for_each(|host| console.line(&host.line()));
            let waived = "the hosts are about to be terminated";
            StepOutcome {
                failure: failure(&cleaned),
                warnings: warnings(&cleaned),
                findings: match asked.hosts_terminated {
                    true => report::skipped(waived, &cleaned),
                    false => report::findings(&cleaned),
                },
            }
        }
        Err(failure) => {
            console.line(&failure.message);
            StepOutcome { failure: Some(failure), ..StepOutcome::default() }
        }
    }
}

impl Asked {
    /// Reads what the step is told. What cannot be read is a failure: taken for nothing, it would log in to
    /// hosts that were to be left alone.
    fn read(input: &Value) -> Result<Self, Failure> {
        if input.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(input).map_err(|fault| Failure {
            class: Class::Internal,
            message: format!("the agent could not read which hosts are to be cleaned: {fault}"),
            line: None,
            retryable: false,
            remedy: "Upgrade the agent or the controller so that their versions match.".into(),
        })
    }
}

fn none_one_or_several<'de, D: Deserializer<'de>>(found: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Found {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Option::<Found>::deserialize(found)? {
        None => Vec::new(),
        Some(Found::One(one)) => vec![one],
        Some(Found::Several(several)) => several,
    })
}

async fn begin(input: &StepInput, asked: &Asked, console: &dyn Console) -> Result<Vec<Cleaned>, Failure> {
    let settings = match Settings::of(&input.settings.ssh) {
        Ok(settings) => settings,
        // Nobody is logged in to when hosts are about to be terminated.
        Err(_) if asked.hosts_terminated => Settings::new(Credentials::Agent(std::path::PathBuf::new())),
        Err(fault) => return Err(crate::preflight::failure_of_key(&fault)),
    };
    let waits_for = |hosts: &str| console.waits_for(hosts);
    clean(&input.spec, &input.working, asked, &settings, &clock::system(), &waits_for).await
}

/// What is to be known although it is no failure: hosts that were left alone.
fn warnings(cleaned: &[Cleaned]) -> Vec<String> {
    let alone = cleaned.iter().filter(|host| matches!(host.outcome, Outcome::Refused));
    alone.map(|host| format!("{}: {}", host.address, host.detail)).collect()
}

/// Cleans all hosts of a cluster. `working` is the cluster's directory for `rke`; `waits_for` hears which hosts
/// are not done yet.
pub async fn clean(
    spec: &ClusterSpec,
    working: &Path,
    asked: &Asked,
    settings: &Settings,
    clock: &Clock,
    waits_for: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Cleaned>, Failure> {
    let targets = targets(spec, working, asked);
    let waived = |target: &Target| Cleaned::new(target, Outcome::Waived, "the host is about to be terminated");
    if asked.hosts_terminated {
        return Ok(targets.iter().map(waived).collect());
    }
    let expect = authorities(working, asked);
    if expect.is_empty() {
        return Ok(targets
            .iter()
            .map(|target| Cleaned::new(target, Outcome::Nothing, "the cluster was never built"))
            .collect());
    }
    let known = KnownHosts::open(working.parent().unwrap_or(working), true)
        .map_err(|fault| crate::preflight::failure_of_records(&fault))?;
    let connector = Arc::new(Connector::new(settings.credentials.clone(), known, Arc::clone(clock)));
    let left = Left::begin(&targets, waits_for);
    let work = async |target| {
        let cleaned = visit(target, asked, &expect, settings, &connector).await;
        left.done(target);
        cleaned
    };
    Ok(fleet::each(&targets, work).await)
}

/// The hosts that are not done yet.
struct Left<'a> {
    hosts: Mutex<BTreeSet<String>>,
    tell: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Left<'a> {
    fn begin(targets: &[Target], tell: &'a (dyn Fn(&str) + Sync)) -> Self {
        let left = Self { hosts: Mutex::new(targets.iter().map(|target| target.address.clone()).collect()), tell };
        left.change(|_| {});
        left
    }

    fn done(&self, target: &Target) {
        self.change(|hosts| {
            hosts.remove(&target.address);
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut hosts);
        let named: Vec<&str> = hosts.iter().take(NAMED).map(String::as_str).collect();
        let more = hosts.len().saturating_sub(named.len());
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        (self.tell)(&if named.is_empty() { String::new() } else { format!("hosts {}{and}", named.join(", ")) });
    }
}

/// All hosts that may carry something of the cluster: those of its spec, those that the volume's record
/// has, and those that are named.
fn targets(spec: &ClusterSpec, working: &Path, asked: &Asked) -> Vec<Target> {
    let mut targets: Vec<Target> = spec.nodes.iter().map(|node| Target::of(node, spec)).collect();
    let record = working.parent().map(|dir| dir.join("cluster.json"));
    let recorded = record.and_then(|path| fs::read(path).ok());
    let recorded = recorded.and_then(|bytes| serde_json::from_slice::<ClusterFile>(&bytes).ok());
    let others: BTreeSet<String> =
        recorded.map(|file| file.hosts).unwrap_or_default().into_iter().chain(asked.hosts.iter().cloned()).collect();
    for address in others {
        if targets.iter().all(|target| target.address != address) {
            let port = cratekube_common::domain::cluster::spec::DEFAULT_SSH_PORT;
            targets.push(Target { address, port, user: spec.ssh_user.clone() });
        }
    }
    targets
}

/// Fingerprints of the cluster's CA: of its state, of the record, and those that are named.
fn authorities(working: &Path, asked: &Asked) -> BTreeSet<String> {
    let is_one = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut found: BTreeSet<String> = asked.ca_sha256.iter().filter(|text| is_one(text)).cloned().collect();
    let state = fs::read(working.join(STATE)).ok().and_then(|bytes| state::inspect(&bytes).ok());
    if let Some(state) = state {
        found.extend([Some(state.ca_sha256), state.current_ca_sha256].into_iter().flatten());
    }
    let record = working.parent().and_then(|dir| fs::read(dir.join("cluster.json")).ok());
    let record = record.and_then(|bytes| serde_json::from_slice::<ClusterFile>(&bytes).ok());
    found.extend(record.and_then(|file| file.ca_sha256).filter(is_one));
    found
}

async fn visit(
    target: &Target,
    asked: &Asked,
    expect: &BTreeSet<String>,
    settings: &Settings,
    connector: &Arc<Connector>,
) -> Cleaned {
    let session = match connector.connect(target, settings.patience(target)).await {
        Ok(session) => session,
        Err(fault) => return Cleaned::of_fault(target, &fault),
    };
    let (root, look) = (&settings.place(target).root, settings.patience(target).look);
    let cleaned = attend(target, asked, expect, (root, look), &session).await;
    session.close().await;
    cleaned.unwrap_or_else(|fault| Cleaned::of_fault(target, &fault))
}

async fn attend(
    target: &Target,
    asked: &Asked,
    expect: &BTreeSet<String>,
    (root, look): (&str, Duration),
    session: &Session,
) -> Result<Cleaned, SshFault> {
    let run = async |command: &str, mode: &str, time: Duration| {
        let nonce = nonce();
        let script = script(&nonce, mode, asked, expect, root);
        let output = session.exec(command, script.as_bytes(), Bounds { time, output: MOST_OUTPUT }).await?;
        Ok::<Answer, SshFault>(answer::read(&output, &nonce))
    };
    let seen = run("sh -s", "look", look).await?;
    if let Some(decided) = decide(target, &seen) {
        return Ok(decided);
    }
    let Some(way) = &seen.way else {
        return Ok(Cleaned::without_root(target, &seen));
    };
    let done = run(&way.command(), "clean", CLEAN_TIME).await?;
    if let Some(refused) = objected(target, &done) {
        return Ok(refused);
    }
    let after = run("sh -s", "look", look).await?;
    Ok(Cleaned::after(target, &done, &after))
}

/// What follows from the look, where that is all.
fn decide(target: &Target, seen: &Answer) -> Option<Cleaned> {
    if !seen.ended {
        return Some(Cleaned::broken(target, seen));
    }
    // A user who may not see it is not the one to say that nothing is there.
    let sees = matches!(seen.way, Some(Way::Root));
    objected(target, seen).or_else(|| {
        (seen.there.is_empty() && sees)
            .then(|| Cleaned::new(target, Outcome::Nothing, "nothing of the cluster is there"))
    })
}

fn objected(target: &Target, seen: &Answer) -> Option<Cleaned> {
    match seen.objection.as_ref()? {
        Objection::Foreign(why) => Some(Cleaned::new(
            target,
            Outcome::Refused,
            format!("it carries another cluster and was left alone: {why}"),
        )),
        Objection::Untold(why) => {
            Some(Cleaned::new(target, Outcome::Untold, why.clone()).with_remedy(
                "See whose containers these are; if they are this cluster's, remove them by hand and retry.",
            ))
        }
    }
}

fn script(nonce: &str, mode: &str, asked: &Asked, expect: &BTreeSet<String>, root: &str) -> String {
    let expect = expect.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let keep = if asked.keep_snapshots { "yes" } else { "no" };
    let set = [("nonce", nonce), ("mode", mode), ("expect", &expect), ("keep_snapshots", keep), ("root", root)];
    set.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect::<String>() + CLEAN
}

/// The failure of all hosts together; none when nothing is left to do.
#[must_use]
pub fn failure(cleaned: &[Cleaned]) -> Option<Failure> {
    let left: Vec<&Cleaned> = cleaned.iter().filter(|host| host.outcome.is_blocker()).collect();
    let worst = left.iter().min_by_key(|host| host.retryable)?;
    let told: Vec<String> = left.iter().take(10).map(|host| format!("{}: {}", host.address, host.detail)).collect();
    let more = left.len().saturating_sub(10);
    let more = if more > 0 { format!(" | and {more} more hosts") } else { String::new() };
    Some(Failure {
        class: worst.class.unwrap_or(Class::Host),
        message: format!("{} of {} hosts are not clean: {}{more}", left.len(), cleaned.len(), told.join(" | ")),
        line: None,
        retryable: left.iter().all(|host| host.retryable),
        remedy: worst.remedy.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use cratekube_common::domain::cluster::intake;
    use serde_json::json;

    fn spec() -> ClusterSpec {
        let nodes = json!([{"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"], "port": 2222}]);
        intake::read(&json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": nodes, "ssh_user": "ubuntu"}))
            .unwrap()
            .0
    }

    #[test]
    fn hosts_and_cas_come_from_the_spec_the_state_the_record_and_what_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let working = dir.path().join("working");
        fs::create_dir(&working).unwrap();
        let asked = Asked {
            hosts: vec!["10.0.0.9".into()],
            ca_sha256: vec!["a".repeat(64), "'; reboot".into()],
            ..Asked::default()
        };
        assert_eq!(authorities(&working, &asked), ["a".repeat(64)].into());
        let ca = fixtures::ca("web");
        fs::write(working.join(STATE), ca.state(&["10.0.0.1"])).unwrap();
        let record = json!({"format_version": 1, "cluster": "01890a5d-ac96-774b-bcce-b302099a8057", "environment": "prod",
            "name": "web", "ca_sha256": "b".repeat(64), "hosts": ["10.0.0.1", "10.0.0.2"]});
        fs::write(dir.path().join("cluster.json"), record.to_string()).unwrap();
        assert_eq!(authorities(&working, &asked), ["a".repeat(64), "b".repeat(64), ca.sha256].into());
        let found: Vec<String> = targets(&spec(), &working, &asked).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["ubuntu@10.0.0.1:2222", "ubuntu@10.0.0.2:22", "ubuntu@10.0.0.9:22"]);
    }

    #[test]
    fn what_is_asked_is_read_in_every_form_and_what_cannot_be_read_logs_in_nowhere() {
        let read = |input: Value| Asked::read(&input).map(|asked| (asked.hosts_terminated, asked.ca_sha256));
        let ca = "a".repeat(64);
        for (found, wanted) in [(json!(null), vec![]), (json!(ca), vec![ca.clone()]), (json!([ca]), vec![ca.clone()])] {
            let input = json!({"hosts_terminated": true, "ca_sha256": found, "policy": "delete", "earlier": {}});
            assert_eq!(read(input), Ok((true, wanted)));
        }
        assert_eq!(read(Value::Null), Ok((false, vec![])));
        assert_eq!(read(json!({"hosts_terminated": "yes"})).unwrap_err().class, Class::Internal);
    }
}
