//! Preparing a run: claim the directory, pass fence, lock and gate, lay the ground, write the journal.
//!
//! Nothing is started before `run.json` is durable.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cratekube_common::domain::cluster::spec::NodeRole;
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::run::{Assignment, Rotation};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::render::SshAccess;
use cratekube_common::rke::state::{self, StateFacts};
use cratekube_common::runtime::{fault, files};

use super::attend::Live;
use super::core::{Core, internal};
use super::finish;
use super::hosts;
use super::predecessor;
use super::recover::{self};
use crate::provisioner::{Description, Order, Tool, Verb};
use crate::run::host::Supervisor;
use crate::run::journal::{Command, Journal, RunRecord};
use crate::run::process;
use crate::step::{self, StepInput};
use crate::volume::fence::{self, Accepted};
use crate::volume::gate::{self, Facts, Ground, Pass, Source};
use crate::volume::generations::{Generations, KUBECONFIG, SEALED, STATE, copy_files};
use crate::volume::identity::Volume;
use crate::volume::layout::{ClusterDir, ClusterFile};
use crate::volume::{VolumeError, digest, reserve};

/// How many times the state must fit on the volume again: once where `rke` writes it, once in the next
/// generation, once to spare.
const STATE_COPIES: u64 = 3;

/// Why nothing was started, and where that can be noted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) journal: Option<Journal>,
    /// What was wrong with the volume.
    pub(super) error: Option<VolumeError>,
}

impl Refusal {
    pub(super) fn of(failure: Failure) -> Box<Self> {
        Box::new(Self { failure, journal: None, error: None })
    }
}

impl From<VolumeError> for Box<Refusal> {
    fn from(error: VolumeError) -> Self {
        Box::new(Refusal { failure: error.to_failure(), journal: None, error: Some(error) })
    }
}

/// Everything that is needed to lay the ground for a run.
pub(super) struct Preparation<'a> {
    pub(super) core: &'a Core,
    pub(super) volume: &'a Volume,
    pub(super) assignment: &'a Assignment,
    pub(super) rke: &'a Tool,
}

/// A run that can be started.
pub(super) struct Prepared {
    pub(super) journal: Journal,
    pub(super) record: RunRecord,
    pub(super) cluster: ClusterDir,
    pub(super) lock: File,
    /// Where state is brought back from.
    pub(super) source: Option<Source>,
    /// True when the cluster is to be removed and was removed before.
    pub(super) removed_before: bool,
}

