//! Attends a run to its end: whether this agent started it, adopted it, or found it ended.
//!
//! The output is followed all the while. When the supervisor is gone and has left no exit, it was
//! killed: then `rke` and all that it started is ended too, or awaited where it cannot be found, so that
//! nothing acts on the cluster unseen, and the run counts as interrupted.

use std::fs::File;
use std::io;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::time::Timestamp;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::finish::{self, Ended};
use super::held::{Started, Whose, Wish};
use super::stop;
use crate::port::{Event, OutputLength, OutputSource};
use crate::provisioner::Reader;
use crate::provisioner::announced::Announced;
use crate::run::journal::{ExitRecord, Journal, ProcessId, RunRecord, SupervisorRecord};
use crate::run::output::{Followed, Follower};
use crate::run::supervise::VOLUME_FAILED;
use crate::volume::VolumeError;
use crate::volume::layout::ClusterDir;

/// How often a lock is looked at: it cannot be awaited.
const AGAIN: Duration = Duration::from_millis(100);

/// A run that is to be attended.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) journal: Journal,
    pub(crate) record: RunRecord,
    pub(crate) cluster: ClusterDir,
    /// Its supervisor; none when that is known to have ended.
    pub(crate) supervisor: Option<ProcessId>,
    /// The same as our child, to be reaped.
    pub(crate) child: Option<Child>,
    /// The cluster's lock, where we took it.
    pub(crate) lock: Option<File>,
    /// True when the host went down in between.
    pub(crate) host_lost: bool,
    /// True when its supervisor says that it could not write to the volume.
    pub(crate) volume_failed: bool,
    /// When it started.
    pub(crate) at: Timestamp,
}

impl Live {
    pub(crate) fn whose(&self) -> Whose {
        let RunRecord { attempt, fence, cluster, volume, .. } = self.record;
        Whose { attempt, fence, cluster, volume }
    }
}

/// Attends a run to its end and tells what came of it.
pub(crate) async fn attend(core: Arc<Core>, mut live: Live, wishes: watch::Receiver<Wish>) {
    let ended = CancellationToken::new();
    let following = follow(&core, &live, ended.clone());
    let exit = {
        let grace = live.record.command.stop_grace();
        let journal = live.journal.clone();
        tokio::select! {
            biased;
            exit = end_of(&core, &mut live) => exit,
            () = stop::on_wish(&core, &journal, grace, wishes) => None,
        }
    };
    core.held.ended(live.record.attempt);
    ended.cancel();
    let followed = following.await.map_err(io::Error::other).and_then(std::convert::identity);
    let ended = match followed {
        Ok(Followed { evidence, bytes }) => Ended { exit, evidence: Some(evidence), output_bytes: bytes },
        Err(error) => {
            tracing::error!(attempt = %live.record.attempt, %error, "cannot read the output of a run");
            Ended { output_bytes: exit.as_ref().map_or(0, |e| e.output_bytes), exit, evidence: None }
        }
    };
    finish::finish(&core, live, ended).await;
}

/// Tells that the run goes on, and follows its output until `ended`.
fn follow(core: &Arc<Core>, live: &Live, ended: CancellationToken) -> tokio::task::JoinHandle<io::Result<Followed>> {
    let whose = live.whose();
    let (attempt, fence) = (whose.attempt, whose.fence);
    let (sender, length) = watch::channel(OutputLength::default());
    let started = Started { at: live.at, output: OutputSource { attempt, fence, path: live.journal.output(), length } };
    let event = whose.started(&started);
    core.held.started(attempt, started, live.supervisor.is_some());
    core.tell(event);
    let reader: Box<dyn Reader> = match live.record.kind {
        kind if kind.is_rke() => core.provisioner.parse_progress(kind),
        _ => Box::new(Announced::new()),
    };
    let follower = Follower::new(live.journal.output(), reader, sender, core.host.blocking());
    let telling = core.clone();
    let tell = move |progress| telling.tell(Event::Progress { attempt, fence, progress });
    let closing = core.closing.clone();
    core.tracker.spawn_on(
        async move {
            tokio::select! {
                biased;
                followed = follower.follow(ended, tell) => followed,
                () = closing.cancelled() => Err(io::Error::other("the engine was closed")),
            }
        },
        &core.runtime,
    )
}

