//! Removing clusters: asking for it, ending what cannot be finished, and telling what is left.

use cratekube_common::domain::cluster::{Cluster, ClusterPhase};
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationKind};
use cratekube_common::domain::query::QueryKind;
use cratekube_common::domain::removal::{DataPolicy, RemovalOptions, RemovalWish, SweepFindings};
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::task::TaskKind;

use super::clusters::{IdempotencyKey, Receipt};
use super::questions::unreadable;
use super::{Actor, Service, ServiceError};
use crate::plan::residue::{Residue, residue};
use crate::store::{AbandonRemoval, Abandoned, AcceptOperation, PresentCluster};

/// A cluster that is to go.
#[derive(Debug, Clone)]
pub struct UnwantedCluster {
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// Why.
    pub reason: String,
    /// What becomes of its volumes and snapshots.
    pub data_policy: DataPolicy,
    /// Its hosts are about to be terminated: nobody cleans them.
    pub hosts_terminated: bool,
    /// Only if it is still at this revision.
    pub if_revision: Option<u64>,
}

/// What a removal would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The cluster.
    pub cluster: Cluster,
    /// What its steps would be told.
    pub options: RemovalOptions,
    /// Its steps, in order.
    pub steps: Vec<TaskKind>,
    /// Why it would be refused now.
    pub refused_because: Vec<String>,
    /// What the agent sees in the cloud now; or why it could not be asked.
    pub cloud: Result<SweepFindings, String>,
}

impl Service {
    /// What the removal of a cluster would do. Nothing is recorded and nothing is changed. Where its agent cannot
    /// be asked, what earlier removals recorded is all that is known.
    ///
    /// # Errors
    /// When there is no such cluster, or the store fails.
    pub async fn preview_removal(
        &self,
        (environment, name): (&EnvironmentName, &ClusterName),
        policy: DataPolicy,
        hosts_terminated: bool,
    ) -> Result<Preview, ServiceError> {
        let present = self.store.present_cluster(environment, name).await?.ok_or(ServiceError::NotFound)?;
        let PresentCluster { cluster, agent, .. } = present;
        if cluster.phase == ClusterPhase::Removed {
            return Err(ServiceError::NotFound);
        }
        let wish = self.removal_wish(policy, hosts_terminated);
        let options = self.store.removal_options(cluster.id, wish).await?;
        let input = serde_json::to_value(&options).unwrap_or_default();
        let answer = self.ask(&cluster, agent.as_ref(), QueryKind::RemovalPreview, input).await;
        let read =
            |answer: Secret| serde_json::from_str(answer.expose()).map_err(|fault| unreadable(&fault.to_string()));
        let cloud = answer.and_then(read).map_err(|fault| fault.to_string());
        let mut refused_because = Vec::new();
        if cluster.deletion_protection {
            refused_because.push(ServiceError::Protected.to_string());
        }
        refused_because.extend(cluster.operation.map(|at_work| ServiceError::Busy(at_work).to_string()));
        Ok(Preview { options, steps: self.chain.tasks(OperationKind::Remove), refused_because, cloud, cluster })
    }

    /// Records that a cluster is to be removed.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn remove(
        &self,
        actor: &Actor,
        unwanted: UnwantedCluster,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        let object = format!("{}/{}", unwanted.environment, unwanted.name);
        let data = match unwanted.data_policy {
            DataPolicy::Delete => "data are deleted: ",
            DataPolicy::Snapshot => "data are snapshotted: ",
            DataPolicy::Retain => "",
        };
        let detail = format!("{data}{}", unwanted.reason);
        let wish = self.removal_wish(unwanted.data_policy, unwanted.hosts_terminated);
        let request = AcceptOperation {
            operation: self.mint.id(),
            tasks: self.planned(OperationKind::Remove),
            kind: OperationKind::Remove,
            environment: unwanted.environment,
            name: unwanted.name,
            if_revision: unwanted.if_revision,
            requested_by: actor.subject.clone(),
            reason: Some(unwanted.reason),
            generation: None,
            retry_of: None,
            idempotency: self.idempotency(actor, idempotency),
            audit: actor.audit("cluster.remove", object, detail),
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_removal(request, wish).await?)
    }

    pub(super) fn removal_wish(&self, policy: DataPolicy, hosts_terminated: bool) -> RemovalWish {
        RemovalWish {
            policy,
            hosts_terminated,
            confirm_pause: self.removals.confirm_pause,
            undelete_days: self.removals.undelete_days,
        }
    }

    /// Ends a removal that cannot be finished. Its cluster counts as removed, whatever is left of it.
    ///
    /// # Errors
    /// When it is no removal, has succeeded, is not the last word on its cluster, or a run of it is at work or
    /// out of touch.
    pub async fn abandon(&self, actor: &Actor, id: OperationId, reason: String) -> Result<Operation, ServiceError> {
        let audit = actor.audit("operation.abandon", id.to_string(), reason.clone());
        let by = actor.subject.clone();
        let request = AbandonRemoval { operation: id, reason, by, audit, now: self.clock.now() };
        match self.store.abandon_removal(request).await? {
            Abandoned::Done(operation) => {
                tracing::warn!(operation = %id, actor = actor.subject, "a removal was abandoned; what is left of its cluster stays");
                self.watch.announce(id);
                Ok(*operation)
            }
            Abandoned::Locked => Err(ServiceError::RunHolds),
            Abandoned::Busy(operation) => Err(ServiceError::Busy(operation)),
            Abandoned::Over(state) => Err(ServiceError::Over(state)),
            Abandoned::NotAllowed(why) => Err(ServiceError::NotAllowed(why)),
            Abandoned::NotFound => Err(ServiceError::NotFound),
        }
    }

    /// What a removal left behind, as far as is known now.
    ///
    /// # Errors
    /// When the operation is no removal, or the store fails.
    pub async fn residue(&self, operation: &Operation) -> Result<Residue, ServiceError> {
        let record = self.store.removal(operation.id).await?;
        let no_removal = || ServiceError::NotAllowed(format!("The operation is a {}, no removal.", operation.kind));
        Ok(residue(operation, &record.ok_or_else(no_removal)?))
    }
}
