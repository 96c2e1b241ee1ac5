//! Tasks: the pieces of an operation's work, each done by one agent.

use super::{IllegalTransition, spelled};

spelled! {
    /// What an agent is asked to do.
    pub enum TaskKind {
        /// `rke up` for a new or half-built cluster.
        Provision = "provision",
        /// `rke up` for a cluster whose description changed.
        Reconfigure = "reconfigure",
        /// `rke remove` on a copy of the working directory.
        Remove = "remove",
        /// Bring lost or damaged state back: from a generation, or from the cluster itself.
        RecoverState = "recover-state",
        /// `rke cert rotate`: new certificates, and when asked a new CA.
        RotateCertificates = "rotate-certificates",
        /// Look at every host before `rke` touches one.
        Preflight = "preflight",
        /// Give the cluster what its users need: namespaces, accounts, managed resources.
        Configure = "configure",
        /// Check what a user of the cluster would check.
        Verify = "verify",
        /// Keep a cluster that is to be removed from making anything new.
        Freeze = "freeze",
        /// Write down every cloud object that a cluster knows of.
        Record = "record",
        /// Delete what makes a cluster hold cloud objects, and wait for it.
        Release = "release",
        /// Take what `rke remove` leaves off the hosts.
        CleanHosts = "clean-hosts",
        /// Delete the cloud objects that a cluster left.
        Sweep = "sweep",
        /// Look again whether anything is left.
        Confirm = "confirm",
        /// Seal what is to be kept of a removed cluster, and report.
        Tombstone = "tombstone",
    }
}

impl TaskKind {
    /// True when the task brings a cluster to its spec with `rke up`.
    #[must_use]
    pub fn builds(self) -> bool {
        matches!(self, Self::Provision | Self::Reconfigure)
    }

    /// True when `rke up` goes on with the cluster as it is: building on it, or with new certificates.
    #[must_use]
    pub fn goes_on(self) -> bool {
        self.builds() || self == Self::RotateCertificates
    }

    /// True when `rke` does the task; a step of our own does every other one.
    #[must_use]
    pub fn is_rke(self) -> bool {
        matches!(
            self,
            Self::Provision | Self::Reconfigure | Self::Remove | Self::RecoverState | Self::RotateCertificates
        )
    }

    /// Name of the setting in the agent's `[steps]` that says how long such a task may take.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::RecoverState => "recover_state",
            Self::RotateCertificates => "rotate_certificates",
            Self::CleanHosts => "clean_hosts",
            one_word => one_word.as_str(),
        }
    }

    /// True when a step goes by what is in `working/`, so that this must be what was sealed.
    #[must_use]
    pub fn trusts_working(self) -> bool {
        self.is_rke() || matches!(self, Self::Configure | Self::Verify)
    }
}

spelled! {
    /// Where a task is.
    pub enum TaskState {
        /// Waits for the task before it.
        Pending = "pending",
        /// May be leased.
        Queued = "queued",
        /// An attempt holds it.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Given up.
        Failed = "failed",
        /// Stopped on request.
        Cancelled = "cancelled",
    }
}

/// What can happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEvent {
    /// The task before it is done.
    Released,
    /// An attempt was leased.
    Leased,
    /// The attempt ended without settling the task; another may try.
    Requeued,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Stopped on request, or dropped because the operation ended.
    Cancelled,
}

/// The one transition function of tasks.
///
/// # Errors
/// [`IllegalTransition`] for every other step.
pub fn transition(state: TaskState, event: TaskEvent) -> Result<TaskState, IllegalTransition> {
    use TaskEvent as E;
    use TaskState as S;
    match (state, event) {
        (S::Pending, E::Released) | (S::Running, E::Requeued) => Ok(S::Queued),
        (S::Queued, E::Leased) => Ok(S::Running),
        (S::Running, E::Succeeded) => Ok(S::Succeeded),
        (S::Queued | S::Running, E::Failed) => Ok(S::Failed),
        (S::Pending | S::Queued | S::Running, E::Cancelled) => Ok(S::Cancelled),
        _ => Err(IllegalTransition::new("task", state, event)),
    }
}
