//! The host that runs are on: its boot, its processes, its `rke`. A trait, so that the simulation can
//! put a machine of its own here; what is on the volume is real in either case.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use rustix::process::Signal;

use super::journal::ProcessId;
use super::process::{self, Awaited};
use super::rke::{Finder, Rke, RkeError};
use super::scope::{self, Scope};
use super::strays;

/// How often a process is looked at that cannot be awaited.
const AGAIN: Duration = Duration::from_millis(100);

/// A supervisor that was started.
#[derive(Debug)]
pub struct Supervisor {
    /// Which process it is; none when it has ended already.
    pub process: Option<ProcessId>,
    /// The same as our child, to be reaped.
    pub child: Option<Child>,
}

/// What the engine asks of its host.
#[async_trait]
pub trait Host: Send + Sync + fmt::Debug + 'static {
    /// Which boot of the host this is.
    fn boot_id(&self) -> io::Result<String>;

    /// The `rke` that would be run now.
    async fn rke(&self) -> Result<Arc<Rke>, RkeError>;

    /// Starts the supervisor of a run; it inherits the cluster's lock.
    fn start_supervisor(&self, run_dir: &Path, lock: &File) -> io::Result<Supervisor>;

    /// Whether this very process lives. Its boot must be checked by the caller.
    fn lives(&self, process: ProcessId) -> bool;

    /// Returns when the process is gone.
    async fn gone(&self, process: ProcessId);

    /// Signals the group of a process; one that is gone is no error.
    fn signal_group(&self, process: ProcessId, signal: Signal) -> io::Result<()>;

    /// Ends everything in the control group of a run whose supervisor is gone, if it is the run's own.
    fn end_cgroup(&self, _cgroup: &str, _attempt: AttemptId) -> io::Result<()> {
        Ok(())
    }

    /// Ends every process that the `rke` of a run has left, when its supervisor is gone; says how many.
    fn end_strays(&self, _run_dir: &Path) -> usize {
        0
    }

    /// Where work is done that waits for the volume.
    fn blocking(&self) -> Blocking {
        Blocking::Threads
    }
}

/// The machine that this process runs on.
#[derive(Debug)]
pub struct ThisHost {
    finder: Finder,
    supervisor_exe: Option<PathBuf>,
    scope: Option<Scope>,
    clock: Clock,
}

impl ThisHost {
    /// With the `rke` that is found, this executable as the supervisor (our own when none is named), in a
    /// scope where there is one to be had.
    #[must_use]
    pub fn new(finder: Finder, supervisor_exe: Option<PathBuf>, scope: Option<Scope>, clock: Clock) -> Self {
        Self { finder, supervisor_exe, scope, clock }
    }

    /// In a scope, or as near to it as this host allows.
    fn spawn(&self, run_dir: &Path, lock: &File) -> io::Result<Child> {
        let exe = self.supervisor_exe.as_deref();
        if let Some(scope) = &self.scope {
            match scope.start(exe, run_dir, lock, &self.clock) {
                Ok(child) => return Ok(child),
                Err(error) => {
                    tracing::warn!(run = %run_dir.display(), %error, "no scope for this run: it does not outlive a restart of the agent's unit");
                }
            }
        }
        process::start_supervisor(exe, run_dir, lock)
    }
}

#[async_trait]
impl Host for ThisHost {
    fn boot_id(&self) -> io::Result<String> {
        process::boot_id()
    }

    async fn rke(&self) -> Result<Arc<Rke>, RkeError> {
        self.finder.find().await
    }

    fn start_supervisor(&self, run_dir: &Path, lock: &File) -> io::Result<Supervisor> {
        let child = self.spawn(run_dir, lock)?;
        Ok(Supervisor { process: process::identify(child.id().cast_signed()).ok(), child: Some(child) })
    }

    fn lives(&self, process: ProcessId) -> bool {
        process::lives(process)
    }

    async fn gone(&self, process: ProcessId) {
        match Awaited::of(process) {
            Ok(None) => return,
            Ok(Some(awaited)) => match awaited.ended().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(pid = process.pid, %error, "cannot await a process"),
            },
            Err(error) => tracing::warn!(pid = process.pid, %error, "cannot await a process"),
        }
        while process::lives(process) {
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn signal_group(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        process::signal_group(process, signal)
    }

    fn end_cgroup(&self, cgroup: &str, attempt: AttemptId) -> io::Result<()> {
        scope::end_cgroup(Path::new(scope::CGROUPS), cgroup, attempt)
    }

    fn end_strays(&self, run_dir: &Path) -> usize {
        strays::end_run(run_dir)
    }
}
