//! How clusters are: what their last check found, and asking for another one.

use std::time::Duration;

use cratekube_common::domain::cluster::{Cluster, ClusterPhase};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::OperationKind;

use super::clusters::{IdempotencyKey, Receipt};
use super::{Actor, Service, ServiceError};
use crate::store::{AcceptOperation, HealthRecord};

/// How a cluster is, so far as is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The cluster.
    pub cluster: Cluster,
    /// What its last check found; none when it was never checked.
    pub last: Option<HealthRecord>,
    /// True when that is too long ago to go by.
    pub stale: bool,
}

impl Service {
    /// How a cluster is, so far as is known.
    ///
    /// # Errors
    /// When there is no such cluster, or the store fails.
    pub async fn health(&self, environment: &EnvironmentName, name: &ClusterName) -> Result<Health, ServiceError> {
        let cluster = self.cluster(environment, name).await?;
        if cluster.phase == ClusterPhase::Removed {
            return Err(ServiceError::NotFound);
        }
        let last = self.store.health(cluster.id).await?;
        let stale =
            last.as_ref().is_some_and(|last| is_stale(self.clock.now().since(last.recorded_at), self.stale_after));
        Ok(Health { cluster, last, stale })
    }

    /// Records that a cluster is to be checked.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn verify(
        &self,
        actor: &Actor,
        (environment, name, if_revision): (EnvironmentName, ClusterName, Option<u64>),
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        let audit = actor.audit("cluster.verify", format!("{environment}/{name}"), String::new());
        let request = AcceptOperation {
            operation: self.mint.id(),
            tasks: self.planned(OperationKind::Verify),
            kind: OperationKind::Verify,
            environment,
            name,
            if_revision,
            requested_by: actor.subject.clone(),
            reason: None,
            generation: None,
            retry_of: None,
            idempotency: self.idempotency(actor, idempotency),
            audit,
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_operation(request).await?)
    }
}

fn is_stale(age: Duration, stale_after: Duration) -> bool {
    age > stale_after
}
