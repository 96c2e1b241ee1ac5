//! A simulated `rke`, or step of the agent's: takes its time, tells what it does, writes its state in place and not at once,
//! and dies of any signal where it stands, as the real one does (`tests/captures`).

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cratekube_agent::run::journal::{ProcessId, RunRecord};
use cratekube_agent::volume::generations::{KUBECONFIG, STATE};
use cratekube_common::domain::run::ExitStatus;
use cratekube_common::domain::task::TaskKind;
use cratekube_common::runtime::files;
use cratekube_common::step::{self, StepOutcome};
use tokio::sync::{mpsc, oneshot, watch};

use super::machine::{Life, Machine};
use super::model::Starting;
use super::state::{self, Content, Found};

/// What a building `rke` says between its two states, as far as the product listens.
const BUILDING: [&str; 5] = [
    "Building Kubernetes cluster",
    "[network] Deploying port listener containers",
    "[certificates] Deploying kubernetes certificates to Cluster nodes",
    "[etcd] Building up etcd plane..",
    "[controlplane] Building up Controller Plane..",
];
/// What it says after the second.
const FINISHING: [&str; 4] = [
    "[worker] Building up Worker Plane..",
    "[sync] Syncing nodes Labels and Taints",
    "[network] Setting up network plugin: canal",
    "[addons] Setting up user addons",
];
/// Phases of a step.
const STEPS: u32 = 3;
/// Longer than any world.
const FOR_EVER: Duration = Duration::from_secs(7 * 24 * 3600);
/// A run that says much says so many lines more.
const FLOOD: usize = 400;

/// Why a run ends early.
enum Early {
    /// A signal.
    Signal(i32),
    /// It gave up.
    Failed,
}

/// Runs it to its end, which is told to `end`; the cluster's lock is held all the while.
pub async fn run(
    machine: Arc<Machine>,
    record: RunRecord,
    me: ProcessId,
    life: watch::Receiver<Life>,
    (pipe, lock): (mpsc::UnboundedSender<Vec<u8>>, File),
    end: oneshot::Sender<ExitStatus>,
) {
    let (attempt, cluster) = (record.attempt, record.cluster);
    let pace = machine.chance(|chance| chance.between(Duration::from_millis(300), Duration::from_secs(6)));
    let fails_at = machine.chance(|chance| chance.one_in(6).then(|| chance.below(12)));
    let floods = machine.chance(|chance| chance.one_in(12));
    let hangs_at = machine.chance(|chance| chance.one_in(14).then(|| 1 + chance.below(12)));
    let mut rke = Rke { machine: Arc::clone(&machine), record, life, pipe, pace, fails_at, hangs_at, floods, steps: 0 };
    let found = rke.begin();
    let done = match rke.record.kind {
        TaskKind::Provision | TaskKind::Reconfigure => rke.up(found).await,
        TaskKind::Remove => rke.remove().await,
        TaskKind::RecoverState => rke.give_back().await,
        _ => rke.step_of_ours().await,
    };
    let (exit, how) = match done {
        Ok(()) => (ExitStatus::Code(0), "done".to_owned()),
        Err(Early::Failed) => (ExitStatus::Code(1), "failed".to_owned()),
        Err(Early::Signal(signal)) => (ExitStatus::Signal(signal), format!("signal {signal}")),
    };
    machine.model.rke_ends(attempt, cluster, &how);
    let _supervisor_may_be_gone = end.send(exit);
    machine.gone(me);
    drop(lock);
}

struct Rke {
    machine: Arc<Machine>,
    record: RunRecord,
    life: watch::Receiver<Life>,
    pipe: mpsc::UnboundedSender<Vec<u8>>,
    pace: Duration,
    fails_at: Option<usize>,
    hangs_at: Option<usize>,
    floods: bool,
    steps: usize,
}

impl Rke {
    /// The state that it goes by; a step looks at the one in `working/` and never writes it.
    fn state(&self) -> PathBuf {
        let working = self.record.command.lock.with_file_name("working");
        if self.record.kind.is_rke() { self.record.command.cwd.join(STATE) } else { working.join(STATE) }
    }

    /// Gives back the state that the cluster keeps, into a directory that is empty.
    async fn give_back(&mut self) -> Result<(), Early> {
        self.step("Retrieving state file from cluster").await?;
        let Some(content) = self.machine.model.kept_by_cluster(self.record.cluster, None) else {
            self.say("fatal", "Unable to get ConfigMap with cluster state from any Control Plane host")?;
            return Err(Early::Failed);
        };
        let bytes = state::write(&content, &self.record.wanted_hosts, true);
        if fs::write(self.state(), bytes).is_err() {
            return Err(Early::Failed);
        }
        self.say("info", "Successfully Deployed state file at [./cluster.rkestate]")
    }

