//! The seam between the engine and what builds clusters.
//!
//! The engine knows attempts, fences, locks, the state gate, generations and supervised processes. What is run
//! to build a cluster, what it is told, how far its output says that it is, and whether it did what was asked,
//! is a driver's: a [`Provisioner`]. There is one, [`rke`]; what a driver cannot do it says in its
//! [`Capabilities`], and the engine refuses such a task before anything is touched.
//!
//! - [`capabilities`]: verbs that are offered, and where a run may be ended without harm.
//! - [`announced`]: reads output that says itself how far it is, as our own steps do.
//! - [`rke`]: the driver of Rancher's `rke`.
//!
//! Not here: what the state gate and the generations know of state files (`volume`): they guard RKE's, by name
//! and content. A driver whose state looks different brings rules of its own for those.

pub mod announced;
pub mod capabilities;
pub mod rke;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::name::ClusterName;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::{ExitStatus, Rotation};
use cratekube_common::domain::task::TaskKind;
pub use cratekube_common::rke::classify::{Judgement, Stop};
use cratekube_common::rke::phases::PhaseTracker;
use cratekube_common::rke::render::SshAccess;

pub use self::capabilities::{Capabilities, NotOffered, Verb};
use crate::run::host::Host;
use crate::run::journal::RunRecord;
pub use crate::run::rke::{Rke as Tool, RkeError as ToolError};

/// What a driver is told to do.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Which of its verbs.
    pub verb: Verb,
    /// The cluster's name.
    pub name: &'a ClusterName,
    /// Desired state, with its secrets.
    pub spec: &'a ClusterSpec,
    /// How hosts are logged in to.
    pub ssh: &'a SshAccess,
    /// Which certificates are renewed; only with that verb.
    pub rotation: Option<&'a Rotation>,
}

/// The file that a tool works from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name, in the directory where the tool runs.
    pub name: &'static str,
    /// What is in it; it may hold secrets.
    pub text: String,
}

/// Everything that is known of a run that is over, but what its output said.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What was run.
    pub record: &'a RunRecord,
    /// How the process ended; none when that was lost.
    pub exit: Option<ExitStatus>,
    /// Where the state is that it left.
    pub place: &'a Path,
    /// Why we ended the process, when we did.
    pub stopped: Option<Stop<'a>>,
}

/// What builds, changes and removes clusters.
#[async_trait]
pub trait Provisioner: Send + Sync + fmt::Debug + 'static {
    /// What it is, and what it can do.
    fn capabilities(&self) -> Capabilities;

    /// The tool that would be run now: where it is, its version and checksum, what it offers.
    ///
    /// # Errors
    /// When there is none that may be run.
    async fn probe(&self, host: &dyn Host) -> Result<Arc<Tool>, ToolError>;

    /// Whether this can be done at all. Asked before anything is touched.
    ///
    /// # Errors
    /// The failure of the task.
    fn validate(&self, order: &Order<'_>) -> Result<(), Failure> {
        let capabilities = self.capabilities();
        capabilities.require(order.verb).map_err(|refusal| refusal.to_failure(capabilities.name))
    }

    /// What the tool is to find where it runs. Pure: the same order gives the same text.
    fn plan(&self, order: &Order<'_>) -> Description;

    /// The arguments that make the tool do it: apply, rotate, remove or export the state.
    ///
    /// # Errors
    /// [`NotOffered`], exactly for the verbs that its capabilities do not name.
    fn command(&self, order: &Order<'_>) -> Result<Vec<String>, NotOffered>;

    /// Reads the output of a run of this kind, from its first byte to what it says of the outcome.
    fn parse_progress(&self, kind: TaskKind) -> Box<dyn Reader>;

    /// The hosts that carry the cluster, by the state in a directory; none where that is not whole.
    fn hosts(&self, place: &Path) -> Vec<String>;
}

/// Follows the output of one run. Bounded, whatever comes.
pub trait Reader: Send + fmt::Debug {
    /// Takes the next bytes; says how far the run is when they moved it on.
    fn feed(&mut self, bytes: &[u8]) -> Option<Progress>;

    /// The output ends here.
    fn finish(&mut self);

    /// The phase that the run is in; none before its first.
    fn progress(&self) -> Option<Progress>;

    /// Whether it said that it came to its end.
    fn has_finished(&self) -> bool;

    /// Hosts that it said it took the cluster off.
    fn cleaned(&self) -> &BTreeSet<String>;

    /// Hosts whose data of the cluster may be gone, because it began to take the cluster off them.
    fn wiped(&self) -> &BTreeSet<String>;

    /// Whether the run did what was asked; none where the output is not what tells that.
    fn judge(&self, case: &Case<'_>) -> Option<Judgement>;
}

/// Follows the phases of a run in its supervisor, which knows a driver by its name alone: those of `rke`
/// by its own lines, of every other one as it announces them.
#[must_use]
pub fn phases(driver: &str, kind: TaskKind) -> PhaseTracker {
    if driver == rke::NAME { PhaseTracker::new(kind) } else { PhaseTracker::announced() }
}
