//! Looks at every host before `rke` does, at once, and says all that is wrong.
//!
//! `rke` alone waits 134 s for a host that does not answer, takes a refused port for a missing Docker, and
//! ends all of it in `Cluster must have at least one etcd plane host`; a worker that it cannot reach is left
//! out of the cluster without an error. Here every host is looked at at the same time, within bounds, and
//! each fault has its host, its class and its remedy.
//!
//! - [`probe.sh`](https://pubs.opengroup.org/onlinepubs/9699919799/utilities/sh.html): what runs on a host;
//!   one command, read from standard input, that changes nothing.
//! - [`facts`]: what it says; [`docker`]: what Docker says, asked as `rke` asks.
//! - [`needs`]: what RKE needs, by role. [`checks`]: what follows. [`report`]: how it is told.

pub mod checks;
pub mod docker;
pub mod facts;
pub mod needs;
pub mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::cluster::spec::{ClusterSpec, Node};
use cratekube_common::domain::failure::{Failure, FailureClass as Class};
use cratekube_common::rke::render::SshAccess;
use cratekube_common::rke::state;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::step::StepOutcome;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::checks::{Expected, Found, Host};
use crate::ssh::known::KnownHostsFault;
use crate::ssh::session::Patience;
use crate::ssh::{Bounds, Connector, Credentials, KeyFault, KnownHosts, Session, SshFault, Target, fleet};
use crate::step::{Console, StepInput};
use crate::volume::generations::STATE;

/// The probe.
const PROBE: &str = include_str!("probe.sh");
/// Output of a probe: a few kilobytes, and what a login shell adds.
const MOST_OUTPUT: usize = 256 * 1024;
const FORWARD_TIME: Duration = Duration::from_secs(10);
/// A port of every node that answers on the host alone: whether it may be forwarded to is what counts.
const FORWARD_TO: u16 = 10248;

/// How hosts are reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What logs in.
    pub credentials: Credentials,
    /// Bounds of connecting.
    pub patience: Patience,
    /// Where things are on hosts where they are elsewhere, by address: for tests.
    pub places: BTreeMap<String, Place>,
}

/// Where things are on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Docker's socket.
    pub docker_socket: String,
    /// Prefix of all other paths.
    pub root: String,
    /// Bounds of connecting, where they are others.
    pub patience: Option<Patience>,
}

impl Default for Place {
    fn default() -> Self {
        Self { docker_socket: docker::SOCKET.into(), root: String::new(), patience: None }
    }
}

impl Settings {
    /// Settings with defaults for everything but what logs in.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, patience: Patience::default(), places: BTreeMap::new() }
    }

    /// As the agent's settings have it.
    ///
    /// # Errors
    /// When there is nothing to log in with.
    pub fn of(ssh: &SshAccess) -> Result<Self, KeyFault> {
        let socket = std::env::var_os("SSH_AUTH_SOCK");
        Credentials::load(ssh, socket.as_deref().map(Path::new)).map(Self::new)
    }

    /// Bounds of connecting to a host.
    #[must_use]
    pub fn patience(&self, target: &Target) -> Patience {
        self.places.get(&target.address).and_then(|place| place.patience).unwrap_or(self.patience)
    }

    /// Where things are on a host.
    #[must_use]
    pub fn place(&self, target: &Target) -> Place {
        self.places.get(&target.address).cloned().unwrap_or_default()
    }
}

/// The step: looks at all hosts of a cluster, and fails when `rke` should not begin.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    if !input.settings.preflight {
        const OFF: &str = "the hosts were not looked at: preflight is off in the agent's settings (`ssh.preflight`)";
        console.line(OFF);
        return StepOutcome { warnings: vec![OFF.into()], ..StepOutcome::default() };
    }
    console.phase(1, 2, "looking at all hosts");
    console.line(&format!("{} hosts are looked at, all at once", input.spec.nodes.len()));
    let looked = match Settings::of(&input.settings.ssh) {
        Ok(settings) => look(&input.spec, &input.working, &settings, &clock::system()).await,
        Err(fault) => Looked::failed(failure_of_key(&fault)),
    };
    console.phase(2, 2, "what was found");
    looked.lines.iter().for_each(|line| console.line(line));
    StepOutcome { failure: looked.failure, warnings: looked.warnings, findings: looked.findings }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// Why RKE should not begin; none when it may.
    pub failure: Option<Failure>,
    /// What will be regretted.
    pub warnings: Vec<String>,
    /// Everything, for programs.
    pub findings: Value,
    /// Everything that is not as it should be, for people.
    pub lines: Vec<String>,
}

/// Looks at all hosts of a cluster, and puts the keys that they show on record. `working` is the cluster's
/// directory for `rke`.
pub async fn look(spec: &ClusterSpec, working: &Path, settings: &Settings, clock: &Clock) -> Looked {
    let visit = |node, connector| async move { visit(node, spec, settings, &connector, clock).await };
    let (mut looked, connector) = match survey(spec, working, settings, clock, visit).await {
        Ok(surveyed) => surveyed,
        Err(fault) => return Looked::failed(failure_of_records(&fault)),
    };
    let targets: Vec<Target> = spec.nodes.iter().map(|node| Target::of(node, spec)).collect();
    if let Err(fault) = connector.known().save(&targets) {
        looked.failure.get_or_insert_with(|| failure_of_records(&fault));
    }
    looked
}

