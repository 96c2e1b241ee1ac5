//! API keys, grants and revocations as clients read them.

use cratekube_common::domain::api_key::{ApiKey, PREFIX};
use cratekube_common::domain::environment::Grant;
use cratekube_common::domain::revocation::Revocation;
use cratekube_common::domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::shown;

/// A role in the environments that a pattern names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grant)]
pub(in super::super) struct GrantView {
    /// `viewer`, `operator` or `admin`.
    role: &'static str,
    /// A name, a prefix such as `team-*`, or `*`.
    environments: String,
}

impl From<&Grant> for GrantView {
    fn from(grant: &Grant) -> Self {
        Self { role: grant.role.as_str(), environments: grant.environments.to_string() }
    }
}

/// An API key; the key itself is not kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(in super::super) struct ApiKeyView {
    id: String,
    /// How the key begins, to know it again.
    prefix: String,
    name: String,
    /// Whom its tokens stand for.
    subject: String,
    grants: Vec<GrantView>,
    created_at: String,
    created_by: String,
    expires_at: String,
    /// When a token was made from it last.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

impl From<&ApiKey> for ApiKeyView {
    fn from(key: &ApiKey) -> Self {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id: key.id.to_string(),
            prefix: format!("{PREFIX}{}", key.handle),
            name: shown(&key.name),
            subject: shown(&key.subject),
            grants: key.grants.iter().map(GrantView::from).collect(),
            created_at: key.created_at.to_string(),
            created_by: shown(&key.created_by),
            expires_at: key.expires_at.to_string(),
            last_used_at: time(key.last_used_at),
            revoked_at: time(key.revoked_at),
        }
    }
}

/// Tokens that count no more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revocation)]
pub(in super::super) struct RevocationView {
    id: String,
    /// `token`, `subject`, `api-key` or `before`.
    kind: &'static str,
    value: String,
    reason: String,
    revoked_by: String,
    revoked_at: String,
    /// Forgotten then: no token that it concerns can live.
    until: String,
}

impl From<&Revocation> for RevocationView {
    fn from(revocation: &Revocation) -> Self {
        Self {
            id: revocation.id.to_string(),
            kind: revocation.kind.as_str(),
            value: shown(&revocation.value),
            reason: shown(&revocation.reason),
            revoked_by: shown(&revocation.by),
            revoked_at: revocation.at.to_string(),
            until: revocation.until.to_string(),
        }
    }
}