impl Preparation<'_> {
    /// Prepares the run; nothing of it is started.
    pub(super) fn prepare(&self) -> Result<Prepared, Box<Refusal>> {
        self.volume.check()?;
        let wanted = self.cluster_file();
        self.volume.layout.make_way(&wanted, &self.assignment.input.making_way())?;
        let (cluster, file) = self.volume.layout.claim(&wanted)?;
        let journal = Journal::at(cluster.run(self.assignment.attempt));
        self.volume.layout.check(journal.dir())?;
        if journal.dir().exists() {
            let path = journal.dir().to_owned();
            return Err(VolumeError::Known { attempt: self.assignment.attempt, path }.into());
        }
        // From here on there is a place where a refusal can be noted.
        let noted = |mut refusal: Box<Refusal>| {
            refusal.journal = Some(journal.clone());
            refusal
        };
        self.pass(&cluster, file, &journal).map_err(noted)
    }

    fn pass(&self, cluster: &ClusterDir, claimed: ClusterFile, journal: &Journal) -> Result<Prepared, Box<Refusal>> {
        let rotation = self.rotation();
        let argv = self.argv(journal, rotation.as_ref())?;
        let offered = Accepted { fence: self.assignment.fence, attempt: self.assignment.attempt };
        let accepted = fence::read(&cluster.fence())?;
        fence::check(accepted, offered)?;
        predecessor::has_ended(self.core, cluster, accepted.filter(|last| *last != offered))?;
        let lock = cluster.lock()?;
        finish::seal_leftover(self.core, cluster)?;
        let mut file = hosts::on_record(cluster)?.unwrap_or(claimed);
        self.enough_space(cluster)?;
        let (source, pass) = self.gate(cluster, &file).map_err(|e| match e {
            GateError::Refused(failure) => Refusal::of(*failure),
            GateError::Volume(error) => error.into(),
        })?;
        fence::accept(&cluster.fence(), offered)?;
        files::make_child(journal.dir()).map_err(VolumeError::io("make", journal.dir()))?;
        let cwd = self.lay_ground(cluster, journal, pass.ground, rotation.as_ref())?;
        self.tell_of_hosts(cluster, &mut file, &pass)?;
        let record = self.record((cluster, journal, &cwd), argv, rotation, pass, self.left_hosts(&file));
        journal.write_run(&record)?;
        let removed_before = self.removed_before(cluster);
        Ok(Prepared { journal: journal.clone(), record, cluster: cluster.clone(), lock, source, removed_before })
    }

    fn cluster_file(&self) -> ClusterFile {
        ClusterFile {
            format_version: 1,
            cluster: self.assignment.cluster,
            environment: self.assignment.environment.clone(),
            name: self.assignment.name.clone(),
            ca_sha256: None,
            hosts: BTreeSet::new(),
            wiped: BTreeSet::new(),
            removing: BTreeSet::new(),
        }
    }

    /// Puts on record what the run may do to its hosts, before it can.
    fn tell_of_hosts(&self, cluster: &ClusterDir, file: &mut ClusterFile, pass: &Pass) -> Result<(), VolumeError> {
        match self.assignment.kind {
            TaskKind::Remove if !self.removed_before(cluster) => {
                hosts::removal_begins(cluster, file, self.assignment.attempt)
            }
            kind if kind.builds() && file.hosts.is_empty() && pass.etcd_hosts.is_empty() => {
                hosts::first_build_begins(cluster, file)
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing is left to be removed by `rke`: a removal that failed later on is tried again.
    fn removed_before(&self, cluster: &ClusterDir) -> bool {
        self.assignment.kind == TaskKind::Remove && cluster.is_removed()
    }

    fn enough_space(&self, cluster: &ClusterDir) -> Result<(), VolumeError> {
        let state = fs::metadata(cluster.working().join(STATE)).map_or(0, |m| m.len());
        let needed = self.core.settings.min_free_bytes.saturating_add(state.saturating_mul(STATE_COPIES));
        let free = self.volume.free_bytes()?;
        if free < needed { Err(VolumeError::Full { free, needed }) } else { Ok(()) }
    }

    fn gate(&self, cluster: &ClusterDir, file: &ClusterFile) -> Result<(Option<Source>, Pass), GateError> {
        let (generations, working) = (Generations::at(cluster.generations()), cluster.working());
        let known = self.assignment.known.as_ref();
        if !self.assignment.kind.trusts_working() || self.removed_before(cluster) {
            let ca_before = file.ca_sha256.clone();
            return Ok((None, Pass { ground: Ground::Working, ca_before, etcd_hosts: Vec::new() }));
        }
        let newest = generations.newest()?;
        let newest_good = generations.newest_verified()?;
        let at_known = known.map(|k| generations.manifest(k.generation)).transpose()?.flatten();
        let found = digest::files(&working, &SEALED).map_err(VolumeError::io("read", &working))?;
        let bytes = files::read_optional(&working.join(STATE)).map_err(VolumeError::io("read", &working))?;
        let state = bytes.as_deref().map(state::inspect);
        let put_back = newest_good.as_ref().filter(|_| self.assignment.kind.goes_on() && !matches!(state, Some(Ok(_))));
        let put_back = put_back.map(|good| state_of(&generations, good.number)).transpose()?.flatten();
        let facts = Facts {
            kind: self.assignment.kind,
            known,
            ca_on_record: file.ca_sha256.as_deref(),
            newest: newest.as_ref(),
            newest_good: newest_good.as_ref(),
            at_known: at_known.as_ref(),
            working: &found,
            state: state.as_ref().map(Result::as_ref),
            removed: cluster.is_removed(),
            put_back: put_back.as_ref(),
            wiped: &file.wiped,
            untold: !file.removing.is_empty(),
            wanted_etcd: &self.wanted_etcd(),
        };
        if self.assignment.kind != TaskKind::RecoverState {
            return gate::decide(&facts).map(|pass| (None, pass)).map_err(GateError::Refused);
        }
        let named = self.assignment.recovery.and_then(|recovery| recovery.generation);
        let named = named.map(|number| named_generation(&generations, number)).transpose()?;
        let decided = gate::recover(&facts, named.as_ref().map(|named| named.as_ref().map_err(Clone::clone)));
        decided.map(|(source, pass)| (Some(source), pass)).map_err(GateError::Refused)
    }

    /// Puts what `rke` is to find where it will run, and gives back where that is.
    fn lay_ground(
        &self,
        cluster: &ClusterDir,
        journal: &Journal,
        ground: Ground,
        rotation: Option<&Rotation>,
    ) -> Result<PathBuf, VolumeError> {
        let working = cluster.working();
        let cwd = match self.assignment.kind {
            TaskKind::Provision | TaskKind::Reconfigure | TaskKind::RotateCertificates => working.clone(),
            // On a copy: `rke remove` deletes the state whether or not every host was reached.
            TaskKind::Remove => finish::scratch(journal),
            // Beside what is there: what comes back is looked at before it takes its place.
            TaskKind::RecoverState => finish::scratch(journal),
            _ => finish::scratch(journal),
        };
        files::make_child(&cwd).map_err(VolumeError::io("make", &cwd))?;
        match ground {
            Ground::Fresh => put_aside(&working, &journal.dir().join("aside"))?,
            Ground::PutBack(number) => recover::put_back(cluster, journal, number)?,
            Ground::Working => {}
        }
        if self.assignment.kind == TaskKind::Remove && ground != Ground::Fresh && !self.removed_before(cluster) {
            copy_files(&working, &cwd).map_err(VolumeError::io("copy", &working))?;
        }
        if !self.assignment.kind.is_rke() {
            return self.tell_step(cluster, journal, cwd);
        }
        if let Some(order) = self.order(rotation) {
            let description = self.core.provisioner.plan(&order);
            write_description(&cwd, &description).map_err(VolumeError::io("write the description to", &cwd))?;
        }
        Ok(cwd)
    }

    /// Tells a step what it works on.
    fn tell_step(&self, cluster: &ClusterDir, journal: &Journal, cwd: PathBuf) -> Result<PathBuf, VolumeError> {
        let assignment = self.assignment;
        let input = StepInput {
            kind: assignment.kind,
            environment: assignment.environment.clone(),
            name: assignment.name.clone(),
            cluster: assignment.cluster,
            operation: assignment.operation,
            attempt: assignment.attempt,
            spec: assignment.spec.clone(),
            working: cluster.working(),
            run_dir: journal.dir().to_owned(),
            settings: self.core.settings.step(assignment.kind),
            input: assignment.input.0.clone(),
        };
        step::input::write(&cwd, &input).map_err(VolumeError::io("write the input of a step to", &cwd))?;
        Ok(cwd)
    }

    /// Which certificates are to be renewed. What cannot be read was refused before.
    fn rotation(&self) -> Option<Rotation> {
        let rotates = self.assignment.kind == TaskKind::RotateCertificates;
        let asked = self.assignment.input.0.get(Rotation::INPUT).cloned().unwrap_or_default();
        rotates.then(|| serde_json::from_value(asked).unwrap_or_default())
    }

    /// What the driver is told; none for a step of our own.
    fn order<'o>(&'o self, rotation: Option<&'o Rotation>) -> Option<Order<'o>> {
        let Assignment { kind, name, spec, .. } = self.assignment;
        Some(Order { verb: Verb::of(*kind)?, name, spec, ssh: &self.core.settings.ssh, rotation })
    }

    /// Program and arguments, when the driver can do it.
    fn argv(&self, journal: &Journal, rotation: Option<&Rotation>) -> Result<Vec<String>, Box<Refusal>> {
        let Some(order) = self.order(rotation) else { return Ok(step::command(journal.dir())) };
        let provisioner = &self.core.provisioner;
        provisioner.validate(&order).map_err(Refusal::of)?;
        let name = provisioner.capabilities().name;
        let arguments = provisioner.command(&order).map_err(|refused| Refusal::of(refused.to_failure(name)))?;
        Ok(std::iter::once(self.rke.path.display().to_string()).chain(arguments).collect())
    }

    /// Hosts that are to have the cluster's etcd.
    fn wanted_etcd(&self) -> BTreeSet<String> {
        self.assignment.spec.nodes_with(NodeRole::Etcd).map(|node| node.address.clone()).collect()
    }

    /// Hosts that carry the cluster and are not in its description any more.
    fn left_hosts(&self, file: &ClusterFile) -> Vec<String> {
        let wanted = |host: &String| self.assignment.spec.nodes.iter().any(|node| node.address == *host);
        file.hosts.iter().filter(|host| !wanted(host)).cloned().collect()
    }

    fn record(
        &self,
        (cluster, journal, cwd): (&ClusterDir, &Journal, &Path),
        argv: Vec<String>,
        rotation: Option<Rotation>,
        pass: Pass,
        left_hosts: Vec<String>,
    ) -> RunRecord {
        let (assignment, settings) = (self.assignment, &self.core.settings);
        let agent_socket = match settings.ssh {
            SshAccess::Agent => std::env::var("SSH_AUTH_SOCK").ok(),
            SshAccess::Key { .. } | SshAccess::Untold => None,
        };
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let limits = settings.limits(assignment.kind);
        RunRecord {
            format_version: 1,
            attempt: assignment.attempt,
            fence: assignment.fence,
            task: assignment.task,
            kind: assignment.kind,
            operation: assignment.operation,
            request_id: assignment.request_id.clone(),
            cluster: assignment.cluster,
            environment: assignment.environment.clone(),
            name: assignment.name.clone(),
            volume: assignment.volume,
            wanted_hosts: assignment.spec.nodes.iter().map(|n| n.address.clone()).collect(),
            left_hosts,
            ca_before: pass.ca_before,
            etcd_hosts: pass.etcd_hosts,
            recovery: assignment.recovery,
            rotation,
            warnings: match pass.ground {
                Ground::PutBack(number) => vec![recover::said(number, journal)],
                Ground::Working | Ground::Fresh => Vec::new(),
            },
            provisioner: self.core.provisioner.capabilities().name.to_owned(),
            rke: self.rke.binary.clone(),
            command: Command {
                argv,
                // A step is the supervisor's own executable, which nobody can exchange under it.
                program: self.rke.mark.clone().filter(|_| assignment.kind.is_rke()),
                cwd: cwd.to_owned(),
                env: process::environment(journal.dir(), agent_socket),
                lock: cluster.lock_path(),
                reserve: reserve::path(&self.volume.root),
                time_limit_ms: ms(limits.run),
                silence_limit_ms: ms(limits.silence),
                phase_limit_ms: ms(limits.phase),
                stop_grace_ms: ms(settings.stop_grace),
                output_cap: settings.output_cap,
            },
            boot_id: self.core.boot_id.clone(),
            created_at: self.core.clock.now(),
        }
    }
}

/// What the state of a generation says, where it can be read.
fn state_of(generations: &Generations, number: u64) -> Result<Option<StateFacts>, VolumeError> {
    let content = generations.content(number)?;
    let state = content.iter().find(|(name, _)| name == STATE);
    Ok(state.and_then(|(_, bytes)| state::inspect(bytes).ok()))
}

/// The generation that was asked for, or why it cannot be used.
fn named_generation(generations: &Generations, number: u64) -> Result<Result<Manifest, String>, VolumeError> {
    let Some(manifest) = generations.manifest(number)? else {
        return Ok(Err(format!("generation {number} is not kept on the volume")));
    };
    Ok(generations
        .verify(number)?
        .map_or(Ok(manifest), |fault| Err(format!("generation {number} is damaged: {fault}"))))
}

enum GateError {
    Refused(Box<Failure>),
    Volume(VolumeError),
}

impl From<VolumeError> for GateError {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

/// Moves what a failed first run left out of the way, where it can be found.
fn put_aside(working: &Path, aside: &Path) -> Result<(), VolumeError> {
    files::make_child(aside).map_err(VolumeError::io("make", aside))?;
    for name in [STATE, KUBECONFIG] {
        match files::rename(&working.join(name), &aside.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(VolumeError::io("put aside", &working.join(name))(error));
            }
            _ => {}
        }
    }
    files::sync_dir(aside).and_then(|()| files::sync_dir(working)).map_err(VolumeError::io("put aside into", aside))
}

/// Whole for the tool, but not durable: it is written anew for every run, and sealed after it.
fn write_description(dir: &Path, description: &Description) -> io::Result<()> {
    files::replace(&dir.join(description.name), description.text.as_bytes())
}

impl Prepared {
    /// Starts its supervisor.
    pub(super) fn start(self, core: &Core) -> Result<Live, Box<Refusal>> {
        let Self { journal, record, cluster, lock, .. } = self;
        match core.host.start_supervisor(journal.dir(), &lock) {
            Ok(Supervisor { process: supervisor, child }) => {
                fault::point("run.supervised");
                let at = core.clock.now();
                Ok(Live {
                    journal,
                    record,
                    cluster,
                    supervisor,
                    child,
                    lock: Some(lock),
                    host_lost: false,
                    volume_failed: false,
                    at,
                })
            }
            Err(error) => {
                let message = format!("the supervisor cannot be started: {error}");
                let failure =
                    internal(message, true, "Look at the agent's host: is the agent's executable still there?");
                Err(Box::new(Refusal { journal: Some(journal), ..*Refusal::of(failure) }))
            }
        }
    }
}
