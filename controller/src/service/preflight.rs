//! What the hosts of a plan are like: asked of the cluster's agent, kept nowhere.
//!
//! A plan is answered without it, too: an agent that is away, too old or silent is told of in the plan.

use cratekube_common::domain::cluster::preflight::{self, PlannedHosts};
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::query::QueryKind;

use super::change::Present;
use super::{Service, ServiceError};

/// What is known of the hosts of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preflight {
    /// It was not asked for.
    NotRun,
    /// It was asked for, and why there is none.
    Unavailable(String),
    /// What was found.
    Found(PlannedHosts),
}

impl Service {
    /// Has the hosts of a spec looked at by the agent that would work on them.
    pub async fn preflight(&self, present: &Present, spec: &ClusterSpec) -> Preflight {
        let asked = preflight::question(spec);
        let answer = self.ask(&present.cluster, present.agent.as_ref(), QueryKind::Preflight, asked).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(ServiceError::Unanswered(failure)) => return Preflight::Unavailable(failure.message),
            Err(why) => return Preflight::Unavailable(why.to_string()),
        };
        match PlannedHosts::from_json(&answer, spec.nodes.len()) {
            Ok(found) => Preflight::Found(found),
            Err(fault) => Preflight::Unavailable(format!("the agent's answer cannot be read: {fault}")),
        }
    }
}
