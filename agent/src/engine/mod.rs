//! The engine: takes an assignment, runs `rke` under a supervisor, seals the state, reports.
//!
//! - `execute`: takes an assignment to its end.
//! - `prepare`: prepares the ground on the volume, and starts the run.
//! - `attend`: waits for its end, whoever started it, and follows its output.
//! - `stop`: ends it when that is asked for.
//! - `finish`: seals what it left, judges, writes the result.
//! - `recover`: brings lost or damaged state back.
//! - `removed`: a removal of what was removed before.
//! - `scrub`: reads again what is sealed, now and then.
//! - `graves`: shreds what is kept of removed clusters when its time is over.
//! - `startup`: goes on with every run that a journal tells of.
//! - `answer`: what the controller asks of a cluster, or of the cloud.
//! - `held`: what is going on, in memory.
//! - `hosts`: which hosts carry a cluster, kept in mind.
//! - `predecessor`: whether the run before this one has ended.
//! - `probe`: how the volumes are, without waiting for one that hangs.
//!
//! The disk is the truth: each step is journaled before the next, so that the agent may end at any
//! moment. Closing the engine ends no run.

mod answer;
mod attend;
mod core;
mod execute;
mod finish;
mod graves;
mod held;
mod hosts;
mod inventory;
mod predecessor;
mod prepare;
mod probe;
mod recover;
mod removed;
mod scrub;
pub mod settings;
mod startup;
mod stop;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use cratekube_common::domain::agent::{AgentFacts, VolumeStatus};
use cratekube_common::domain::id::{AttemptId, VolumeId};
use cratekube_common::domain::inventory::ClusterOnVolume;
use cratekube_common::domain::query::{Answer, Query, QueryKind};
use cratekube_common::domain::run::{Assignment, HeldRun, RunVerdict};
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use settings::EngineSettings;

use self::core::Core;
use self::held::{Table, Taken, Whose, Wish};
use self::probe::Probe;
use crate::port::{Engine, Event};
use crate::provisioner::Provisioner;
use crate::provisioner::rke::RkeProvisioner;
use crate::run::host::Host;
use crate::run::journal::Mark;
use crate::volume::identity::{self, Volume, VolumeRefusal};

const SERVED_TRIES: u32 = 10;
const SERVED_PAUSE: Duration = Duration::from_millis(50);

/// Why the engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No volume at all is configured.
    #[error("no state volume is configured")]
    NoVolume,
    /// None of the volumes can be served.
    #[error("no state volume can be served: {}", .0.iter().map(|(_, refusal)| refusal.to_string()).collect::<Vec<_>>().join("; "))]
    NoneServed(Vec<(PathBuf, VolumeRefusal)>),
    /// The host does not say which boot this is.
    #[error("cannot read the boot id of this host: {0}")]
    Boot(io::Error),
    /// Something went wrong while the journals were read.
    #[error("cannot read the journals of earlier runs: {0}")]
    Journals(io::Error),
}

/// The engine on this host's volumes.
#[derive(Debug)]
pub struct LocalEngine {
    core: Arc<Core>,
}

impl LocalEngine {
    /// Opens the volumes, reads the journals of all runs, adopts those that live and goes on with
    /// those that ended. Every run that is held is in [`Engine::held_runs`] when this returns.
    ///
    /// # Errors
    /// When no volume can be served. One that cannot is told in [`Engine::volumes`] otherwise.
    pub async fn open(
        settings: EngineSettings,
        clock: Clock,
        events: UnboundedSender<Event>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_with(Arc::new(RkeProvisioner), settings, clock, events).await
    }

    /// Like [`LocalEngine::open`], with a driver of the caller's choice.
    ///
    /// # Errors
    /// As [`LocalEngine::open`].
    pub async fn open_with(
        provisioner: Arc<dyn Provisioner>,
        settings: EngineSettings,
        clock: Clock,
        events: UnboundedSender<Event>,
    ) -> Result<Arc<Self>, OpenError> {
        let host = Arc::new(settings.this_host(Arc::clone(&clock)));
        Self::build(host, provisioner, settings, clock, events).await
    }

