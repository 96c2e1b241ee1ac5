//! Agents as admins see them: what the store remembers, and who is here now.

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::id::AgentId;

use super::presence::Seen;
use super::{Service, ServiceError};
use crate::store::{Page, PageRequest};

/// An agent, and its session while it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentNow {
    /// What is kept of it.
    pub agent: Agent,
    /// What is true of it now; none while it is offline.
    pub seen: Option<Seen>,
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

    fn now(&self, agent: Agent) -> AgentNow {
        let seen = self.presence.of(agent.id);
        AgentNow { agent, seen }
    }
}
