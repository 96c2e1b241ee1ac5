//! How far a run is, recognised from RKE's own lines.
//!
//! A phase is known by the words that its first line begins with. A tracker never goes back: RKE
//! connects, writes certificates and builds workers several times in one run, and a bar that jumps
//! back tells nobody anything. The number of steps depends on the kind of task alone.
//!
//! Not here: the other commands. Snapshots and restoring begin with `Starting saving snapshot on etcd
//! hosts` and `Restoring etcd snapshot`; when they become tasks they get a table of their own.

use super::lines::{Level, Line};
use crate::domain::progress::Progress;
use crate::domain::task::TaskKind;
use crate::step;

/// A phase, and how its line begins.
type Phase = (&'static str, &'static [&'static str]);

const PROVISION: &[Phase] = &[
    ("starting", &["Initiating Kubernetes cluster"]),
    ("certificates", &["[certificates] Generating "]),
    ("connecting", &["Building Kubernetes cluster"]),
    ("port checks", &["[network] Deploying port listener containers", "[network] No hosts added existing cluster"]),
    ("deploying certificates", &["[certificates] Deploying kubernetes certificates"]),
    ("reconciling", &["[reconcile] Reconciling cluster state"]),
    ("images", &["Pre-pulling kubernetes images"]),
    ("etcd", &["[etcd] Building up etcd plane"]),
    ("control plane", &["[controlplane] Building up Controller Plane", "Processing controlplane host"]),
    ("saving state", &["[state] Saving full cluster state to Kubernetes"]),
    ("workers", &["[worker] Building up Worker Plane", "[worker] Upgrading Worker Plane"]),
    ("labels and taints", &["[sync] Syncing nodes Labels and Taints"]),
    ("network plugin", &["[network] Setting up network plugin"]),
    ("add-ons", &["[addons] Setting up ", "[dns] ", "[ingress] ", "[metrics-server] "]),
    ("finished", &["Finished building Kubernetes cluster successfully"]),
];

const REMOVE: &[Phase] = &[
    ("connecting", &["Tearing down Kubernetes cluster"]),
    ("workers", &["[worker] Tearing down Worker Plane"]),
    ("control plane", &["[controlplane] Tearing down the Controller Plane"]),
    ("etcd", &["[etcd] Tearing down etcd plane"]),
    ("cleaning hosts", &["[hosts] Cleaning up host ["]),
    ("removing files", &["Removing local admin Kubeconfig"]),
    ("finished", &["Cluster removed successfully"]),
];

const ROTATE: &[Phase] = &[
    ("starting", &["Rotating Kubernetes cluster certificates"]),
    ("certificates", &["[certificates] Generating "]),
    ("connecting", &["Rebuilding Kubernetes cluster with rotated certificates"]),
    ("deploying certificates", &["[certificates] Deploying kubernetes certificates"]),
    ("saving state", &["[state] Saving full cluster state to Kubernetes"]),
    ("etcd", &["[etcd] Restarting up etcd plane"]),
    ("control plane", &["[controlplane] Restarting the Controller Plane"]),
    ("workers", &["[worker] Restarting Worker Plane"]),
    ("finished", &["[worker] Successfully restarted Worker Plane"]),
];

const RECOVER: &[Phase] = &[
    ("retrieving", &["Retrieving state file from cluster"]),
    ("connecting", &["Unable to connect to server using kubeconfig", "Successfully connected to server using"]),
    ("asking hosts", &["[dialer] Setup tunnel for host ["]),
    ("finished", &["Successfully Deployed state file at ["]),
];

/// Follows one run.
#[derive(Debug)]
pub struct PhaseTracker {
    /// None for a step of our own, which announces its phases.
    phases: Option<&'static [Phase]>,
    reached: usize,
    announced: Option<Progress>,
}

impl PhaseTracker {
    /// A run that printed nothing yet.
    #[must_use]
    pub fn new(kind: TaskKind) -> Self {
        Self { phases: of(kind), ..Self::announced() }
    }

    /// The phases that a run of `rke` goes through; none for a step of our own.
    #[must_use]
    pub fn names(kind: TaskKind) -> Vec<&'static str> {
        of(kind).unwrap_or_default().iter().map(|(name, _)| *name).collect()
    }

    /// A run that announces its phases itself.
    #[must_use]
    pub fn announced() -> Self {
        Self { phases: None, reached: 0, announced: None }
    }

    /// Looks at the next line; says so when a later phase begins.
    pub fn observe(&mut self, line: &Line<'_>) -> Option<Progress> {
        let Some(phases) = self.phases else { return self.announced_by(line) };
        if line.level != Some(Level::Info) {
            return None;
        }
        let begins = |(_, marks): &Phase| marks.iter().any(|mark| line.starts_with(mark));
        let ahead = phases[self.reached..].iter().position(begins)?;
        self.reached += ahead + 1;
        self.current()
    }

    /// The phase that the run is in; none before its first.
    #[must_use]
    pub fn current(&self) -> Option<Progress> {
        let Some(phases) = self.phases else { return self.announced.clone() };
        let (phase, _) = phases.get(self.reached.checked_sub(1)?)?;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Progress { phase: (*phase).into(), step: number(self.reached), steps: number(phases.len()) })
    }

    /// A step may be run again from its beginning within one run; it still never goes back.
    fn announced_by(&mut self, line: &Line<'_>) -> Option<Progress> {
        if line.level.is_some() {
            return None;
        }
        let ahead = |progress: &Progress| self.announced.as_ref().is_none_or(|last| last.step < progress.step);
        let progress = step::announced(line.raw).filter(ahead)?;
        self.announced = Some(progress.clone());
        Some(progress)
    }
}

fn of(kind: TaskKind) -> Option<&'static [Phase]> {
    match kind {
        TaskKind::Provision | TaskKind::Reconfigure => Some(PROVISION),
        TaskKind::Remove => Some(REMOVE),
        TaskKind::RecoverState => Some(RECOVER),
        TaskKind::RotateCertificates => Some(ROTATE),
        _ => None,
    }
}
