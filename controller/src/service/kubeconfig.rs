//! Kubeconfigs for people: asked of the agent, passed on, kept nowhere.
//!
//! That one was issued is in the audit log, with its role, namespace and end, before it leaves; an
//! administrator's also marks the cluster, until its CA is rotated. When that cannot be recorded, it is
//! not handed out.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::cluster::access::{AccessRole, IssuedKubeconfig, KubeconfigRequest};
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::query::QueryKind;

use super::questions::unreadable;
use super::{Actor, Service, ServiceError};
use crate::store::{KubeconfigIssued, PresentCluster};

/// A kubeconfig that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKubeconfig {
    /// Where.
    pub environment: EnvironmentName,
    /// Of which cluster.
    pub name: ClusterName,
    /// What kind.
    pub request: KubeconfigRequest,
    /// Why; there is one for an administrator's.
    pub reason: Option<String>,
}

impl Service {
    /// Has a kubeconfig issued by the cluster's agent.
    ///
    /// # Errors
    /// When there is no such cluster, none that works, its agent cannot be asked or could not do it, or it
    /// could not be recorded.
    pub async fn kubeconfig(&self, actor: &Actor, wanted: WantedKubeconfig) -> Result<IssuedKubeconfig, ServiceError> {
        let WantedKubeconfig { environment, name, request, reason } = wanted;
        let found = self.store.present_cluster(&environment, &name).await?.ok_or(ServiceError::NotFound)?;
        let PresentCluster { cluster, agent, .. } = found;
        has_access(cluster.phase)?;
        let answer = self.ask(&cluster, agent.as_ref(), QueryKind::Kubeconfig, request.to_json()).await?;
        let issued = IssuedKubeconfig::from_json(&answer).map_err(|fault| unreadable(&fault))?;
        let administrators = request.role == AccessRole::ClusterAdmin;
        let namespace = if administrators { "*" } else { &request.namespace };
        let mut detail = format!("role {} in {namespace} until {}", request.role, issued.expires_at);
        if let Some(reason) = &reason {
            detail = format!("{detail}: {reason}");
        }
        let note = KubeconfigIssued {
            cluster: cluster.id,
            administrators,
            detail: detail.clone(),
            audit: actor.audit("cluster.kubeconfig", format!("{environment}/{name}"), detail),
            now: self.clock.now(),
        };
        if self.store.note_kubeconfig(note).await? { Ok(issued) } else { Err(ServiceError::NotFound) }
    }
}

/// Whether a cluster has an API that may know its users.
fn has_access(phase: ClusterPhase) -> Result<(), ServiceError> {
    match phase {
        ClusterPhase::Ready | ClusterPhase::Updating | ClusterPhase::Degraded => Ok(()),
        ClusterPhase::Removed => Err(ServiceError::NotFound),
        phase => Err(ServiceError::NotAllowed(format!(
            "The cluster is {phase}; access is given to one that is ready, being updated or degraded."
        ))),
    }
}
