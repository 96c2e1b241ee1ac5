//! Why something failed, in a form that people and programs can act on.

use serde::{Deserialize, Serialize};

use super::spelled;

spelled! {
    /// The class of a failure; stable, for programs.
    pub enum FailureClass {
        /// The description or cluster.yml is wrong.
        Config = "config",
        /// A host or the cluster's API cannot be reached.
        Unreachable = "unreachable",
        /// SSH refused user or key.
        Auth = "auth",
        /// A host is not fit: disk, clock, ports in use, or what another cluster left there.
        Host = "host",
        /// Docker on a host is missing, forbidden or of the wrong version.
        Docker = "docker",
        /// An image cannot be pulled.
        Image = "image",
        /// Hosts cannot reach each other on the ports they need.
        Network = "network",
        /// etcd did not come up or lost health.
        Etcd = "etcd",
        /// The control plane did not come up.
        ControlPlane = "control_plane",
        /// A worker did not come up.
        Worker = "worker",
        /// An add-on was not deployed.
        Addon = "addon",
        /// RKE's state is missing, torn, older than known, or carries another CA.
        State = "state",
        /// The state volume: full, read-only, wrong, gone.
        Volume = "volume",
        /// An object in the cloud cannot be deleted, or the cloud cannot be asked.
        Cloud = "cloud",
        /// A time limit was reached.
        Timeout = "timeout",
        /// The run ended with its host or was killed; how far it came is not known.
        Interrupted = "interrupted",
        /// Ended on request.
        Cancelled = "cancelled",
        /// A fault of ours.
        Internal = "internal",
    }
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub class: FailureClass,
    /// What happened, in a sentence.
    pub message: String,
    /// The line of `rke` that shows it, when there is one.
    pub line: Option<String>,
    /// Whether doing the same again can help.
    pub retryable: bool,
    /// What the user should do.
    pub remedy: String,
}
