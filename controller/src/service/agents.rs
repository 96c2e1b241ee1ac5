//! Agents as admins see and handle them: what the store remembers, and who is here now.

use cratekube_common::domain::agent::{Agent, AgentEvent, AgentState};
use cratekube_common::domain::id::{AgentId, OperationId};

use super::presence::Seen;
use super::{Actor, Service, ServiceError};
use crate::plan::policy;
use crate::store::{AgentChanged, ChangeAgent, ForgetAgent, Forgotten, Page, PageRequest};

/// An agent, and its session while it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentNow {
    /// What is kept of it.
    pub agent: Agent,
    /// What is true of it now; none while it is offline.
    pub seen: Option<Seen>,
    /// What is to be known of its `rke`.
    pub warnings: Vec<String>,
}

impl Service {
    /// Agents, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn agents(&self, page: PageRequest) -> Result<Page<AgentNow>, ServiceError> {
        let Page { items, next } = self.store.agents(page).await?;
        Ok(Page { items: items.into_iter().map(|agent| self.now(agent)).collect(), next })
    }

    /// An agent.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn agent(&self, id: AgentId) -> Result<AgentNow, ServiceError> {
        let agent = self.store.agent(id).await?.ok_or(ServiceError::NotFound)?;
        Ok(self.now(agent))
    }

    /// Cordons, uncordons or drains an agent; holds for its session at once.
    ///
    /// # Errors
    /// When there is none, its state does not allow it, or the store fails.
    pub async fn change_agent(
        &self,
        actor: &Actor,
        id: AgentId,
        event: AgentEvent,
        reason: Option<String>,
    ) -> Result<AgentNow, ServiceError> {
        let action = match event {
            AgentEvent::Cordon => "agent.cordon",
            AgentEvent::Uncordon => "agent.uncordon",
            AgentEvent::Drain => "agent.drain",
            AgentEvent::Revoke => "agent.revoke",
        };
        let audit = actor.audit(action, id.to_string(), reason.unwrap_or_default());
        let request = ChangeAgent { agent: id, event, audit, now: self.clock.now() };
        match self.store.change_agent(request).await? {
            AgentChanged::Done(agent) => {
                if agent.state == AgentState::Revoked {
                    self.lines.end(id);
                }
                self.watch.announce_work();
                Ok(self.now(*agent))
            }
            AgentChanged::NotAllowed(state) => Err(ServiceError::AgentState(state)),
            AgentChanged::NotFound => Err(ServiceError::NotFound),
        }
    }

    /// Forgets an agent that will not return. Answers the operations that were given up by that.
    ///
    /// # Errors
    /// When it is connected, holds runs and this is not forced, or the store fails.
    pub async fn forget_agent(
        &self,
        actor: &Actor,
        id: AgentId,
        reason: String,
        force: bool,
    ) -> Result<Vec<OperationId>, ServiceError> {
        if self.presence.of(id).is_some() {
            return Err(ServiceError::AgentConnected(id));
        }
        let detail = if force { format!("forced: {reason}") } else { reason.clone() };
        let audit = actor.audit("agent.forget", id.to_string(), detail);
        let request = ForgetAgent { agent: id, reason, force, audit, now: self.clock.now() };
        match self.store.forget_agent(request).await? {
            Forgotten::Done(operations) => {
                self.lines.end(id);
                operations.iter().for_each(|operation| self.watch.announce(*operation));
                self.watch.announce_work();
                Ok(operations)
            }
            Forgotten::Holds(attempts) => Err(ServiceError::AgentHolds(attempts)),
            Forgotten::NotFound => Err(ServiceError::NotFound),
        }
    }

    pub(super) fn now(&self, agent: Agent) -> AgentNow {
        let seen = self.presence.of(agent.id);
        let rke = agent.facts.as_ref().and_then(|facts| facts.rke.as_ref());
        let warnings = policy::warnings(rke, self.clock.now());
        AgentNow { agent, seen, warnings }
    }
}
