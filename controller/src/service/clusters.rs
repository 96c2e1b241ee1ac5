//! Clusters: asking for one, asking for its removal, and looking at them.

use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::cluster::spec::{ClusterSpec, KubernetesVersion};
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::{Operation, OperationKind};

use super::spec_secrets::seal_secrets;
use super::versions::{VersionVerdict, judge};
use super::{Actor, Service, ServiceError};
use crate::store::{
    AcceptOperation, AcceptProvision, Acceptance, ClusterFilter, ForceUnlock, Forced, IDEMPOTENCY_TTL, Idempotency,
    Page, PageRequest, PlannedTask, ProtectCluster, Protected,
};

/// A key under which a repeated request finds the first one's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, as the client chose it.
    pub key: String,
    /// A digest of what was asked for.
    pub digest: String,
}

/// A cluster that is wanted.
#[derive(Debug, Clone)]
pub struct WantedCluster {
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// Whether it is protected against removal from the start.
    pub deletion_protection: bool,
    /// Desired state, with its secrets.
    pub spec: ClusterSpec,
    /// What validation warned of.
    pub warnings: Vec<String>,
}

/// A cluster that is to be protected against removal, or not any more.
#[derive(Debug, Clone)]
pub struct Protection {
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// On or off.
    pub on: bool,
    /// Why; there is one when it is taken away.
    pub reason: Option<String>,
    /// Only if it is still at this revision.
    pub if_revision: Option<u64>,
}

/// A cluster whose state is to be brought back.
#[derive(Debug, Clone)]
pub struct LostState {
    /// Where.
    pub environment: EnvironmentName,
    /// Its name.
    pub name: ClusterName,
    /// Why.
    pub reason: String,
    /// From this generation and no other.
    pub generation: Option<u64>,
}

/// Proof that work was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The operation to watch.
    pub operation: Operation,
    /// True when the same request was accepted before and this is its operation.
    pub replayed: bool,
}

