//! Operations: looking at them, and waiting for one to end.

use std::time::Duration;

use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::Operation;

use super::watch::Watch;
use super::{Actor, Service, ServiceError};
use crate::store::{AttemptRecord, OperationFilter, Page, PageRequest};

impl Service {
    /// An operation.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn operation(&self, id: OperationId) -> Result<Operation, ServiceError> {
        self.store.operation(id).await?.ok_or(ServiceError::NotFound)
    }

    /// Operations in the environments that the actor may see, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn operations(
        &self,
        actor: &Actor,
        filter: OperationFilter,
        page: PageRequest,
    ) -> Result<Page<Operation>, ServiceError> {
        let environments = actor.visible();
        if environments.is_empty() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        Ok(self.store.operations(OperationFilter { environments, ..filter }, page).await?)
    }

    /// The attempts of an operation, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn attempts(&self, operation: OperationId) -> Result<Vec<AttemptRecord>, ServiceError> {
        Ok(self.store.attempts(operation).await?)
    }

    /// The operation when it ended, or as it is when the time is over.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn wait(&self, id: OperationId, at_most: Duration) -> Result<Operation, ServiceError> {
        let deadline = tokio::time::Instant::now() + at_most;
        // One look before anything is subscribed to: what has ended needs no watch.
        let operation = self.operation(id).await?;
        if operation.state.is_terminal() || at_most.is_zero() {
            return Ok(operation);
        }
        // Dropped after the wait, also when nobody waits for that any more.
        let _release = Release(&self.watch, id);
        self.watch_until(id, deadline).await
    }

    async fn watch_until(&self, id: OperationId, deadline: tokio::time::Instant) -> Result<Operation, ServiceError> {
        let mut changes = self.watch.operation(id);
        loop {
            changes.borrow_and_update();
            let operation = self.operation(id).await?;
            if operation.state.is_terminal() {
                return Ok(operation);
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => changes = self.watch.operation(id),
                Err(_) => return self.operation(id).await,
            }
        }
    }
}

/// Forgets a watched operation when whoever watched it is gone.
struct Release<'a>(&'a Watch, OperationId);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release(self.1);
    }
}
