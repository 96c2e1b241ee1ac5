//! What the engine needs to know. Where these values come from (file, environment) is the business of
//! `config`; every default here has its reason.

use std::path::PathBuf;
use std::time::Duration;

use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::render::SshAccess;
use cratekube_common::runtime::clock::Clock;

use crate::config::{CloudSection, KubernetesSection, StepsSection};
use crate::metrics::Metrics;
use crate::run::host::ThisHost;
use crate::run::limits::Limits;
use crate::run::rke::Finder;
use crate::run::scope::Scope;
use crate::step::StepSettings;

/// How the engine works.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Roots of the state volumes.
    pub volumes: Vec<PathBuf>,
    /// The `rke` to run; the first one on `PATH` when none is named.
    pub rke: Option<PathBuf>,
    /// SHA-256 of those that may be run; any when none is named.
    pub allowed_sha256: Vec<String>,
    /// How supervisors get a scope of their own, where they do.
    pub scope: Option<Scope>,
    /// How `rke` logs in to hosts.
    pub ssh: SshAccess,
    /// Whether and how AWS is looked at.
    pub cloud: CloudSection,
    /// How the clusters' APIs are reached.
    pub kubernetes: KubernetesSection,
    /// Whether hosts are looked at before `rke` begins.
    pub preflight: bool,
    /// Whether hosts of a removed cluster are cleaned.
    pub clean_hosts: bool,
    /// Attempts executed at once. Four: `rke` waits for hosts most of the time, and a bastion is small.
    pub slots: u32,
    /// Longest task of each kind that has a limit of its own.
    pub limits: StepsSection,
    /// Longest run of `rke`. Two hours: four times the slowest provisioning seen on real hosts.
    pub run_timeout: Duration,
    /// Longest time without output of `rke`. Twenty minutes: the longest silence seen of a run that went on was 134 s.
    pub silence_timeout: Duration,
    /// Longest time in one phase of `rke`. 45 minutes: more than the slowest whole runs take.
    pub phase_timeout: Duration,
    /// Time between TERM and KILL. `rke` dies of TERM at once; its helpers may not.
    pub stop_grace: Duration,
    /// Most bytes of output kept of one run: head and tail. 1 GiB is ten thousand times a normal run.
    pub output_cap: u64,
    /// Generations kept of each cluster; the newest good one is kept in any case.
    pub keep_generations: usize,
    /// Finished runs kept of each cluster, as evidence.
    pub keep_runs: usize,
    /// Whether a volume must be a mounted filesystem of its own.
    pub require_mount: bool,
    /// The executable that knows `supervise <run-dir>`; this very process' own when none is named.
    pub supervisor_exe: Option<PathBuf>,
    /// Bytes that must be free, beyond three times the state, before a run starts.
    pub min_free_bytes: u64,
    /// How often everything that is sealed is read again. A day: rot is found long before the last good
    /// generation is pruned.
    pub scrub_interval: Duration,
    /// Counts what happens.
    pub metrics: Metrics,
}

impl EngineSettings {
    /// This machine, as these settings have it.
    #[must_use]
    pub fn this_host(&self, clock: Clock) -> ThisHost {
        let finder = Finder::new(self.rke.clone(), self.allowed_sha256.clone());
        ThisHost::new(finder, self.supervisor_exe.clone(), self.scope.clone(), clock)
    }

    /// What a step of this kind needs of them.
    #[must_use]
    pub fn step(&self, kind: TaskKind) -> StepSettings {
        StepSettings {
            ssh: self.ssh.clone(),
            cloud: self.cloud.clone(),
            kubernetes: self.kubernetes.clone(),
            preflight: self.preflight,
            clean_hosts: self.clean_hosts,
            limit: self.limits.limit(kind),
        }
    }

    /// How long a task of this kind may take. A step of our own has the limit of its kind and no other: how it
    /// waits is its own business.
    #[must_use]
    pub fn limits(&self, kind: TaskKind) -> Limits {
        const NEVER: Duration = Duration::MAX;
        let run = self.limits.limit(kind).unwrap_or(self.run_timeout);
        match kind.is_rke() {
            true => Limits { run, silence: self.silence_timeout, phase: self.phase_timeout },
            false => Limits { run, silence: NEVER, phase: NEVER },
        }
    }

    /// Settings with defaults for everything that has one.
    #[must_use]
    pub fn new(volumes: Vec<PathBuf>, ssh: SshAccess) -> Self {
        Self {
            volumes,
            rke: None,
            allowed_sha256: Vec::new(),
            scope: None,
            ssh,
            cloud: CloudSection::default(),
            kubernetes: KubernetesSection::default(),
            preflight: true,
            clean_hosts: true,
            slots: 4,
            limits: StepsSection::default(),
            run_timeout: Duration::from_secs(2 * 60 * 60),
            silence_timeout: Duration::from_secs(20 * 60),
            phase_timeout: Duration::from_secs(45 * 60),
            stop_grace: Duration::from_secs(30),
            output_cap: 1 << 30,
            keep_generations: 30,
            keep_runs: 20,
            require_mount: true,
            supervisor_exe: None,
            min_free_bytes: 64 << 20,
            scrub_interval: Duration::from_secs(24 * 60 * 60),
            metrics: Metrics::default(),
        }
    }
}
