//! Managed resources as they are asked for and kept.

use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::cluster::resource::{ObjectFault, ObjectRef, ResourceMode, ResourceName, ResourceState};
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::time::Timestamp;

use super::PlannedTask;

/// A managed resource, without its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: ResourceName,
    /// Counts changes, from 1; its `ETag`.
    pub revision: u64,
    /// What happens to objects that left the manifest.
    pub mode: ResourceMode,
    /// SHA-256 of the manifest.
    pub digest: String,
    /// Objects that the manifest names.
    pub wanted: Vec<ObjectRef>,
    /// What became of it in its cluster.
    pub status: ResourceStanding,
    /// Who asked for it last.
    pub requested_by: String,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When it was last asked for or looked at.
    pub updated_at: Timestamp,
}

/// What became of a managed resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceStanding {
    /// Where it is.
    pub state: ResourceState,
    /// Objects that the cluster has of it, so far as is known.
    pub objects: Vec<ObjectRef>,
    /// What stands in the way.
    pub faults: Vec<ObjectFault>,
    /// Whether it came from the environment's set.
    pub inherited: bool,
    /// Whether it is to be taken from the cluster.
    pub withdrawn: bool,
    /// When the cluster was last asked.
    pub checked_at: Option<Timestamp>,
}

/// A managed resource with its manifest, as the caller encrypted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedResource {
    /// All else.
    pub resource: Resource,
    /// The environment that it is sealed for, together with its name.
    pub environment: EnvironmentName,
    /// The manifest.
    pub sealed: Vec<u8>,
}

/// What a managed resource is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResource {
    /// Its name.
    pub name: ResourceName,
    /// What happens to objects that left the manifest.
    pub mode: ResourceMode,
    /// SHA-256 of the manifest.
    pub digest: String,
    /// Objects that the manifest names.
    pub wanted: Vec<ObjectRef>,
    /// The manifest, encrypted by the caller.
    pub sealed: Vec<u8>,
}

/// What the sender of a change has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was not said: enough to make one, or to say the same again.
    Untold,
    /// Whatever it is.
    Anything,
    /// This revision.
    Revision(u64),
    /// That there is none.
    Nothing,
}

/// Which resource is meant: of a cluster, or of an environment's set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The environment.
    pub environment: EnvironmentName,
    /// The cluster; none for the environment's set.
    pub cluster: Option<ClusterName>,
}

/// The operation that brings a change into a cluster, if one is needed: made by the store, ids by the caller.
#[derive(Debug, Clone)]
pub struct ConfigureIds {
    /// The operation.
    pub operation: OperationId,
    /// One id for each of its tasks.
    pub tasks: Vec<PlannedTask>,
}

/// A managed resource that is wanted.
#[derive(Debug, Clone)]
pub struct PutResource {
    /// Whose.
    pub holder: Holder,
    /// What.
    pub resource: NewResource,
    /// What the sender has seen.
    pub seen: Seen,
    /// For the operation.
    pub ids: ConfigureIds,
    /// Who asks.
    pub requested_by: String,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// A managed resource that is not wanted any more.
#[derive(Debug, Clone)]
pub struct DeleteResource {
    /// Whose.
    pub holder: Holder,
    /// Which.
    pub name: ResourceName,
    /// What the sender has seen.
    pub seen: Seen,
    /// For the operation.
    pub ids: ConfigureIds,
    /// Who asks.
    pub requested_by: String,
    /// The audit entry of this change.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of a change of a managed resource.
#[derive(Debug, Clone, PartialEq)]
pub enum ResourceChange {
    /// Kept.
    Kept {
        /// As it is now; one that is to go is withdrawn.
        resource: Box<Resource>,
        /// Whether there was none before.
        created: bool,
        /// The operation that brings it into the cluster: a new one, or one that is under way.
        operation: Option<OperationId>,
    },
    /// It was so before.
    Same(Box<Resource>),
    /// It is gone: nothing of it was ever in the cluster.
    Gone,
    /// There is no such cluster or resource.
    NotFound,
    /// It is at this revision; zero when there is none.
    Changed(u64),
    /// It is there, at this revision, and the sender did not say whether it was seen.
    Unseen(u64),
    /// An operation is at work on the cluster that cannot take it along.
    Busy(OperationId),
    /// The cluster's phase does not allow it, in words.
    NotAllowed(String),
    /// The cluster or the environment's set has as many as it may.
    TooMany,
}
