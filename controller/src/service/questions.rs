//! Asking the agent of a cluster something, on its live session.
//!
//! A question is asked once and answered within [`PATIENCE`]; neither it nor its answer is kept or
//! logged. Not here: what the questions mean.

use std::time::Duration;

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::query::{Query, QueryKind, Subject};
use cratekube_common::domain::secret::Secret;
use serde_json::Value;

use super::lines::Unanswered;
use super::{Service, ServiceError};

/// How long an answer is waited for: less than a request may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl Service {
    /// Asks the agent that serves a cluster's state volume.
    ///
    /// # Errors
    /// When it is not here, too old, silent, or could not answer.
    pub(super) async fn ask(
        &self,
        cluster: &Cluster,
        agent: Option<&Agent>,
        kind: QueryKind,
        input: Value,
    ) -> Result<Secret, ServiceError> {
        let (Some(volume), Some(agent)) = (cluster.volume, agent) else {
            let volume = cluster.volume.map_or_else(|| "not known yet".to_owned(), |volume| volume.to_string());
            let words = format!("no agent serves the cluster's state volume ({volume})");
            return Err(ServiceError::AgentAway(words));
        };
        let query = Query {
            id: self.mint.id(),
            kind,
            about: Some(Subject {
                cluster: cluster.id,
                environment: cluster.environment.clone(),
                name: cluster.name.clone(),
                volume,
            }),
            input,
            patience: PATIENCE,
        };
        self.put(agent, query).await
    }

    /// Puts a question to an agent, and waits for the answer for as long as the question's patience.
    ///
    /// # Errors
    /// When it is not here, too old, silent, or could not answer.
    pub(super) async fn put(&self, agent: &Agent, query: Query) -> Result<Secret, ServiceError> {
        let (kind, within) = (query.kind, query.patience.as_secs());
        let name = &agent.name;
        let answer = self.lines.ask(agent.id, query).await.map_err(|why| match why {
            Unanswered::Away => ServiceError::AgentAway(format!("agent {name} is not connected")),
            Unanswered::TooOld => {
                let version = agent.facts.as_ref().map_or("unknown", |facts| facts.version.as_str());
                let version: String = version.chars().take(40).collect();
                ServiceError::AgentTooOld(format!(
                    "agent {name} (version {version}) does not answer questions of the kind {kind}; upgrade it"
                ))
            }
            Unanswered::Busy => failed(format!("agent {name} has enough questions to answer now")),
            Unanswered::Silent => {
                failed(format!("agent {name} did not answer within {within} s, or its session ended"))
            }
        })?;
        answer.map_err(|failure| ServiceError::Unanswered(Box::new(failure)))
    }
}

fn failed(message: String) -> ServiceError {
    ServiceError::Unanswered(Box::new(Failure {
        class: FailureClass::Timeout,
        message,
        line: None,
        retryable: true,
        remedy: "Look whether the cluster's API answers, and ask again.".into(),
    }))
}

/// The failure of an answer that cannot be read. Nothing of it is quoted.
pub(super) fn unreadable(fault: &str) -> ServiceError {
    ServiceError::Unanswered(Box::new(Failure {
        class: FailureClass::Internal,
        message: format!("the agent's answer cannot be read: {fault}"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent or the controller so that their versions match.".into(),
    }))
}
