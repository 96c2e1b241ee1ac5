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
        /// What the hosts of a planned spec are like: see [`preflight`](super::cluster::preflight).
        Preflight = "preflight",
    }
}

/// Longest time that an agent works on an answer.
pub const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// A question about one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Names it; the answer carries it.
    pub id: QueryId,
    /// What is asked.
    pub kind: QueryKind,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// The volume that holds its state.
    pub volume: VolumeId,
    /// More of the question, by kind. Never a secret.
    pub input: Value,
    /// How long an answer is waited for.
    pub patience: Duration,
}

/// What came of a question: a JSON document, by kind, or why there is none.
pub type Answer = Result<Secret, Failure>;
