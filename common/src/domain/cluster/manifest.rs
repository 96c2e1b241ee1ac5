//! What a managed resource may say: any Kubernetes objects, within bounds and within its scope.
//!
//! Pure, and run twice: by the controller before anything is stored, and by the agent before anything
//! is applied, which also knows from the cluster which of the unknown kinds are cluster-scoped. Every
//! fault is found at once; its text begins with the name of the rule that refuses it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::resource::ObjectRef;
use crate::domain::name::check_label;
use crate::intake::Notes;
use crate::yaml::{self, Document};

/// Largest manifest, in bytes.
pub const MAX_MANIFEST: usize = 256 * 1024;
/// Most objects in one manifest.
pub const MAX_OBJECTS: usize = 500;
/// Names beginning with it are the service's own.
pub const RESERVED_PREFIX: &str = "cratekube-";
/// Label on every applied object: the managed resource that it belongs to.
pub const OWNER_LABEL: &str = "cratekube.io/resource";

/// Fields of `metadata` that only the cluster sets.
const SET_BY_CLUSTER: &[&str] = &["managedFields", "resourceVersion", "uid", "deletionTimestamp", "generation"];

/// Kinds of Kubernetes itself, by group, whose objects are in no namespace.
const CLUSTER_SCOPED: &[(&str, &[&str])] = &[
    ("", &["Namespace", "Node", "PersistentVolume", "ComponentStatus"]),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    ("authentication.k8s.io", &["TokenReview", "SelfSubjectReview"]),
    ("authorization.k8s.io", &["SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"]),
    ("certificates.k8s.io", &["CertificateSigningRequest", "ClusterTrustBundle"]),
    ("flowcontrol.apiserver.k8s.io", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("networking.k8s.io", &["IngressClass", "IPAddress", "ServiceCIDR"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("policy", &["PodSecurityPolicy"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding"]),
    ("resource.k8s.io", &["DeviceClass", "ResourceSlice"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("storage.k8s.io", &["StorageClass", "CSIDriver", "CSINode", "VolumeAttachment", "VolumeAttributesClass"]),
];

/// Groups that are Kubernetes' own: their kinds that are not listed above are namespaced.
const BUILT_IN_SUFFIX: &str = ".k8s.io";
const BUILT_IN: &[&str] = &["", "apps", "autoscaling", "batch", "extensions", "policy"];

/// Where objects of managed resources may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Namespaces. An object that names none goes into the first, when there is one only.
    pub namespaces: BTreeSet<String>,
    /// Whether cluster-scoped objects and all namespaces are allowed: the power of an administrator of
    /// the cluster.
    #[serde(default)]
    pub cluster_scoped: bool,
}

/// Whether a kind's objects are in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindScope {
    /// They are.
    Namespaced,
    /// They are not.
    Cluster,
    /// A kind that is not Kubernetes' own: the cluster knows.
    Unknown,
}

/// An object of a manifest, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Which it is. The namespace is filled in where the kind is known to need one.
    pub object: ObjectRef,
    /// The object, as it was written, with that namespace.
    pub value: Value,
}

/// Reads and checks a manifest. Faults are noted at `pointer`.
pub fn read(manifest: &str, scope: &Scope, pointer: &str, notes: &Notes) -> Vec<Object> {
    if manifest.len() > MAX_MANIFEST {
        let size = manifest.len();
        notes.error(pointer, format!("manifest-size: has {size} bytes; at most {MAX_MANIFEST} are allowed"));
        return Vec::new();
    }
    let documents = match yaml::read(manifest) {
        Ok(documents) => documents,
        Err(faults) => {
            for fault in faults {
                notes.error(pointer, format!("{}: line {} {}", fault.rule, fault.line, fault.detail));
            }
            return Vec::new();
        }
    };
    let mut reader = Reader { scope, pointer, notes, seen: BTreeMap::new(), tried: 0, objects: Vec::new() };
    for (i, Document { line, value }) in documents.into_iter().enumerate() {
        reader.document(value, &format!("document {} (line {line})", i + 1));
    }
    match reader.objects.len() {
        0 if reader.tried == 0 => {
            notes.error(pointer, "manifest-empty: has no object; to remove a resource, delete it");
        }
        count if count > MAX_OBJECTS => {
            notes.error(pointer, format!("manifest-size: has {count} objects; at most {MAX_OBJECTS} are allowed"));
        }
        _ => {}
    }
    reader.objects
}

/// Whether objects of a kind are in a namespace, so far as Kubernetes itself says.
#[must_use]
pub fn kind_scope(group: &str, kind: &str) -> KindScope {
    let listed = |(known, kinds): &(&str, &[&str])| *known == group && kinds.contains(&kind);
    if CLUSTER_SCOPED.iter().any(listed) {
        return KindScope::Cluster;
    }
    // `x-k8s.io` and others under the suffix are not part of Kubernetes itself; `gateway.networking.k8s.io` neither.
    let own = CLUSTER_SCOPED.iter().any(|(known, _)| *known == group)
        || BUILT_IN.contains(&group)
        || ["coordination", "discovery", "events"].iter().any(|g| group.strip_suffix(BUILT_IN_SUFFIX) == Some(g));
    if own { KindScope::Namespaced } else { KindScope::Unknown }
}

/// Checks that an object of a kind may be where it is.
///
/// # Errors
/// The rule's name and its sentence.
pub fn check_place(object: &ObjectRef, kind: KindScope, scope: &Scope) -> Result<(), (&'static str, String)> {
    if scope.cluster_scoped {
        return Ok(());
    }
    let allowed = || scope.namespaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (&object.namespace, kind) {
        (_, KindScope::Cluster) => Err((
            "cluster-scoped",
            format!(
                "{} is cluster-scoped, which needs a permission that you do not have; allowed are objects in: {}",
                object.kind,
                allowed()
            ),
        )),
        (Some(namespace), _) if !scope.namespaces.contains(namespace) => Err((
            "namespace-not-allowed",
            format!("the namespace {namespace:?} is not allowed here; allowed are: {}", allowed()),
        )),
        _ => Ok(()),
    }
}

struct Reader<'a> {
    scope: &'a Scope,
    pointer: &'a str,
    notes: &'a Notes,
    seen: BTreeMap<(String, String, Option<String>, String), String>,
    tried: usize,
    objects: Vec<Object>,
}

impl Reader<'_> {
    fn error(&self, rule: &str, place: &str, detail: &str) {
        self.notes.error(self.pointer, format!("{rule}: {place} {detail}"));
    }

    fn document(&mut self, value: Value, place: &str) {
        let is_list = value["kind"] == "List" && value["apiVersion"] == "v1";
        match value {
            Value::Object(mut list) if is_list => match list.remove("items") {
                Some(Value::Array(items)) => {
                    for (i, item) in items.into_iter().enumerate() {
                        self.object(item, &format!("{place} item {}", i + 1));
                    }
                }
                _ => self.error("object-fields", place, "is a List without items"),
            },
            value => self.object(value, place),
        }
    }

    fn object(&mut self, mut value: Value, place: &str) {
        self.tried += 1;
        if !value.is_object() {
            return self.error("object-fields", place, "is not a mapping; an object has apiVersion, kind and metadata");
        }
        let Some(mut object) = self.identity(&value, place) else { return };
        let place = format!("{place} {} {:?}", object.kind, object.name);
        self.check_metadata(&value["metadata"], &place);
        let kind = kind_scope(object.group(), &object.kind);
        if kind == KindScope::Cluster && object.namespace.take().is_some() {
            self.error("object-fields", &place, "is cluster-scoped: leave out metadata.namespace");
        }
        if kind == KindScope::Namespaced && object.namespace.is_none() {
            object.namespace = self.default_namespace(&place);
        }
        if let Some(namespace) = &object.namespace {
            value["metadata"]["namespace"] = Value::from(namespace.clone());
        }
        if let Err((rule, detail)) = check_place(&object, kind, self.scope) {
            self.error(rule, &place, &detail);
        }
        let key = (object.group().to_owned(), object.kind.clone(), object.namespace.clone(), object.name.clone());
        if let Some(first) = self.seen.insert(key, place.clone()) {
            self.error("object-twice", &place, &format!("is already described by {first}"));
        }
        self.objects.push(Object { object, value });
    }

    /// What names the object; all that is missing is noted.
    fn identity(&mut self, value: &Value, place: &str) -> Option<ObjectRef> {
        let text = |value: &Value| value.as_str().map(str::trim).filter(|t| !t.is_empty()).map(ToOwned::to_owned);
        let api_version = text(&value["apiVersion"]).filter(|v| is_api_version(v));
        let kind = text(&value["kind"]).filter(|k| k.bytes().all(|b| b.is_ascii_alphanumeric()) && k.len() <= 63);
        let name = text(&value["metadata"]["name"]);
        if api_version.is_none() {
            self.error("object-fields", place, "needs apiVersion, such as `v1` or `apps/v1`");
        }
        if kind.is_none() {
            self.error("object-fields", place, "needs kind, such as `ConfigMap`");
        }
        match &name {
            None => self.error(
                "object-fields",
                place,
                "needs metadata.name; generateName would make a new object every time",
            ),
            Some(name) => self.check_name(name, place),
        }
        let namespace = match &value["metadata"]["namespace"] {
            Value::Null => None,
            Value::String(namespace) if check_label(namespace).is_ok() => Some(namespace.clone()),
            _ => {
                self.error("object-fields", place, "has a metadata.namespace that is not a name");
                return None;
            }
        };
        Some(ObjectRef { api_version: api_version?, kind: kind?, namespace, name: name? })
    }

    fn check_name(&self, name: &str, place: &str) {
        // Names of roles have colons; every other name is a DNS name. No name is a path.
        let word = |b: u8| b.is_ascii_alphanumeric() || b"-._:@".contains(&b);
        if name.len() > 253 || !name.bytes().all(word) || name == "." || name == ".." {
            self.error("object-fields", place, "has a metadata.name that is not a name");
        }
        if name.starts_with(RESERVED_PREFIX) {
            self.error(
                "reserved-name",
                place,
                &format!("has a name that begins with `{RESERVED_PREFIX}`, which only the service gives"),
            );
        }
    }

    fn check_metadata(&self, metadata: &Value, place: &str) {
        for field in SET_BY_CLUSTER.iter().filter(|field| !metadata[**field].is_null()) {
            self.error(
                "set-by-cluster",
                place,
                &format!("has metadata.{field}, which only the cluster sets: leave it out"),
            );
        }
        for field in ["labels", "annotations"] {
            let Some(entries) = metadata[field].as_object() else {
                if !metadata[field].is_null() {
                    self.error("object-fields", place, &format!("has metadata.{field} that is not a mapping"));
                }
                continue;
            };
            if entries.values().any(|value| !value.is_string()) {
                self.error(
                    "object-fields",
                    place,
                    &format!("has metadata.{field} with a value that is not text: write it in quotes"),
                );
            }
        }
        if !metadata["labels"][OWNER_LABEL].is_null() {
            self.error("reserved-name", place, &format!("has the label {OWNER_LABEL}, which only the service gives"));
        }
    }

    fn default_namespace(&self, place: &str) -> Option<String> {
        let mut allowed = self.scope.namespaces.iter();
        if let (Some(only), None) = (allowed.next(), allowed.next()) {
            return Some(only.clone());
        }
        self.error(
            "namespace-missing",
            place,
            "needs metadata.namespace: there is more than one, or none, to choose from",
        );
        None
    }
}

fn is_api_version(text: &str) -> bool {
    let (group, version) = text.rsplit_once('/').unwrap_or(("", text));
    let group_ok = group.is_empty() && !text.contains('/') || group.split('.').all(|label| check_label(label).is_ok());
    group_ok && version.starts_with('v') && check_label(version).is_ok()
}
