//! API keys of users.

use cratekube_common::domain::api_key::ApiKey;
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::time::Timestamp;

/// An API key to keep.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What is known of it.
    pub key: ApiKey,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
}

/// An API key that someone shows.
#[derive(Debug, Clone)]
pub struct UseApiKey {
    /// The part that names it.
    pub handle: String,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
    /// The audit entry of its use; actor and object are set by the store.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an API key that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyUsed {
    /// It counts; its use was noted.
    Accepted(Box<ApiKey>),
    /// It does not. The other side is told no reason; the audit is.
    Refused(ApiKeyRefusal),
}

/// Why an API key does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyRefusal {
    /// No such key.
    Unknown,
    /// The handle is known, the rest is not that key's.
    Wrong,
    /// Ended.
    Expired,
    /// Revoked.
    Revoked,
}