impl Service {
    /// Records a new cluster; an agent builds it from here on.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn provision(
        &self,
        actor: &Actor,
        mut wanted: WantedCluster,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        let cluster: ClusterId = self.mint.id();
        let secrets = wanted.spec.take_secrets();
        let object = format!("{}/{}", wanted.environment, wanted.name);
        let version = wanted.spec.kubernetes_version.to_string();
        let request = AcceptProvision {
            cluster,
            operation: self.mint.id(),
            tasks: self.planned(OperationKind::Provision),
            sealed_secrets: seal_secrets(self.vault.as_ref(), cluster, &secrets),
            environment: wanted.environment,
            name: wanted.name,
            deletion_protection: wanted.deletion_protection,
            spec: wanted.spec,
            requested_by: actor.subject.clone(),
            warnings: wanted.warnings,
            idempotency: self.idempotency(actor, idempotency),
            audit: actor.audit("cluster.provision", object, version),
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_provision(request).await?)
    }

    /// Protects a cluster against removal, or ends that.
    ///
    /// # Errors
    /// When there is no such cluster, or it is at another revision.
    pub async fn protect(&self, actor: &Actor, wish: Protection) -> Result<Cluster, ServiceError> {
        let action = if wish.on { "cluster.protect" } else { "cluster.unprotect" };
        let object = format!("{}/{}", wish.environment, wish.name);
        let request = ProtectCluster {
            environment: wish.environment,
            name: wish.name,
            protection: wish.on,
            if_revision: wish.if_revision,
            audit: actor.audit(action, object, wish.reason.unwrap_or_default()),
            now: self.clock.now(),
        };
        match self.store.protect_cluster(request).await? {
            Protected::Done(cluster) => Ok(*cluster),
            Protected::NotFound => Err(ServiceError::NotFound),
            Protected::Changed(revision) => Err(ServiceError::Changed(revision)),
        }
    }

    /// Records that a cluster that failed or is degraded is to be brought to its spec again.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn provision_again(
        &self,
        actor: &Actor,
        environment: EnvironmentName,
        name: ClusterName,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        self.allow_again(&environment, &name).await?;
        let audit = actor.audit("cluster.provision", format!("{environment}/{name}"), "again".into());
        let request = AcceptOperation {
            operation: self.mint.id(),
            tasks: self.planned(OperationKind::Provision),
            kind: OperationKind::Provision,
            environment,
            name,
            if_revision: None,
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

    /// Records that a cluster's state is to be brought back.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn recover_state(
        &self,
        actor: &Actor,
        lost: LostState,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        let object = format!("{}/{}", lost.environment, lost.name);
        let request = AcceptOperation {
            operation: self.mint.id(),
            tasks: self.planned(OperationKind::RecoverState),
            kind: OperationKind::RecoverState,
            environment: lost.environment,
            name: lost.name,
            if_revision: None,
            requested_by: actor.subject.clone(),
            generation: lost.generation,
            retry_of: None,
            idempotency: self.idempotency(actor, idempotency),
            audit: actor.audit("cluster.recover-state", object, lost.reason.clone()),
            reason: Some(lost.reason),
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_operation(request).await?)
    }

    /// Gives up the run that holds a cluster, whose end is not known.
    ///
    /// # Errors
    /// When nothing is unknown, or the store fails.
    pub async fn force_unlock(
        &self,
        actor: &Actor,
        environment: EnvironmentName,
        name: ClusterName,
        reason: String,
    ) -> Result<Operation, ServiceError> {
        let audit = actor.audit("cluster.force-unlock", format!("{environment}/{name}"), reason.clone());
        let (connected, now) = (self.lines.connected(), self.clock.now());
        let request = ForceUnlock { environment, name, reason, connected, audit, now };
        match self.store.force_unlock(request).await? {
            Forced::Done(operation) => {
                tracing::warn!(operation = %operation.id, actor = actor.subject, "a run whose end is not known was given up");
                self.watch.announce(operation.id);
                self.watch.announce_work();
                Ok(*operation)
            }
            Forced::Alive(agent) => Err(ServiceError::AgentConnected(agent)),
            Forced::NotLocked => Err(ServiceError::NotLocked),
            Forced::NotFound => Err(ServiceError::NotFound),
        }
    }

    /// A cluster.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn cluster(&self, environment: &EnvironmentName, name: &ClusterName) -> Result<Cluster, ServiceError> {
        self.store.cluster(environment, name).await?.ok_or(ServiceError::NotFound)
    }

    /// Clusters of an environment, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn clusters(&self, filter: ClusterFilter, page: PageRequest) -> Result<Page<Cluster>, ServiceError> {
        Ok(self.store.clusters(filter, page).await?)
    }

    /// Generations of a cluster, newest first.
    ///
    /// # Errors
    /// When there is no such cluster, or the store fails.
    pub async fn generations(
        &self,
        environment: &EnvironmentName,
        name: &ClusterName,
        page: PageRequest,
    ) -> Result<Page<Manifest>, ServiceError> {
        let cluster = self.cluster(environment, name).await?;
        Ok(self.store.generations(cluster.id, page).await?)
    }

    /// Whether an agent can build this version.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn judge_version(&self, version: &KubernetesVersion) -> Result<VersionVerdict, ServiceError> {
        Ok(judge(version, &self.store.kubernetes_versions().await?))
    }

    pub(super) fn receipt(&self, acceptance: Acceptance) -> Result<Receipt, ServiceError> {
        match acceptance {
            Acceptance::Accepted(operation) => {
                self.watch.announce_work();
                Ok(Receipt { operation: *operation, replayed: false })
            }
            Acceptance::Replayed(operation) => Ok(Receipt { operation: *operation, replayed: true }),
            Acceptance::KeyReused => Err(ServiceError::KeyReused),
            Acceptance::Exists => Err(ServiceError::Exists),
            Acceptance::NotFound => Err(ServiceError::NotFound),
            Acceptance::Busy(operation) => Err(ServiceError::Busy(operation)),
            Acceptance::Changed(revision) => Err(ServiceError::Changed(revision)),
            Acceptance::Protected => Err(ServiceError::Protected),
            Acceptance::NotAllowed(reason) => Err(ServiceError::NotAllowed(reason)),
        }
    }

    /// The work of an operation of this kind.
    pub(super) fn planned(&self, kind: OperationKind) -> Vec<PlannedTask> {
        self.chain.tasks(kind).into_iter().map(|kind| PlannedTask { id: self.mint.id(), kind }).collect()
    }

    pub(super) fn idempotency(&self, actor: &Actor, key: Option<IdempotencyKey>) -> Option<Idempotency> {
        key.map(|key| Idempotency {
            subject: actor.subject.clone(),
            key: key.key,
            digest: key.digest,
            expires_at: self.clock.now().after(IDEMPOTENCY_TTL),
        })
    }
}

impl Receipt {
    /// The operation's id.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.operation.id
    }
}
