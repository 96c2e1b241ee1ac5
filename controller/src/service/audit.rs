//! Looking into the audit log. Who takes a copy of it is noted in it.

use super::{Actor, Service, ServiceError};
use crate::store::{AuditFilter, AuditRecord, Page, PageRequest};

impl Service {
    /// Entries that match, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audit_entries(
        &self,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditRecord>, ServiceError> {
        Ok(self.store.audit_matching(filter, page).await?)
    }

    /// Notes that an actor takes a copy of what matches.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_audit_export(&self, actor: &Actor, filter: &AuditFilter) -> Result<(), ServiceError> {
        let wanted = [
            filter.actor.as_ref().map(|v| format!("actor {v}")),
            filter.action.as_ref().map(|v| format!("action {v}")),
            filter.object.as_ref().map(|v| format!("object {v}")),
            filter.outcome.map(|v| format!("outcome {v}")),
            filter.since.map(|v| format!("since {v}")),
            filter.until.map(|v| format!("until {v}")),
        ];
        let wanted: Vec<_> = wanted.into_iter().flatten().collect();
        let detail = if wanted.is_empty() { "everything".to_owned() } else { wanted.join(", ") };
        let entry = actor.audit("audit.export", "audit".to_owned(), detail);
        Ok(self.store.audit(entry, self.clock.now()).await?)
    }
}
