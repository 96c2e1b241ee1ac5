//! Which kinds there are: those of Kubernetes that are used here, and those that definitions add.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::status::Reply;

/// One kind in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, as messages name it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// Group and version, kinds in namespaces, kinds outside; a kind is written `plural=Kind`.
const BUILT_IN: &[(&str, &str, &str)] = &[
    (
        "v1",
        "configmaps=ConfigMap endpoints=Endpoints events=Event limitranges=LimitRange \
         persistentvolumeclaims=PersistentVolumeClaim pods=Pod podtemplates=PodTemplate \
         replicationcontrollers=ReplicationController resourcequotas=ResourceQuota secrets=Secret \
         serviceaccounts=ServiceAccount services=Service",
        "componentstatuses=ComponentStatus namespaces=Namespace nodes=Node persistentvolumes=PersistentVolume",
    ),
    ("apps/v1", "daemonsets=DaemonSet deployments=Deployment replicasets=ReplicaSet statefulsets=StatefulSet", ""),
    ("batch/v1", "cronjobs=CronJob jobs=Job", ""),
    ("autoscaling/v2", "horizontalpodautoscalers=HorizontalPodAutoscaler", ""),
    ("coordination.k8s.io/v1", "leases=Lease", ""),
    ("policy/v1", "poddisruptionbudgets=PodDisruptionBudget", ""),
    ("networking.k8s.io/v1", "ingresses=Ingress networkpolicies=NetworkPolicy", "ingressclasses=IngressClass"),
    (
        "rbac.authorization.k8s.io/v1",
        "rolebindings=RoleBinding roles=Role",
        "clusterrolebindings=ClusterRoleBinding clusterroles=ClusterRole",
    ),
    ("scheduling.k8s.io/v1", "", "priorityclasses=PriorityClass"),
    ("storage.k8s.io/v1", "", "csidrivers=CSIDriver storageclasses=StorageClass volumeattachments=VolumeAttachment"),
    ("apiextensions.k8s.io/v1", "", "customresourcedefinitions=CustomResourceDefinition"),
    (
        "admissionregistration.k8s.io/v1",
        "",
        "mutatingwebhookconfigurations=MutatingWebhookConfiguration \
         validatingadmissionpolicies=ValidatingAdmissionPolicy \
         validatingadmissionpolicybindings=ValidatingAdmissionPolicyBinding \
         validatingwebhookconfigurations=ValidatingWebhookConfiguration",
    ),
    (
        "authorization.k8s.io/v1",
        "localsubjectaccessreviews=LocalSubjectAccessReview",
        "selfsubjectaccessreviews=SelfSubjectAccessReview selfsubjectrulesreviews=SelfSubjectRulesReview \
         subjectaccessreviews=SubjectAccessReview",
    ),
    ("authentication.k8s.io/v1", "", "selfsubjectreviews=SelfSubjectReview tokenreviews=TokenReview"),
];

/// What can be done with an ordinary kind.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update"];

fn built_in() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (api_version, namespaced, cluster) in BUILT_IN {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        for (list, namespaced) in [(namespaced, true), (cluster, false)] {
            kinds.extend(list.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(plural, kind)| Kind {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural.to_owned(),
                kind: kind.to_owned(),
                namespaced,
            }));
        }
    }
    kinds
}

/// The kinds that a definition adds, once it is established.
fn defined(definition: &Value) -> Vec<Kind> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let served = spec["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    served
        .map(|version| Kind {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            plural: text(&spec["names"]["plural"]),
            kind: text(&spec["names"]["kind"]),
            namespaced: spec["scope"] == "Namespaced",
        })
        .collect()
}

impl Cluster {
    /// All kinds that there are now.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds = built_in();
        for definition in self.list("apiextensions.k8s.io", "customresourcedefinitions", None) {
            if is_established(definition) {
                kinds.extend(defined(definition));
            }
        }
        kinds
    }

    pub(crate) fn kind_of_plural(&self, group: &str, version: &str, plural: &str) -> Option<Kind> {
        self.kinds().into_iter().find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    pub(crate) fn kind_of_object(&self, object: &Value) -> Option<Kind> {
        let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        self.kinds().into_iter().find(|k| k.api_version() == api_version && k.kind == kind)
    }

    /// `/api`, `/apis` and what is below them without an object.
    pub(crate) fn discovery(&mut self, path: &[&str]) -> Option<Reply> {
        match path {
            ["api"] => Some(Reply::ok(json!({"kind": "APIVersions", "versions": ["v1"]}))),
            ["apis"] => Some(Reply::ok(self.groups())),
            ["api", "v1"] => Some(self.resources("", "v1")),
            ["apis", group] => Some(self.group(group).map_or_else(no_page, Reply::ok)),
            ["apis", group, version] => {
                self.establish(group);
                Some(self.resources(group, version))
            }
            _ => None,
        }
    }

    fn groups(&self) -> Value {
        let mut names: Vec<String> =
            self.kinds().into_iter().map(|kind| kind.group).filter(|g| !g.is_empty()).collect();
        names.dedup();
        let groups: Vec<Value> = names.iter().filter_map(|name| self.group(name)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    fn group(&self, name: &str) -> Option<Value> {
        let mut versions: Vec<String> =
            self.kinds().into_iter().filter(|kind| kind.group == name).map(|kind| kind.version).collect();
        versions.dedup();
        let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
        let first = version(versions.first()?);
        let versions: Vec<Value> = versions.iter().map(version).collect();
        Some(
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": first}),
        )
    }

    fn resources(&self, group: &str, version: &str) -> Reply {
        let kinds: Vec<Kind> =
            self.kinds().into_iter().filter(|kind| kind.group == group && kind.version == version).collect();
        if kinds.is_empty() {
            return no_page();
        }
        let mut resources = Vec::new();
        for kind in &kinds {
            let mut entry = |name: String, kind_name: &str, verbs: &[&str]| {
                let singular = kind_name.to_lowercase();
                resources.push(json!({"name": name, "singularName": singular, "namespaced": kind.namespaced, "kind": kind_name, "verbs": verbs}));
            };
            let reviews = group.starts_with("auth") && group.ends_with(".k8s.io");
            entry(kind.plural.clone(), &kind.kind, if reviews { &["create"] } else { VERBS });
            if kind.plural == "serviceaccounts" {
                entry("serviceaccounts/token".to_owned(), "TokenRequest", &["create"]);
            }
            if !reviews {
                entry(format!("{}/status", kind.plural), &kind.kind, &["get", "patch", "update"]);
            }
        }
        let group_version = kinds[0].api_version();
        Reply::ok(
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
        )
    }

    /// A definition is served a little later than it is stored: so many looks later as tests say.
    fn establish(&mut self, group: &str) {
        let waiting = self.find("apiextensions.k8s.io", "customresourcedefinitions", |definition| {
            definition["spec"]["group"] == group && !is_established(definition)
        });
        for key in waiting {
            let looks = self.looks.entry(key.3.clone()).or_insert(0);
            *looks += 1;
            if *looks > self.definitions_take
                && let Some(definition) = self.objects.get_mut(&key)
            {
                definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
            }
        }
    }
}

fn is_established(definition: &Value) -> bool {
    definition["status"]["conditions"][0]["type"] == "Established"
}

fn no_page() -> Reply {
    Reply::text(404, "404 page not found\n")
}

/// Parameters of a query.
pub(crate) type Query = BTreeMap<String, String>;