/// Waits for the supervisor, and makes sure that `rke` has ended too.
async fn end_of(core: &Arc<Core>, live: &mut Live) -> Option<ExitRecord> {
    if let Some(supervisor) = live.supervisor {
        core.host.gone(supervisor).await;
    }
    if let Some(mut child) = live.child.take() {
        // It has ended; this only takes it out of the process table.
        let reaped = core.blocking(move |_| child.wait()).await.and_then(std::convert::identity);
        live.volume_failed = reaped.is_ok_and(|status| status.code() == Some(i32::from(VOLUME_FAILED)));
    }
    if let Some(exit) = exit_of(core, live).await {
        return Some(exit);
    }
    tracing::warn!(attempt = %live.record.attempt, host_lost = live.host_lost, "a supervisor ended without a word");
    let said = live.journal.supervisor().ok().flatten().filter(|record| record.boot_id == core.boot_id);
    if let Some(said) = said {
        end_named(core, live, &said).await;
    }
    take_lock(core, live).await;
    // A supervisor that could not be named may have come to its end after all.
    exit_of(core, live).await
}

/// Ends what a supervisor that is gone has named: the run's own control group, and `rke`.
async fn end_named(core: &Arc<Core>, live: &Live, said: &SupervisorRecord) {
    if let Some(cgroup) = &said.cgroup
        && let Err(error) = core.host.end_cgroup(cgroup, live.record.attempt)
    {
        tracing::warn!(attempt = %live.record.attempt, cgroup, %error, "cannot end the control group of a run; its processes are looked for");
    }
    if let Some(rke) = said.rke {
        stop::end(core, rke, Signal::KILL);
        core.host.gone(rke).await;
    }
}

/// How `rke` ended, where its supervisor has said so.
async fn exit_of(core: &Arc<Core>, live: &Live) -> Option<ExitRecord> {
    let journal = live.journal.clone();
    let exit = core.blocking(move |_| journal.exit()).await.map_err(io::Error::other);
    exit.and_then(|exit| exit.map_err(io::Error::other)).unwrap_or_else(|error| {
        tracing::error!(attempt = %live.record.attempt, %error, "cannot read how rke ended");
        None
    })
}

/// Ends what is left of the run, named or not, and takes the cluster's lock once nobody has it any more.
/// What cannot be found inherited the lock: as long as that is held, nothing may be sealed.
async fn take_lock(core: &Arc<Core>, live: &mut Live) {
    // Ours would hide that of `rke`: both are the same.
    live.lock = None;
    let mut told = false;
    loop {
        let (cluster, run_dir, attempt) = (live.cluster.clone(), live.journal.dir().to_owned(), live.record.attempt);
        let look = move |core: &Core| {
            let ended = core.host.end_strays(&run_dir);
            if ended > 0 {
                tracing::warn!(%attempt, ended, "ended processes that a killed supervisor had left");
            }
            cluster.lock()
        };
        match core.blocking(look).await {
            Ok(Ok(lock)) => {
                live.lock = Some(lock);
                return;
            }
            Ok(Err(VolumeError::Locked { path })) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(attempt = %live.record.attempt, lock = %path.display(), "rke outlives its supervisor; waiting until it lets go of the cluster's lock");
                }
                tokio::time::sleep(AGAIN).await;
            }
            Ok(Err(error)) => {
                return tracing::error!(attempt = %live.record.attempt, %error, "cannot take a cluster's lock");
            }
            Err(error) => {
                return tracing::error!(attempt = %live.record.attempt, %error, "cannot take a cluster's lock");
            }
        }
    }
}
