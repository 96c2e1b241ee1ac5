//! Managed resources: asking for one, asking for it to go, and looking at them.
//!
//! A holder is a cluster, or an environment, whose set every new cluster of it gets.

use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::cluster::resource::{ObjectRef, ResourceMode, ResourceName, digest};
use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::secret::Secret;

use super::manifests;
use super::{Actor, Service, ServiceError};
use crate::store::{
    ConfigureIds, DeleteResource, Holder, NewResource, PutResource, Resource, ResourceChange, Seen, StoreError,
};

/// A managed resource that is wanted, checked.
#[derive(Debug, Clone)]
pub struct WantedResource {
    /// Whose.
    pub holder: Holder,
    /// Its name.
    pub name: ResourceName,
    /// What happens to objects that left the manifest.
    pub mode: ResourceMode,
    /// The YAML.
    pub manifest: Secret,
    /// Objects that it names.
    pub objects: Vec<ObjectRef>,
    /// What the sender has seen.
    pub seen: Seen,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceReceipt {
    /// The resource as it is now; none when it is gone.
    pub resource: Option<Resource>,
    /// Whether there was none before.
    pub created: bool,
    /// The operation that brings it into the cluster.
    pub operation: Option<OperationId>,
}

impl Service {
    /// Keeps a managed resource; an agent brings it into the cluster.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn put_resource(&self, actor: &Actor, wanted: WantedResource) -> Result<ResourceReceipt, ServiceError> {
        let WantedResource { holder, name, mode, manifest, objects, seen } = wanted;
        let sum = digest(manifest.expose());
        let sealed = manifests::seal(self.vault.as_ref(), &holder.environment, &name, &manifest);
        let detail = format!("{mode}, {} object(s)", objects.len());
        let audit = actor.audit("resource.put", object(&holder, &name), detail);
        let resource = NewResource { name, mode, digest: sum, wanted: objects, sealed };
        let request = PutResource {
            holder,
            resource,
            seen,
            ids: self.configure_ids(),
            requested_by: actor.subject.clone(),
            audit,
            now: self.clock.now(),
        };
        self.changed(self.store.put_resource(request).await?)
    }

    /// Has a managed resource taken away.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn delete_resource(
        &self,
        actor: &Actor,
        holder: Holder,
        name: ResourceName,
        seen: Seen,
    ) -> Result<ResourceReceipt, ServiceError> {
        let audit = actor.audit("resource.delete", object(&holder, &name), String::new());
        let (ids, requested_by, now) = (self.configure_ids(), actor.subject.clone(), self.clock.now());
        let request = DeleteResource { holder, name, seen, ids, requested_by, audit, now };
        self.changed(self.store.delete_resource(request).await?)
    }

    /// Every managed resource of a holder.
    ///
    /// # Errors
    /// When there is no such cluster, or the store fails.
    pub async fn resources(&self, holder: &Holder) -> Result<Vec<Resource>, ServiceError> {
        match self.holder(holder).await? {
            Some(cluster) => Ok(self.store.resources(cluster).await?),
            None => Ok(self.store.default_resources(&holder.environment).await?),
        }
    }

    /// One managed resource with its manifest.
    ///
    /// # Errors
    /// When there is none, it does not open, or the store fails.
    pub async fn resource(&self, holder: &Holder, name: &ResourceName) -> Result<(Resource, Secret), ServiceError> {
        let found = match self.holder(holder).await? {
            Some(cluster) => self.store.resource(cluster, name).await?,
            None => self.store.default_resource(&holder.environment, name).await?,
        };
        let sealed = found.ok_or(ServiceError::NotFound)?;
        let manifest = manifests::open(self.vault.as_ref(), &sealed)
            .map_err(|fault| StoreError::Damaged(format!("the manifest of resource {name}: {fault}")))?;
        Ok((sealed.resource, manifest))
    }

    /// The cluster of a holder; none for an environment's set.
    async fn holder(&self, holder: &Holder) -> Result<Option<ClusterId>, ServiceError> {
        let Some(name) = &holder.cluster else { return Ok(None) };
        let cluster = self.cluster(&holder.environment, name).await?;
        if cluster.phase == ClusterPhase::Removed { Err(ServiceError::NotFound) } else { Ok(Some(cluster.id)) }
    }

    fn configure_ids(&self) -> ConfigureIds {
        ConfigureIds { operation: self.mint.id(), tasks: self.planned(OperationKind::Configure) }
    }

    fn changed(&self, change: ResourceChange) -> Result<ResourceReceipt, ServiceError> {
        match change {
            ResourceChange::Kept { resource, created, operation } => {
                if let Some(operation) = operation {
                    self.watch.announce(operation);
                    self.watch.announce_work();
                }
                Ok(ResourceReceipt { resource: Some(*resource), created, operation })
            }
            ResourceChange::Same(resource) => {
                Ok(ResourceReceipt { resource: Some(*resource), created: false, operation: None })
            }
            ResourceChange::Gone => Ok(ResourceReceipt { resource: None, created: false, operation: None }),
            ResourceChange::NotFound => Err(ServiceError::NotFound),
            ResourceChange::Changed(revision) => Err(ServiceError::ResourceChanged(revision)),
            ResourceChange::Unseen(revision) => Err(ServiceError::ResourceUnseen(revision)),
            ResourceChange::Busy(operation) => Err(ServiceError::Busy(operation)),
            ResourceChange::NotAllowed(why) => Err(ServiceError::NotAllowed(why)),
            ResourceChange::TooMany => Err(ServiceError::TooManyResources),
        }
    }
}

fn object(holder: &Holder, name: &ResourceName) -> String {
    match &holder.cluster {
        Some(cluster) => format!("{}/{cluster}/{name}", holder.environment),
        None => format!("{}/*/{name}", holder.environment),
    }
}
