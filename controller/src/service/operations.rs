//! Operations: looking at them, waiting for one to end, ending one, and asking for the same again.

use std::time::Duration;

use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::operation::{Operation, OperationKind, OperationState};

use super::clusters::{IdempotencyKey, Receipt};
use super::watch::Watch;
use super::{Actor, Service, ServiceError};
use crate::plan::assignment::{self, Waiting};
use crate::store::{
    AcceptOperation, AttemptRecord, CancelOperation, Cancellation, Evidence, OperationFilter, Orphan, Page,
    PageRequest, TaskRecord,
};

impl Service {
    /// An operation.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn operation(&self, id: OperationId) -> Result<Operation, ServiceError> {
        let mut operation = self.store.operation(id).await?.ok_or(ServiceError::NotFound)?;
        if let Some(waits) = self.waits_for_absent(&operation).await {
            operation.waiting_for = Some(waits);
        }
        Ok(operation)
    }

    /// What an operation waits for, where that is an agent that is not here: the store does not know who is.
    async fn waits_for_absent(&self, operation: &Operation) -> Option<String> {
        let said = operation.waiting_for.as_deref()?;
        let present = self.store.present_cluster(&operation.environment, &operation.cluster).await.ok()??;
        let agent = present.agent.filter(|_| present.cluster.id == operation.cluster_id)?;
        let waits = |online| {
            let (name, state) = (agent.name.clone(), agent.state);
            let waiting = Waiting::VolumeAgent { name, state, online, running: 0, slots: 0 };
            assignment::waiting_for(&operation.environment, &waiting)
        };
        let absent = said == waits(None) && !self.lines.connected().contains(&agent.id);
        absent.then(|| waits(Some(false)))
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

    /// Ends an operation: at once when nothing of it runs, otherwise by ending its run.
    ///
    /// # Errors
    /// When it ended otherwise before, or the store fails.
    pub async fn cancel(&self, actor: &Actor, id: OperationId) -> Result<Operation, ServiceError> {
        let audit = actor.audit("operation.cancel", id.to_string(), String::new());
        let request = CancelOperation { operation: id, audit, now: self.clock.now() };
        let cancelled = self.store.cancel_operation(request).await?;
        self.watch.announce(id);
        match cancelled {
            Cancellation::Cancelled(operation) => Ok(*operation),
            Cancellation::Ending { operation, agent, attempt } => {
                self.lines.cancel_run(agent, attempt);
                Ok(*operation)
            }
            Cancellation::Over(state) => Err(ServiceError::Over(state)),
            Cancellation::NotFound => Err(ServiceError::NotFound),
        }
    }

    /// Asks for the same again that an operation did not do.
    ///
    /// # Errors
    /// When it did it, has not ended, or cannot be repeated now.
    pub async fn retry(
        &self,
        actor: &Actor,
        failed: &Operation,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        if failed.state == OperationState::Succeeded {
            return Err(ServiceError::Over(failed.state));
        }
        if !failed.state.is_terminal() {
            return Err(ServiceError::NotOver(failed.state));
        }
        if matches!(failed.kind, OperationKind::Provision | OperationKind::Reconfigure) {
            self.allow_again(&failed.environment, &failed.cluster).await?;
        }
        let request = AcceptOperation {
            operation: self.mint.id(),
            tasks: self.planned(failed.kind),
            kind: failed.kind,
            environment: failed.environment.clone(),
            name: failed.cluster.clone(),
            if_revision: None,
            requested_by: actor.subject.clone(),
            reason: failed.reason.clone(),
            // The store takes the one of the operation that is repeated.
            generation: None,
            retry_of: Some((failed.id, failed.cluster_id)),
            idempotency: self.idempotency(actor, idempotency),
            audit: actor.audit("operation.retry", failed.id.to_string(), failed.kind.to_string()),
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_operation(request).await?)
    }

    /// What was refused and is kept as evidence, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn evidence(&self, page: PageRequest) -> Result<Page<Evidence>, ServiceError> {
        Ok(self.store.evidence(page).await?)
    }

    /// Clusters that were found on state volumes and are not known.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn orphans(&self, page: PageRequest) -> Result<Page<Orphan>, ServiceError> {
        Ok(self.store.orphans(page).await?)
    }

    /// The tasks of an operation, in their order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tasks(&self, operation: OperationId) -> Result<Vec<TaskRecord>, ServiceError> {
        Ok(self.store.tasks(operation).await?)
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