    /// Like [`LocalEngine::open`], on a host of the caller's choice.
    ///
    /// # Errors
    /// As [`LocalEngine::open`].
    pub async fn open_on(
        host: Arc<dyn Host>,
        settings: EngineSettings,
        clock: Clock,
        events: UnboundedSender<Event>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::build(host, Arc::new(RkeProvisioner), settings, clock, events).await
    }

    async fn build(
        host: Arc<dyn Host>,
        provisioner: Arc<dyn Provisioner>,
        settings: EngineSettings,
        clock: Clock,
        events: UnboundedSender<Event>,
    ) -> Result<Arc<Self>, OpenError> {
        if settings.volumes.is_empty() {
            return Err(OpenError::NoVolume);
        }
        let boot_id = host.boot_id().map_err(OpenError::Boot)?;
        let (volumes, refused) = open_volumes(&settings, host.blocking()).await.map_err(OpenError::Journals)?;
        if volumes.is_empty() {
            return Err(OpenError::NoneServed(refused));
        }
        let core = Arc::new(Core {
            refused: refused.iter().filter_map(|(root, why)| refused_status(root, why)).collect(),
            unread: OnceLock::new(),
            probes: volumes.iter().map(|volume| Probe::of(volume, host.blocking())).collect(),
            host,
            provisioner,
            volumes,
            settings,
            clock,
            boot_id,
            held: Table::default(),
            events,
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
            glances: Semaphore::new(core::GLANCES),
        });
        let reading = core.blocking(startup::read_journals).await.map_err(OpenError::Journals)?;
        core.unread.get_or_init(|| reading.unread);
        for found in reading.found {
            startup::go_on(&core, found);
        }
        for volume in &core.volumes {
            core.spawn(scrub::keep(core.clone(), volume.clone()));
            core.spawn(graves::keep(core.clone(), volume.clone()));
        }
        Ok(Arc::new(Self { core }))
    }

    /// Lets go of the volumes. Runs go on, and are adopted by whoever opens the volumes next.
    pub async fn close(&self) {
        self.core.closing.cancel();
        self.core.tracker.close();
        self.core.tracker.wait().await;
    }

    fn decline(&self, assignment: &Assignment, reason: String) {
        let (attempt, fence) = (assignment.attempt, assignment.fence);
        tracing::warn!(%attempt, %fence, reason, "declined an assignment");
        self.core.tell(Event::Declined { attempt, fence, reason });
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.core.closing.cancel();
    }
}

type Opened = (Vec<Arc<Volume>>, Vec<(PathBuf, VolumeRefusal)>);

async fn open_volumes(settings: &EngineSettings, blocking: Blocking) -> io::Result<Opened> {
    let (mut volumes, mut refused) = (Vec::new(), Vec::new());
    for root in &settings.volumes {
        match open_volume(root, settings.require_mount, blocking).await? {
            Ok(volume) => volumes.push(Arc::new(volume)),
            Err(refusal) => {
                tracing::error!(volume = %root.display(), error = %refusal, "a state volume is not served");
                refused.push((root.clone(), refusal));
            }
        }
    }
    Ok((volumes, refused))
}

/// Opens a volume. An agent that is just ending is given a moment to let go of it.
async fn open_volume(
    root: &Path,
    require_mount: bool,
    blocking: Blocking,
) -> io::Result<Result<Volume, VolumeRefusal>> {
    for tries_left in (0..SERVED_TRIES).rev() {
        let opening = root.to_owned();
        match blocking.run(move || identity::open(&opening, require_mount)).await? {
            Err(VolumeRefusal::Served(_)) if tries_left > 0 => tokio::time::sleep(SERVED_PAUSE).await,
            opened => return Ok(opened),
        }
    }
    Ok(Err(VolumeRefusal::Served(root.to_owned())))
}

/// A volume that is not served can be named only if it says which it is.
fn refused_status(root: &Path, why: &VolumeRefusal) -> Option<VolumeStatus> {
    let id = identity::read(root).ok()??.id;
    Some(VolumeStatus {
        id,
        path: root.display().to_string(),
        free_bytes: 0,
        total_bytes: 0,
        fault: Some(why.to_string()),
        reserve_bytes: None,
        scrub: None,
    })
}

