//! What agents and users ask for, one verb each, above the store.
//!
//! A verb is told by an [`Actor`] who has been authorized already (`rest::caller`); it decides what
//! the request means, asks the store once for the change, and tells those who watch. Not here: HTTP,
//! SQL, and the wire.

pub mod agents;
mod alarms;
pub mod audit;
pub mod ca;
pub mod change;
pub mod clusters;
pub mod conversation;
mod credit;
pub mod dispatch;
pub mod environments;
pub mod health;
pub mod identity;
pub mod kubeconfig;
pub mod leases;
pub mod lines;
pub(crate) mod manifests;
pub mod operations;
pub mod orphans;
pub mod output;
pub mod preflight;
pub mod presence;
pub mod questions;
pub mod removal;
pub mod resources;
pub mod retries;
pub mod revocations;
pub mod rotation;
pub mod spec_secrets;
pub mod summary;
pub mod users;
pub mod versions;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::cluster::resource::MAX_RESOURCES;
use cratekube_common::domain::environment::{EnvironmentPattern, Grant};
use cratekube_common::domain::failure::Failure;
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId, OrphanScanId};
use cratekube_common::domain::operation::OperationState;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::mint::Mint;

use crate::config::operations::Removals;
use crate::plan::chain::Chain;
use crate::plan::policy::Policy;
use crate::plan::scopes::Scopes;
use crate::store::{Store, StoreError};
use lines::Lines;
use presence::Presence;
use spec_secrets::SpecVault;
use watch::Watch;

/// The verbs. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Service {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Who is told.
    pub watch: Watch,
    /// Who is here.
    pub presence: Presence,
    /// Lines to those who are here.
    pub lines: Lines,
    /// The time.
    pub clock: Clock,
    /// New identifiers.
    pub mint: Mint,
    /// Encrypts secrets of specs.
    pub vault: Arc<dyn SpecVault>,
    /// What is refused where.
    pub policy: Arc<Policy>,
    /// What operations are made of.
    pub chain: Arc<Chain>,
    /// Where managed resources may put objects.
    pub scopes: Arc<Scopes>,
    /// What holds for every removal.
    pub removals: Removals,
    /// What holds for scans for orphans.
    pub scans: orphans::Scans,
    /// What a check of a cluster found longer ago than this is not gone by.
    pub stale_after: Duration,
}

/// Who asks, as far as a verb needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The token's subject.
    pub subject: String,
    /// What it may do, and where.
    pub grants: Vec<Grant>,
    /// Address that the request came from.
    pub origin: String,
    /// The request.
    pub request_id: String,
}

impl Actor {
    /// The patterns that name every environment the actor may see.
    #[must_use]
    pub fn visible(&self) -> Vec<EnvironmentPattern> {
        self.grants.iter().map(|grant| grant.environments.clone()).collect()
    }

    fn audit(&self, action: &str, object: String, detail: String) -> AuditEntry {
        AuditEntry {
            actor: self.subject.clone(),
            origin: self.origin.clone(),
            action: action.to_owned(),
            object,
            outcome: AuditOutcome::Allowed,
            detail,
            request_id: self.request_id.clone(),
        }
    }
}

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// There is a cluster of this name.
    #[error("a cluster of this name exists")]
    Exists,
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// Another operation is at work on the cluster.
    #[error("operation {0} is at work on the cluster")]
    Busy(OperationId),
    /// The cluster is at another revision.
    #[error("the cluster is at revision {0}")]
    Changed(u64),
    /// The resource is at another revision; zero when there is none.
    #[error("{}", if *.0 == 0 { "there is no such resource".to_owned() } else { format!("the resource is at revision {}", .0) })]
    ResourceChanged(u64),
    /// The resource is there, at this revision, and the request does not say whether it was seen.
    #[error("there is a resource of this name, at revision {0}")]
    ResourceUnseen(u64),
    /// There are as many as there may be.
    #[error("there are {MAX_RESOURCES} managed resources already; no more are allowed")]
    TooManyResources,
    /// The environment's policy refuses it.
    #[error("{}", .0.join("; "))]
    Policy(Vec<String>),
    /// Somebody has seen to the alarm.
    #[error("somebody has seen to this alarm")]
    Acknowledged,
    /// The join token was used; there is nothing left to take back.
    #[error("the join token was used: revoke the agent that it made")]
    TokenUsed,
    /// The cluster is protected against removal.
    #[error("the cluster is protected against removal")]
    Protected,
    /// The cluster's phase does not allow it.
    #[error("{0}")]
    NotAllowed(String),
    /// The operation has ended.
    #[error("the operation has {0}")]
    Over(OperationState),
    /// The operation has not ended.
    #[error("the operation is {0}")]
    NotOver(OperationState),
    /// No run holds the cluster.
    #[error("no run holds the cluster")]
    NotLocked,
    /// A run holds the cluster.
    #[error("a run of the removal is at work, or its end is not known")]
    RunHolds,
    /// Another scan for orphans is at work.
    #[error("the scan {0} is at work")]
    Scanning(OrphanScanId),
    /// The agent that holds the run is connected.
    #[error("agent {0}, which holds the cluster's run, is connected")]
    AgentConnected(AgentId),
    /// The agent's state does not allow it.
    #[error("the agent is {0}")]
    AgentState(AgentState),
    /// The agent that could answer is not here.
    #[error("{0}")]
    AgentAway(String),
    /// The agent's release does not do this.
    #[error("{0}")]
    AgentTooOld(String),
    /// The agent could not do what it was asked.
    #[error("{}", .0.message)]
    Unanswered(Box<Failure>),
    /// The agent holds attempts.
    #[error("the agent holds {} run(s) whose end is not known", .0.len())]
    AgentHolds(Vec<AttemptId>),
}
