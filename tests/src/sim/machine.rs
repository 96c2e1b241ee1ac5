//! The machine of a bastion: its boot and its processes, which outlive the agent.
//!
//! Supervisors and `rke`s are tasks on a host of the simulation that is never cut off; the agent knows
//! them by process numbers, as it does in life. What is on the volume is real.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cratekube_agent::run::host::{Host, Supervisor};
use cratekube_agent::run::journal::ProcessId;
use cratekube_agent::run::rke::{Rke, RkeError};
use cratekube_common::domain::run::RkeBinary;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

use super::Sabotage;
use super::chance::Chance;
use super::model::Model;
use super::supervisor;
use crate::house::specs::VERSION;

/// A process that is to be run.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Runs,
    /// This signal was sent to it.
    Signalled(i32),
    /// It is gone.
    Gone,
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A supervisor.
    Supervisor,
    /// An `rke`.
    Rke,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Who is told what happens.
    pub model: Arc<Model>,
    /// Its clock.
    pub clock: Clock,
    /// What is wrong with the product in this world.
    pub sabotage: Option<Sabotage>,
    tasks: mpsc::UnboundedSender<Task>,
    chance: Mutex<Chance>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    boots: u32,
    last_pid: i32,
    processes: BTreeMap<i32, Process>,
}

#[derive(Debug)]
struct Process {
    id: ProcessId,
    what: What,
    life: watch::Sender<Life>,
}

impl Machine {
    /// A machine that was just switched on; its processes go to `tasks`.
    #[must_use]
    pub fn new(
        name: String,
        model: Arc<Model>,
        clock: Clock,
        chance: Chance,
        tasks: mpsc::UnboundedSender<Task>,
        sabotage: Option<Sabotage>,
    ) -> Arc<Self> {
        let inner = Mutex::new(Inner { last_pid: 100, ..Inner::default() });
        Arc::new(Self { name, model, clock, sabotage, tasks, chance: Mutex::new(chance), inner })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws from the machine's chance.
    pub fn chance<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new process.
    pub fn fork(&self, what: What) -> (ProcessId, watch::Receiver<Life>) {
        let mut inner = self.inner();
        inner.last_pid += 1;
        let start_time = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(0);
        let id = ProcessId { pid: inner.last_pid, start_time };
        let (life, alive) = watch::channel(Life::Runs);
        inner.processes.insert(id.pid, Process { id, what, life });
        (id, alive)
    }

    /// Runs a process.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _world_is_over = self.tasks.send(Box::pin(task));
    }

    /// A process is gone.
    pub fn gone(&self, id: ProcessId) {
        if let Some(process) = self.inner().processes.remove(&id.pid) {
            process.life.send_replace(Life::Gone);
        }
    }

    /// Sends a signal to one process.
    pub fn signal(&self, id: ProcessId, signal: i32) {
        if let Some(process) = self.inner().processes.get(&id.pid).filter(|process| process.id == id) {
            process.life.send_replace(Life::Signalled(signal));
        }
    }

    /// Sends a signal to every process of a kind, or to all.
    pub fn signal_all(&self, what: Option<What>, signal: i32) {
        let inner = self.inner();
        for process in inner.processes.values().filter(|process| what.is_none_or(|what| what == process.what)) {
            process.life.send_replace(Life::Signalled(signal));
        }
    }

    /// Power is lost, and comes back: all processes are gone, and it is another boot.
    pub fn reboot(&self) {
        self.signal_all(None, Signal::KILL.as_raw());
        self.inner().boots += 1;
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.inner().processes.len()
    }
}

/// What the agent sees of the machine.
#[derive(Debug)]
pub struct MachineHost(pub Arc<Machine>);

#[tonic::async_trait]
impl Host for MachineHost {
    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("{}-boot-{}", self.0.name, self.0.inner().boots))
    }

    async fn rke(&self) -> Result<Arc<Rke>, RkeError> {
        Ok(Arc::new(Rke {
            path: "/usr/local/bin/rke".into(),
            mark: None,
            binary: RkeBinary { version: "v1.6.3".into(), sha256: "00".repeat(32), rehearsal: false },
            kubernetes_versions: vec![VERSION.into()],
        }))
    }

    fn start_supervisor(&self, run_dir: &Path, lock: &File) -> io::Result<Supervisor> {
        let times = if self.0.sabotage == Some(Sabotage::StartsTwice) { 2 } else { 1 };
        let mut first = None;
        for _ in 0..times {
            let (process, life) = self.0.fork(What::Supervisor);
            let task = supervisor::supervise(Arc::clone(&self.0), process, life, run_dir.to_owned(), lock.try_clone()?);
            self.0.run(task);
            first.get_or_insert(process);
        }
        Ok(Supervisor { process: first, child: None })
    }

    fn lives(&self, process: ProcessId) -> bool {
        self.0.inner().processes.get(&process.pid).is_some_and(|found| found.id == process)
    }

    async fn gone(&self, process: ProcessId) {
        let life = {
            let inner = self.0.inner();
            inner.processes.get(&process.pid).filter(|found| found.id == process).map(|found| found.life.subscribe())
        };
        if let Some(mut life) = life {
            let _gone = life.wait_for(|life| *life == Life::Gone).await;
        }
    }

    fn signal_group(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        if let Some(found) = self.0.inner().processes.get(&process.pid).filter(|found| found.id == process) {
            found.life.send_replace(Life::Signalled(signal.as_raw()));
        }
        Ok(())
    }

    fn blocking(&self) -> Blocking {
        Blocking::Inline
    }
}
