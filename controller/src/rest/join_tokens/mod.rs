//! `/v1/admin/join-tokens`: what new agents are let in with.

pub(super) mod create;
pub(super) mod list;
pub(super) mod withdraw;

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::JoinTokenRecord;

/// A join token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JoinToken)]
pub(super) struct JoinTokenView {
    id: String,
    /// Only an agent of this name can use it.
    agent: Option<String>,
    /// Only an agent that serves this volume can use it.
    volume: Option<String>,
    /// Environments whose new clusters the agent may be given.
    environments: String,
    created_by: String,
    created_at: String,
    expires_at: String,
    used_at: Option<String>,
    /// The agent that it made.
    used_by: Option<String>,
}

impl From<&JoinTokenRecord> for JoinTokenView {
    fn from(token: &JoinTokenRecord) -> Self {
        Self {
            id: token.id.to_string(),
            agent: token.agent.as_ref().map(ToString::to_string),
            volume: token.volume.map(|volume| volume.to_string()),
            environments: token.environments.to_string(),
            created_by: super::views::shown(&token.created_by),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.to_string(),
            used_at: token.used.map(|(at, _)| at.to_string()),
            used_by: token.used.map(|(_, by)| by.to_string()),
        }
    }
}
