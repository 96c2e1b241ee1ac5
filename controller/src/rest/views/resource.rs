//! Managed resources as clients read them.

use cratekube_common::domain::cluster::resource::{ObjectFault, ObjectRef};
use serde::Serialize;
use utoipa::ToSchema;

use super::shown;
use crate::store::Resource;

/// A managed resource, without its manifest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Resource)]
pub(in super::super) struct ResourceView {
    name: String,
    /// Counts changes; also the `ETag`.
    revision: u64,
    /// `upsert` or `sync`.
    mode: &'static str,
    /// `applied` (the cluster has every object as the manifest says), `pending` (it was not brought in yet) or
    /// `failed` (the cluster refused it, wholly or in part: see `faults`).
    state: &'static str,
    /// True while it is being taken from the cluster.
    withdrawn: bool,
    /// True when it came from the environment's set and was not changed since.
    inherited: bool,
    /// SHA-256 of the manifest; null when it has a Secret, which could be guessed by it.
    digest: Option<String>,
    /// Objects that the manifest names.
    wanted: Vec<ObjectView>,
    /// Objects of it that the cluster may have.
    objects: Vec<ObjectView>,
    /// What stands in the way, in the words of the cluster's API.
    faults: Vec<ObjectFaultView>,
    /// Who asked for it last.
    requested_by: String,
    created_at: String,
    updated_at: String,
    /// When the cluster was last asked.
    checked_at: Option<String>,
}

/// A managed resource with its manifest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResourceDetail)]
pub(in super::super) struct ResourceDetail {
    #[serde(flatten)]
    resource: ResourceView,
    /// The YAML. One with a Secret is written anew, with its values masked.
    manifest: String,
}

/// One object of a cluster.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KubernetesObject)]
pub(super) struct ObjectView {
    #[schema(example = "apps/v1")]
    api_version: String,
    #[schema(example = "Deployment")]
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// What stands in the way of one object.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ObjectFault)]
pub(super) struct ObjectFaultView {
    /// The object; null when it is the whole manifest.
    object: Option<ObjectView>,
    /// A stable word: a rule of ours, or the API's reason.
    reason: String,
    /// The API's own words.
    message: String,
}

impl From<&ObjectRef> for ObjectView {
    fn from(object: &ObjectRef) -> Self {
        Self {
            api_version: shown(&object.api_version),
            kind: shown(&object.kind),
            namespace: object.namespace.as_deref().map(shown),
            name: shown(&object.name),
        }
    }
}

impl From<&ObjectFault> for ObjectFaultView {
    fn from(fault: &ObjectFault) -> Self {
        Self {
            object: fault.object.as_ref().map(ObjectView::from),
            reason: shown(&fault.reason),
            message: shown(&fault.message),
        }
    }
}

impl From<&Resource> for ResourceView {
    fn from(resource: &Resource) -> Self {
        let secret = resource.wanted.iter().any(|object| object.kind == "Secret");
        let status = &resource.status;
        Self {
            name: resource.name.to_string(),
            revision: resource.revision,
            mode: resource.mode.as_str(),
            state: status.state.as_str(),
            withdrawn: status.withdrawn,
            inherited: status.inherited,
            digest: (!secret).then(|| resource.digest.clone()),
            wanted: resource.wanted.iter().map(ObjectView::from).collect(),
            objects: status.objects.iter().map(ObjectView::from).collect(),
            faults: status.faults.iter().map(ObjectFaultView::from).collect(),
            requested_by: resource.requested_by.clone(),
            created_at: resource.created_at.to_string(),
            updated_at: resource.updated_at.to_string(),
            checked_at: status.checked_at.map(|at| at.to_string()),
        }
    }
}

impl ResourceDetail {
    /// A resource with its manifest, masked by the caller.
    pub(in super::super) fn of(resource: &Resource, manifest: String) -> Self {
        Self { resource: resource.into(), manifest }
    }
}
