//! Who may do what, by the roles and bindings that the cluster holds.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::identity::User;
use super::request::Request;
use super::status::Refused;

const RBAC: &str = "rbac.authorization.k8s.io";

/// What somebody wants to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With the subresource: `serviceaccounts/token`.
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl Cluster {
    pub(crate) fn authorize(&self, request: &Request) -> Refused<()> {
        let kind = &request.kind;
        let resource = match &request.subresource {
            Some(sub) => format!("{}/{sub}", kind.plural),
            None => kind.plural.clone(),
        };
        let deed = Deed {
            verb: request.verb.to_owned(),
            group: kind.group.clone(),
            resource: resource.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
        };
        if is_self_review(&kind.plural) || self.allows(&request.user, &deed) {
            return Ok(());
        }
        let place = match &request.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        let (user, verb, group) = (&request.user.name, request.verb, &kind.group);
        Err(request
            .forbidden(&format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")))
    }

    /// Whether a user may do it.
    pub(crate) fn allows(&self, user: &User, deed: &Deed) -> bool {
        user.is_master() || self.rules_of(user, deed.namespace.as_deref()).iter().any(|rule| permits(rule, deed))
    }

    /// The rules that hold for a user in a namespace, or everywhere.
    pub(crate) fn rules_of(&self, user: &User, namespace: Option<&str>) -> Vec<Value> {
        let everywhere = self.list(RBAC, "clusterrolebindings", None);
        let here = namespace.into_iter().flat_map(|n| self.list(RBAC, "rolebindings", Some(n)));
        let mut rules = Vec::new();
        for binding in everywhere.chain(here).filter(|binding| is_bound(binding, user)) {
            let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
            let role = match binding["roleRef"]["kind"].as_str() {
                Some("ClusterRole") => self.get(RBAC, "clusterroles", None, name),
                _ => self.get(RBAC, "roles", binding["metadata"]["namespace"].as_str(), name),
            };
            rules.extend(role.and_then(|role| role["rules"].as_array()).into_iter().flatten().cloned());
        }
        if user.is_master() {
            rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        }
        rules
    }
}

/// Everybody may ask what he may do.
fn is_self_review(plural: &str) -> bool {
    plural.starts_with("selfsubject")
}

fn is_bound(binding: &Value, user: &User) -> bool {
    let subjects = binding["subjects"].as_array().into_iter().flatten();
    subjects.into_iter().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => name == user.name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            _ => {
                let namespace = subject["namespace"].as_str().unwrap_or_default();
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    })
}

fn permits(rule: &Value, deed: &Deed) -> bool {
    let has = |key: &str, wanted: &str| {
        rule[key].as_array().into_iter().flatten().any(|value| value == "*" || value == wanted)
    };
    let named = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
    let name_fits = named
        .is_none_or(|names| names.iter().any(|name| Some(name.as_str().unwrap_or_default()) == deed.name.as_deref()));
    has("verbs", &deed.verb) && has("apiGroups", &deed.group) && has("resources", &deed.resource) && name_fits
}