/// The same for a spec that is only planned: over within a time, and nothing is put on record.
pub async fn glance(
    spec: &ClusterSpec,
    working: &Path,
    settings: &Settings,
    clock: &Clock,
    within: Duration,
) -> Looked {
    let over = CancellationToken::new();
    let visit = |node, connector| {
        let over = over.clone();
        async move {
            tokio::select! {
                biased;
                () = over.cancelled() => Err(SshFault::Unfinished(within.as_secs())),
                found = visit(node, spec, settings, &connector, clock) => found,
            }
        }
    };
    let mut looking = std::pin::pin!(survey(spec, working, settings, clock, visit));
    let surveyed = tokio::select! {
        surveyed = &mut looking => surveyed,
        () = tokio::time::sleep(within) => {
            over.cancel();
            looking.await
        }
    };
    surveyed.map_or_else(|fault| Looked::failed(failure_of_records(&fault)), |(looked, _)| looked)
}

/// Visits all hosts at once, and judges what was found.
async fn survey<'a, F>(
    spec: &'a ClusterSpec,
    working: &Path,
    settings: &Settings,
    clock: &Clock,
    visit: impl Fn(&'a Node, Arc<Connector>) -> F,
) -> Result<(Looked, Arc<Connector>), KnownHostsFault>
where
    F: Future<Output = Result<Found, SshFault>>,
{
    let expected = expected(working);
    let known = KnownHosts::open(working.parent().unwrap_or(working), !expected.ca.is_empty())?;
    let connector = Arc::new(Connector::new(settings.credentials.clone(), known, Arc::clone(clock)));
    let found = fleet::each(&spec.nodes, |node| visit(node, Arc::clone(&connector))).await;
    let hosts: Vec<Host<'_>> = spec.nodes.iter().zip(found).map(|(node, found)| Host { node, found }).collect();
    let judged = checks::judge(spec, &expected, &hosts);
    let looked = Looked {
        failure: report::failure(&hosts, &judged),
        warnings: report::warnings(&hosts, &judged),
        findings: report::findings(&hosts, &judged),
        lines: hosts.iter().zip(&judged).flat_map(|(host, checks)| report::lines(host, checks)).collect(),
    };
    Ok((looked, connector))
}

impl Looked {
    /// Nothing was looked at.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self {
            lines: vec![failure.message.clone()],
            failure: Some(failure),
            warnings: Vec::new(),
            findings: json!({"hosts": []}),
        }
    }
}

pub(crate) fn failure_of_records(fault: &crate::ssh::known::KnownHostsFault) -> Failure {
    Failure {
        class: Class::Volume,
        message: format!("the record of the hosts' SSH keys cannot be used: {fault}"),
        line: None,
        retryable: false,
        remedy: "An operator of the service must see that the state volume is sound; a damaged record is moved aside by hand, after the hosts' keys were compared.".into(),
    }
}

/// The failure when there is nothing to log in with.
pub(crate) fn failure_of_key(fault: &KeyFault) -> Failure {
    Failure {
        class: Class::Auth,
        message: fault.to_string(),
        line: None,
        retryable: fault.retryable(),
        remedy: fault.remedy().into(),
    }
}

/// The CA that the hosts should work with, by the state on the volume.
fn expected(working: &Path) -> Expected {
    let read = std::fs::read(working.join(STATE)).ok();
    // A state that is torn is the state gate's business; here it is as if there were none on the hosts.
    let facts = read.and_then(|bytes| state::inspect(&bytes).ok());
    let ca = facts.map(|facts| [Some(facts.ca_sha256), facts.current_ca_sha256]).into_iter().flatten().flatten();
    Expected { ca: ca.collect() }
}

async fn visit(
    node: &Node,
    spec: &ClusterSpec,
    settings: &Settings,
    connector: &Arc<Connector>,
    clock: &Clock,
) -> Result<Found, SshFault> {
    let target = Target::of(node, spec);
    let session = connector.connect(&target, settings.patience(&target)).await?;
    let found = inspect(node, spec, &settings.place(&target), settings.patience(&target).look, &session, clock).await;
    session.close().await;
    found
}

async fn inspect(
    node: &Node,
    spec: &ClusterSpec,
    place: &Place,
    look: Duration,
    session: &Session,
    clock: &Clock,
) -> Result<Found, SshFault> {
    let forwarding = session.may_forward(FORWARD_TO, FORWARD_TIME).await;
    let docker = docker::ask(session, &place.docker_socket).await;
    let docker_root = docker.as_ref().map(|docker| docker.root_dir.clone()).unwrap_or_default();
    let nonce = nonce();
    let script = script(&nonce, place, &docker_root, &needs::peers(node, spec));
    let bounds = Bounds { time: look, output: MOST_OUTPUT };
    let sent = clock.now();
    let output = session.exec("sh -s", script.as_bytes(), bounds).await?;
    let received = clock.now();
    let exchanged = session.exchanged().cloned();
    Ok(Found { facts: facts::read(&output, &nonce), docker, forwarding, exchanged, sent, received })
}

pub(crate) fn nonce() -> String {
    let mut bytes = [0_u8; 12];
    // Without randomness a fixed one still tells the probe's lines from ordinary noise.
    let _random = aws_lc_rs::rand::fill(&mut bytes);
    HEXLOWER.encode(&bytes)
}

fn script(nonce: &str, place: &Place, docker_root: &str, peers: &BTreeSet<String>) -> String {
    let peers = peers.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let set = |name: &str, value: &str| format!("{name}={}\n", quoted(value));
    let docker_root = if docker_root.starts_with('/') { docker_root } else { "/var/lib/docker" };
    [
        set("nonce", nonce),
        set("root", &place.root),
        set("socket", &place.docker_socket),
        set("docker_root", docker_root),
        set("peers", &peers),
        PROBE.to_owned(),
    ]
    .concat()
}

/// A word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
