//! Questions to agents: asked on a live session, answered within a bounded time or not at all.
//!
//! Nothing of a question or its answer is kept: neither by the store nor in a log. An answer may hold a
//! credential, so that it is a [`Secret`] from the moment it is read.

use std::time::Duration;

use serde_json::Value;

use super::failure::Failure;
use super::id::{ClusterId, QueryId, VolumeId};
use super::name::{ClusterName, EnvironmentName};
use super::secret::Secret;
use super::spelled;

spelled! {
    /// What an agent can be asked.
    pub enum QueryKind {
        /// A kubeconfig for a person: see [`kubeconfig`](super::cluster::kubeconfig).
        Kubeconfig = "kubeconfig",
        /// What the agent's cloud holds of clusters that are not there any more. Its input is an
        /// [`OrphanInput`](super::removal::OrphanInput), its answer
        /// [`OrphanFindings`](super::removal::OrphanFindings). It is about no cluster.
        OrphanScan = "orphan-scan",
        /// What the hosts of a planned spec are like: see [`preflight`](super::cluster::preflight).
        Preflight = "preflight",
        /// What the removal of a cluster would delete in the cloud. Nothing is changed for it. Its input is a
        /// [`SweepInput`](super::removal::SweepInput), its answer [`SweepFindings`](super::removal::SweepFindings)
        /// of a dry run.
        RemovalPreview = "removal-preview",
    }
}

impl QueryKind {
    /// True when a question of this kind is about one cluster; otherwise it is about the agent's own place.
    #[must_use]
    pub fn about_cluster(self) -> bool {
        match self {
            Self::Kubeconfig | Self::Preflight | Self::RemovalPreview => true,
            Self::OrphanScan => false,
        }
    }

    /// Longest time that an agent works on an answer. Somebody waits for a kubeconfig and for a plan; a scan reads pages of
    /// everything that an account has in its region, and a cloud that is busy asks it to be slow.
    #[must_use]
    pub fn most_patience(self) -> Duration {
        match self {
            Self::Kubeconfig | Self::Preflight | Self::RemovalPreview => Duration::from_secs(60),
            Self::OrphanScan => Duration::from_secs(15 * 60),
        }
    }
}

/// A cluster that is asked about, and where its state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The volume that holds its state.
    pub volume: VolumeId,
}

/// A question to an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Names it; the answer carries it.
    pub id: QueryId,
    /// What is asked.
    pub kind: QueryKind,
    /// The cluster, where it is [about one](QueryKind::about_cluster).
    pub about: Option<Subject>,
    /// More of the question, by kind. Never a secret.
    pub input: Value,
    /// How long an answer is waited for.
    pub patience: Duration,
}

/// What came of a question: a JSON document, by kind, or why there is none.
pub type Answer = Result<Secret, Failure>;