    /// Looks at the state, and tells the model that it acts from here on.
    fn begin(&self) -> Found {
        let found = state::read(&self.state());
        let cluster_dir = self.record.command.lock.with_file_name("generations");
        self.machine.model.rke_starts(&Starting {
            attempt: self.record.attempt,
            fence: self.record.fence,
            cluster: self.record.cluster,
            kind: self.record.kind,
            machine: &self.machine.name,
            found: &found,
            generations: &cluster_dir,
        });
        found
    }

    async fn up(&mut self, found: Found) -> Result<(), Early> {
        self.step("Initiating Kubernetes cluster").await?;
        let ca = match found {
            Found::Whole(content) => content.ca,
            // As the real one: what cannot be read is a new cluster.
            Found::Nothing | Found::Torn => {
                self.say("info", "[certificates] Generating CA kubernetes certificates")?;
                self.machine.chance(|chance| chance.below(8))
            }
        };
        self.write_state(ca, false).await?;
        self.say("info", "Successfully Deployed state file at [./cluster.rkestate]")?;
        for message in BUILDING {
            self.step(message).await?;
        }
        self.write_state(ca, true).await?;
        let kubeconfig = format!("# of attempt {}\n", self.record.attempt);
        let _disk_never_fails_here = fs::write(self.record.command.cwd.join(KUBECONFIG), kubeconfig);
        if self.floods {
            self.flood()?;
        }
        for message in FINISHING {
            self.step(message).await?;
        }
        self.say("info", "Finished building Kubernetes cluster successfully")
    }

    /// A step of the agent's: says what it does, and leaves what came of it.
    async fn step_of_ours(&mut self) -> Result<(), Early> {
        for step in 1..=STEPS {
            self.step(&step::announcement(step, STEPS, "simulated")).await?;
        }
        let outcome = serde_json::to_vec(&StepOutcome::default()).map_err(|_| Early::Failed)?;
        let run_dir = self.record.command.cwd.parent().map(PathBuf::from).unwrap_or_default();
        files::write_atomic(&run_dir.join("outcome.json"), &outcome).map_err(|_| Early::Failed)
    }

    async fn remove(&mut self) -> Result<(), Early> {
        self.step("Tearing down Kubernetes cluster").await?;
        for host in self.record.wanted_hosts.clone() {
            self.step(&format!("[hosts] Successfully cleaned up host [{host}]")).await?;
        }
        let _may_not_be_there = fs::remove_file(self.state());
        self.step("Removing local admin Kubeconfig: ./kube_config_cluster.yml").await?;
        self.say("info", "Cluster removed successfully")?;
        self.machine.model.cleaned(self.record.cluster);
        Ok(())
    }

    /// Says something and works for a while; gives up where this run is meant to.
    async fn step(&mut self, message: &str) -> Result<(), Early> {
        self.say("info", message)?;
        self.work(self.pace).await?;
        self.steps += 1;
        if self.hangs_at == Some(self.steps) {
            self.machine.model.hangs(self.record.attempt);
            self.work(FOR_EVER).await?;
        }
        if self.fails_at == Some(self.steps) {
            self.say("fatal", "[controlPlane] Failed to bring up Control Plane: simulated")?;
            return Err(Early::Failed);
        }
        Ok(())
    }

    fn say(&mut self, level: &str, message: &str) -> Result<(), Early> {
        let now = self.machine.clock.now();
        let line = format!("time=\"{now}\" level={level} msg=\"{message}\"\n");
        // Nobody reads it any more: a closed pipe kills.
        self.pipe.send(line.into_bytes()).map_err(|_| Early::Signal(13))
    }

    fn flood(&mut self) -> Result<(), Early> {
        let much = "x".repeat(1_000);
        (0..FLOOD).try_for_each(|n| self.say("info", &format!("[healthcheck] {n} {much}")))
    }

    /// Writes the state as the real one does: opened with truncate, and not at once.
    async fn write_state(&mut self, ca: usize, built: bool) -> Result<(), Early> {
        let revision = self.machine.model.next_revision(self.record.cluster);
        let bytes = state::write(&Content { revision, ca }, &self.record.wanted_hosts, built);
        let Ok(mut file) = File::create(self.state()) else { return Err(Early::Failed) };
        let (first, second) = bytes.split_at(bytes.len() / 2);
        if file.write_all(first).is_err() {
            return Err(Early::Failed);
        }
        self.work(self.pace / 8).await?;
        file.write_all(second).map_err(|_| Early::Failed)?;
        if built {
            self.machine.model.kept_by_cluster(self.record.cluster, Some(Content { revision, ca }));
        }
        Ok(())
    }

    /// Works until the time is over or a signal comes.
    async fn work(&mut self, time: Duration) -> Result<(), Early> {
        let signalled = async {
            match self.life.wait_for(|life| *life != Life::Runs).await.map(|life| *life) {
                Ok(Life::Signalled(signal)) => signal,
                _ => 9,
            }
        };
        tokio::select! {
            biased;
            signal = signalled => Err(Early::Signal(signal)),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}
