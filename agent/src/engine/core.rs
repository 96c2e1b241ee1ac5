//! What all parts of the engine share.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use cratekube_common::domain::agent::VolumeStatus;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::VolumeId;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::EngineSettings;
use super::held::Table;
use super::probe::Probe;
use crate::port::Event;
use crate::provisioner::Provisioner;
use crate::run::host::Host;
use crate::volume::VolumeError;
use crate::volume::identity::Volume;

/// Plans whose hosts are looked at at once: each has up to 64 connections open.
pub(crate) const GLANCES: usize = 4;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: EngineSettings,
    pub(crate) clock: Clock,
    /// The boot of this host.
    pub(crate) boot_id: String,
    /// The volumes that are served.
    pub(crate) volumes: Vec<Arc<Volume>>,
    /// The same, to be measured.
    pub(crate) probes: Vec<Probe>,
    /// The volumes that are not.
    pub(crate) refused: Vec<VolumeStatus>,
    /// A sentence for each volume with journals that could not be read when the engine was opened.
    pub(crate) unread: OnceLock<BTreeMap<VolumeId, String>>,
    pub(crate) host: Arc<dyn Host>,
    /// What builds clusters.
    pub(crate) provisioner: Arc<dyn Provisioner>,
    pub(crate) held: Table,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) closing: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) runtime: Handle,
    /// Plans whose hosts are looked at: [`GLANCES`] at a time.
    pub(crate) glances: Semaphore,
}

impl Core {
    /// The volume with an id.
    pub(crate) fn volume(&self, id: VolumeId) -> Option<Arc<Volume>> {
        self.volumes.iter().find(|v| v.id == id).cloned()
    }

    /// The volume that a path is on.
    pub(crate) fn volume_at(&self, path: &Path) -> Option<&Arc<Volume>> {
        self.volumes.iter().find(|v| path.starts_with(&v.root))
    }

    /// Takes note of an error at a path of a volume.
    pub(crate) fn heed(&self, path: &Path, error: &VolumeError) {
        if let Some(volume) = self.volume_at(path) {
            volume.heed(error);
        }
    }

    /// Tells the link. Nobody listens while the agent ends; the journal knows it all.
    pub(crate) fn tell(&self, event: Event) {
        let _nobody_listens = self.events.send(event);
    }

    /// Runs a task until it ends or the engine is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        let until_closed = async move {
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                () = task => {}
            }
        };
        drop(self.tracker.spawn_on(until_closed, &self.runtime));
    }

    /// Runs a short task to its end, also when the engine is closed meanwhile.
    pub(crate) fn see_through(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tracker.spawn_on(task, &self.runtime));
    }

    /// Does something that may wait for a disk, away from the runtime.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.host.blocking() == Blocking::Inline {
            return Ok(work(self));
        }
        let core = self.clone();
        let working = self.tracker.spawn_blocking_on(move || work(&core), &self.runtime);
        working.await.map_err(io::Error::other)
    }
}

/// A fault of ours, or of this host.
pub(crate) fn internal(message: String, retryable: bool, remedy: &str) -> Failure {
    Failure { class: FailureClass::Internal, message, line: None, retryable, remedy: remedy.into() }
}
