//! Entries of the audit log as clients read them.

use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa::ToSchema;

use super::shown;
use crate::store::AuditRecord;

/// Who did what, from where, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(in super::super) struct AuditEntryView {
    /// From 1; there are no gaps.
    number: u64,
    at: String,
    /// A subject, an agent's id, `anonymous`, `local` or `controller`.
    actor: String,
    /// An address, or `local`.
    origin: String,
    action: String,
    object: String,
    /// `allowed` or `refused`.
    outcome: &'static str,
    /// Why; never a secret, never a body.
    detail: String,
    request_id: String,
    /// SHA-256 over the entry and the hash of the one before it. Kept elsewhere, it shows later whether
    /// anything up to here was changed.
    hash: String,
}

impl From<&AuditRecord> for AuditEntryView {
    fn from(record: &AuditRecord) -> Self {
        let entry = &record.entry;
        Self {
            number: record.number,
            at: record.at.to_string(),
            actor: shown(&entry.actor),
            origin: shown(&entry.origin),
            action: shown(&entry.action),
            object: shown(&entry.object),
            outcome: entry.outcome.as_str(),
            detail: shown(&entry.detail),
            request_id: shown(&entry.request_id),
            hash: HEXLOWER.encode(&record.hash),
        }
    }
}
