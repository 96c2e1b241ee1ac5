//! Managed resources: Kubernetes YAML that a user gives a cluster, under a name, and that the service
//! keeps applied.
//!
//! These are the words between controller and agent: what a *configure* task is given
//! ([`ConfigureInput`]), and what it finds ([`ConfigureFindings`]). A manifest may hold Secrets, so it
//! is itself a [`Secret`]: it is shown to nobody who did not send it, and never logged. What a
//! manifest may say is in [`super::manifest`].

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::manifest::Scope;
use crate::domain::name::label;
use crate::domain::secret::Secret;
use crate::domain::spelled;

/// Namespace that every cluster has for its users, when the environment names none.
pub const DEFAULT_NAMESPACE: &str = "workspace";
/// Most managed resources of one cluster.
pub const MAX_RESOURCES: usize = 200;

label! {
    /// Name of a managed resource within its cluster.
    ResourceName,
}

spelled! {
    /// What happens to objects that the manifest does not have any more.
    pub enum ResourceMode {
        /// They stay.
        Upsert = "upsert",
        /// They are removed: those that left the manifest, and all when the resource is removed.
        Sync = "sync",
    }
}

spelled! {
    /// Where a managed resource is.
    pub enum ResourceState {
        /// The cluster has every object as the manifest says.
        Applied = "applied",
        /// Not applied yet: the cluster was not asked, or misses something that may still come.
        Pending = "pending",
        /// The cluster refused it, wholly or in part.
        Failed = "failed",
    }
}

/// Names one object of a cluster. Its text, `apps/v1/Deployment web/front`, is for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// API group and version: `v1`, `apps/v1`.
    pub api_version: String,
    /// Kind: `Deployment`.
    pub kind: String,
    /// Namespace; none for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// API group without the version; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// True when both name the same object, perhaps by different versions of its API.
    #[must_use]
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.group() == other.group()
            && self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} ", self.api_version, self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// A managed resource as the agent is given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedResource {
    /// Its name.
    pub name: ResourceName,
    /// What happens to objects that left the manifest.
    pub mode: ResourceMode,
    /// The YAML, of one document or more.
    #[serde(serialize_with = "reveal", deserialize_with = "hide")]
    pub manifest: Secret,
    /// Objects that the cluster may have of it by earlier runs: [`ResourceStatus::objects`].
    #[serde(default)]
    pub previous: Vec<ObjectRef>,
}

/// A managed resource that was deleted: what is still to be taken from the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedResource {
    /// Its name.
    pub name: ResourceName,
    /// What it was: objects of an `upsert` resource stay.
    pub mode: ResourceMode,
    /// Objects that the cluster has of it.
    #[serde(default)]
    pub objects: Vec<ObjectRef>,
}

/// What the controller gives a *configure* task, beside the findings of earlier tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigureInput {
    /// Where managed resources may put objects. Its namespaces are made, with service accounts and
    /// roles for the cluster's users.
    #[serde(default)]
    pub scope: Scope,
    /// Resources to apply, in this order.
    #[serde(default)]
    pub resources: Vec<ManagedResource>,
    /// Resources to take away.
    #[serde(default)]
    pub remove: Vec<RemovedResource>,
    /// Whether a resource that is not applied, or not removed, fails the task. Otherwise it is a warning: a
    /// cluster is not unfit because a manifest is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_apply: bool,
}

/// What became of one managed resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Its name.
    pub name: ResourceName,
    /// Where it is.
    pub state: ResourceState,
    /// SHA-256 of the manifest that this is about, in hex: see [`digest`].
    pub digest: String,
    /// Objects that the cluster has of it, so far as is known; the next run's `previous`.
    pub objects: Vec<ObjectRef>,
    /// What stands in the way, each in the words of the cluster's API. Empty when applied.
    #[serde(default)]
    pub faults: Vec<ObjectFault>,
}

/// What stands in the way of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFault {
    /// The object; none when the manifest itself cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// A stable word: a rule of [`super::manifest`], or the API's reason (`Conflict`, `Invalid`, …).
    pub reason: String,
    /// The API's own words, or the rule's.
    pub message: String,
}

/// What became of a resource that was to be taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalStatus {
    /// Its name.
    pub name: ResourceName,
    /// Objects that are still there. Empty: it is gone.
    pub objects: Vec<ObjectRef>,
    /// Why they are.
    #[serde(default)]
    pub faults: Vec<ObjectFault>,
}

/// What a *configure* task reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigureFindings {
    /// Namespaces that are there for users, with their service accounts and roles.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Every resource of the input, in its order.
    #[serde(default)]
    pub resources: Vec<ResourceStatus>,
    /// Every removal of the input, in its order.
    #[serde(default)]
    pub removed: Vec<RemovalStatus>,
}

impl ResourceStatus {
    /// A resource that the cluster was not asked about.
    #[must_use]
    pub fn pending(resource: &ManagedResource) -> Self {
        Self {
            name: resource.name.clone(),
            state: ResourceState::Pending,
            digest: digest(resource.manifest.expose()),
            objects: resource.previous.clone(),
            faults: Vec::new(),
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self { namespaces: BTreeSet::from([DEFAULT_NAMESPACE.to_owned()]), cluster_scoped: false }
    }
}

/// SHA-256 of a manifest, in hex.
#[must_use]
pub fn digest(manifest: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, manifest.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref())
}

fn reveal<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

fn hide<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    String::deserialize(from).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_between_controller_and_agent_are_read_as_they_are_written() {
        let document = json!({
            "scope": {"namespaces": ["shop"], "cluster_scoped": false},
            "resources": [{"name": "web", "mode": "sync", "manifest": "kind: A", "previous": [
                {"api_version": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}]}],
            "remove": [{"name": "old", "mode": "sync", "objects": [{"api_version": "v1", "kind": "Namespace", "name": "x"}]}],
        });
        let input: ConfigureInput = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(&input).unwrap(), document);
        assert_eq!(input.resources[0].previous[0].to_string(), "apps/v1/Deployment shop/web");
        assert_eq!(input.remove[0].objects[0].to_string(), "v1/Namespace x");
        let empty: ConfigureInput = serde_json::from_value(json!({})).unwrap();
        assert_eq!(empty, ConfigureInput::default());
        assert!(empty.scope.namespaces.contains(DEFAULT_NAMESPACE));
        assert!(serde_json::from_value::<ConfigureInput>(json!({"earlier": {}})).is_ok());
        assert!(serde_json::from_value::<ConfigureInput>(json!({"remove": [{"name": "a"}]})).is_err());
    }

    #[test]
    fn hostile_row_78_a_manifest_is_not_shown() {
        let manifest = Secret::new("password: hunter2");
        let resource = ManagedResource {
            name: "web".parse().unwrap(),
            mode: ResourceMode::Upsert,
            manifest,
            previous: Vec::new(),
        };
        assert!(!format!("{resource:?} {:?}", ResourceStatus::pending(&resource)).contains("hunter2"));
    }

    #[test]
    fn an_object_is_the_same_under_every_version_of_its_api() {
        let object = |api_version: &str, kind: &str| ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: None,
            name: "a".into(),
        };
        assert!(object("apps/v1beta1", "Deployment").is_same_object(&object("apps/v1", "Deployment")));
        assert!(!object("extensions/v1", "Deployment").is_same_object(&object("apps/v1", "Deployment")));
        assert!(!object("v1", "Secret").is_same_object(&object("v1", "ConfigMap")));
    }
}