#[async_trait]
impl Engine for LocalEngine {
    async fn facts(&self) -> AgentFacts {
        let rke = self.core.provisioner.probe(self.core.host.as_ref()).await;
        let rke = rke.inspect_err(|error| tracing::warn!(%error, "no usable rke")).ok();
        AgentFacts {
            version: env!("CARGO_PKG_VERSION").into(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            slots: self.core.settings.slots,
            kubernetes_versions: rke.as_ref().map(|r| r.kubernetes_versions.clone()).unwrap_or_default(),
            rke: rke.map(|r| r.binary.clone()),
            volumes: self.volumes().await,
        }
    }

    async fn volumes(&self) -> Vec<VolumeStatus> {
        let mut volumes = probe::all(&self.core.probes).await;
        for status in &mut volumes {
            let unread = || self.core.unread.get()?.get(&status.id).cloned();
            status.fault = status.fault.take().or_else(unread);
            status.reserve_bytes = Some(self.core.settings.min_free_bytes);
        }
        volumes.extend(self.core.refused.iter().cloned());
        volumes
    }

    fn held_runs(&self) -> Vec<HeldRun> {
        self.core.held.list()
    }

    fn free_slots(&self) -> u32 {
        self.core.settings.slots.saturating_sub(self.core.held.in_use())
    }

    fn assign(&self, assignment: Assignment) {
        let Some(volume) = self.core.volume(assignment.volume) else {
            return self.decline(&assignment, format!("volume {} is not served by this agent", assignment.volume));
        };
        if self.core.closing.is_cancelled() {
            return self.decline(&assignment, "this agent is shutting down".into());
        }
        let (attempt, fence, cluster) = (assignment.attempt, assignment.fence, assignment.cluster);
        let whose = Whose { attempt, fence, cluster, volume: volume.id };
        match self.core.held.take(whose, Some(self.core.settings.slots)) {
            Taken::AlreadyHeld => {}
            Taken::NoSlot => self.decline(&assignment, "no slot is free".into()),
            Taken::Busy => self.decline(&assignment, "another run on this cluster has not ended".into()),
            Taken::Held(wishes) => {
                self.core.tell(Event::Slots);
                let core = self.core.clone();
                self.core.spawn(Box::pin(execute::execute(core, volume, assignment, wishes)));
            }
        }
    }

    fn verdict(&self, attempt: AttemptId, verdict: RunVerdict) {
        let wish = match verdict {
            RunVerdict::Continue => return,
            RunVerdict::Cancel => Wish::Cancel,
            RunVerdict::Forget => Wish::Forget,
        };
        tracing::info!(%attempt, ?verdict, "the controller's word on a run");
        if let Some(journal) = self.core.held.wish(attempt, wish) {
            finish::mark(&self.core, attempt, journal, Mark::Forgotten);
        }
    }

    fn recorded(&self, attempt: AttemptId) {
        if let Some(journal) = self.core.held.drop(attempt) {
            finish::mark(&self.core, attempt, journal, Mark::Recorded);
        }
    }

    fn replay(&self) -> Vec<Event> {
        self.core.held.replay()
    }

    async fn look_through(&self, volume: VolumeId) -> Result<Vec<ClusterOnVolume>, String> {
        let looked = self.core.blocking(move |core| inventory::look_through(core, volume)).await;
        looked.map_err(|error| error.to_string()).flatten()
    }

    async fn report_again(&self, attempts: Vec<AttemptId>) {
        let core = Arc::clone(&self.core);
        let again = self.core.blocking(move |_| inventory::report_again(&core, &attempts)).await;
        if let Err(error) = again {
            tracing::error!(%error, "cannot look for runs that are to be reported again");
        }
    }

    fn answers(&self) -> Vec<QueryKind> {
        vec![QueryKind::Kubeconfig, QueryKind::OrphanScan, QueryKind::Preflight, QueryKind::RemovalPreview]
    }

    async fn ask(&self, query: Query) -> Answer {
        match query.kind {
            QueryKind::Kubeconfig => answer::kubeconfig(&self.core, query).await,
            QueryKind::OrphanScan => answer::orphan_scan(&self.core, &query).await,
            QueryKind::Preflight => answer::preflight(&self.core, query).await,
            QueryKind::RemovalPreview => answer::removal_preview(&self.core, query).await,
        }
    }
}
