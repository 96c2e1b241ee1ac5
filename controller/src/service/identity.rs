//! Who may be an agent: join tokens, and agents that are locked out.

use std::time::Duration;

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{AgentId, JoinTokenId, VolumeId};
use cratekube_common::domain::join_token::SECRET_CHARACTERS;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::secret::Secret;
use cratekube_common::runtime::tls::sha256_hex;

use super::agents::AgentNow;
use super::{Actor, Service, ServiceError};
use crate::store::{Bar, BarAgent, Barred, JoinTokenRecord, NewJoinToken, Page, PageRequest, Withdrawn};

/// Long enough to walk over to the bastion, short enough to be worthless tomorrow.
pub const DEFAULT_JOIN_LIFETIME: Duration = Duration::from_secs(600);
/// Longest life of a join token.
pub const LONGEST_JOIN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A join token that is wanted.
#[derive(Debug, Clone)]
pub struct WantedJoinToken {
    /// Only for an agent of this name.
    pub agent: Option<AgentName>,
    /// Only for an agent that serves this volume.
    pub volume: Option<VolumeId>,
    /// Environments whose new clusters the agent may be given.
    pub environments: EnvironmentPattern,
    /// How long it can be used.
    pub lifetime: Duration,
}

impl Service {
    /// Makes a join token. Its secret is handed out here and nowhere else.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn make_join_token(
        &self,
        actor: &Actor,
        wanted: WantedJoinToken,
    ) -> Result<(JoinTokenRecord, Secret), ServiceError> {
        let secret = Secret::new(self.mint.token(SECRET_CHARACTERS));
        let now = self.clock.now();
        let token = NewJoinToken {
            id: self.mint.id(),
            secret_sha256: sha256_hex(secret.expose().as_bytes()),
            agent: wanted.agent,
            volume: wanted.volume,
            environments: wanted.environments,
            created_by: actor.subject.clone(),
            created_at: now,
            expires_at: now.after(wanted.lifetime),
        };
        let record = JoinTokenRecord {
            id: token.id,
            agent: token.agent.clone(),
            volume: token.volume,
            environments: token.environments.clone(),
            created_by: token.created_by.clone(),
            created_at: now,
            expires_at: token.expires_at,
            used: None,
        };
        let object = token.agent.as_ref().map_or_else(|| "any agent".to_owned(), ToString::to_string);
        let detail = format!("token {}, until {}", token.id, token.expires_at);
        self.store.keep_join_token(token, actor.audit("agent.join-token", object, detail)).await?;
        Ok((record, secret))
    }

    /// Join tokens, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn join_tokens(&self, page: PageRequest) -> Result<Page<JoinTokenRecord>, ServiceError> {
        Ok(self.store.join_tokens(page).await?)
    }

    /// Takes back a join token that was not used.
    ///
    /// # Errors
    /// When there is none, or it was used, or the store fails.
    pub async fn withdraw_join_token(&self, actor: &Actor, token: JoinTokenId) -> Result<(), ServiceError> {
        let audit = actor.audit("agent.join-token.delete", token.to_string(), String::new());
        match self.store.withdraw_join_token(token, audit, self.clock.now()).await? {
            Withdrawn::Done => Ok(()),
            Withdrawn::Used => Err(ServiceError::TokenUsed),
            Withdrawn::NotFound => Err(ServiceError::NotFound),
        }
    }

    /// Locks an agent out: its connections end within seconds, on every controller. Runs on its host go
    /// on; an agent that is enrolled anew on the same volume takes them over.
    ///
    /// # Errors
    /// When there is no such agent, or the store fails.
    pub async fn bar_agent(
        &self,
        actor: &Actor,
        agent: AgentId,
        bar: Bar,
        reason: String,
    ) -> Result<AgentNow, ServiceError> {
        let action = match bar {
            Bar::Quarantine => "agent.quarantine",
            Bar::Revoke => "agent.revoke",
            Bar::Ban => "agent.ban",
        };
        let audit = actor.audit(action, agent.to_string(), reason);
        match self.store.bar_agent(BarAgent { agent, bar, audit, now: self.clock.now() }).await? {
            Barred::Now => tracing::warn!(%agent, action, by = actor.subject, "an agent is locked out"),
            Barred::Already => {}
            Barred::NotFound => return Err(ServiceError::NotFound),
        }
        self.agent(agent).await
    }

    /// Lets a banned agent's name and keys enrol again.
    ///
    /// # Errors
    /// When there is no such agent, or the store fails.
    pub async fn lift_ban(&self, actor: &Actor, agent: AgentId, reason: String) -> Result<AgentNow, ServiceError> {
        let audit = actor.audit("agent.unban", agent.to_string(), reason);
        match self.store.lift_ban(agent, audit, self.clock.now()).await? {
            Barred::Now | Barred::Already => self.agent(agent).await,
            Barred::NotFound => Err(ServiceError::NotFound),
        }
    }
}
