//! Renewing the certificates of a cluster.

use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::run::Rotation;

use super::clusters::{IdempotencyKey, Receipt};
use super::{Actor, Service, ServiceError};
use crate::store::AcceptOperation;

/// Certificates that are to be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRotation {
    /// Where.
    pub environment: EnvironmentName,
    /// Of which cluster.
    pub name: ClusterName,
    /// Which.
    pub rotation: Rotation,
    /// Why; there is one for a new CA.
    pub reason: Option<String>,
    /// Only if the cluster is still at this revision.
    pub if_revision: Option<u64>,
}

impl Service {
    /// Records that certificates are to be renewed.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn rotate_certificates(
        &self,
        actor: &Actor,
        wanted: WantedRotation,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        let WantedRotation { environment, name, rotation, reason, if_revision } = wanted;
        let services: Vec<&str> = rotation.services.iter().map(|service| service.as_str()).collect();
        let mut detail = match (rotation.ca, services.as_slice()) {
            (true, _) => "everything, with a new CA".to_owned(),
            (false, []) => "of all services".to_owned(),
            (false, services) => format!("of {}", services.join(", ")),
        };
        if let Some(reason) = &reason {
            detail = format!("{detail}: {reason}");
        }
        let audit = actor.audit("cluster.rotate-certificates", format!("{environment}/{name}"), detail);
        let request = AcceptOperation {
            operation: self.mint.id(),
            tasks: self.planned(OperationKind::RotateCertificates),
            kind: OperationKind::RotateCertificates,
            environment,
            name,
            if_revision,
            requested_by: actor.subject.clone(),
            reason,
            generation: None,
            retry_of: None,
            idempotency: self.idempotency(actor, idempotency),
            audit,
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_rotation(request, rotation).await?)
    }
}
