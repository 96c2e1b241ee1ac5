//! Where objects of a kind are in the API: asked of the cluster once, and again while a kind is new.

use std::collections::BTreeMap;

use cratekube_common::domain::cluster::manifest::KindScope;
use cratekube_common::domain::cluster::resource::ObjectRef;
use tokio::sync::Mutex;

use super::api::{Api, escape};
use super::fault::ApiFault;

/// How a kind is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    plural: String,
    /// Whether its objects are in namespaces.
    pub(super) scope: KindScope,
}

/// Kinds that were asked for, by API version.
pub(super) struct Kinds<'a> {
    api: &'a Api,
    known: Mutex<BTreeMap<String, BTreeMap<String, Place>>>,
}

impl<'a> Kinds<'a> {
    pub(super) fn of(api: &'a Api) -> Self {
        Self { api, known: Mutex::default() }
    }

    /// Where a kind is; none when the cluster does not have it now.
    pub(super) async fn find(&self, api_version: &str, kind: &str) -> Result<Option<Place>, ApiFault> {
        let mut known = self.known.lock().await;
        if let Some(place) = known.get(api_version).and_then(|kinds| kinds.get(kind)) {
            return Ok(Some(place.clone()));
        }
        let Some(list) = self.api.get(&root(api_version)).await? else { return Ok(None) };
        let mut kinds = BTreeMap::new();
        for resource in list["resources"].as_array().into_iter().flatten() {
            let (Some(name), Some(kind)) = (resource["name"].as_str(), resource["kind"].as_str()) else { continue };
            if !name.contains('/') {
                let scope = if resource["namespaced"] == true { KindScope::Namespaced } else { KindScope::Cluster };
                kinds.insert(kind.to_owned(), Place { plural: name.to_owned(), scope });
            }
        }
        let found = kinds.get(kind).cloned();
        known.insert(api_version.to_owned(), kinds);
        Ok(found)
    }
}

impl Place {
    /// The path of an object of this kind.
    pub(super) fn path(&self, object: &ObjectRef) -> String {
        format!("{}/{}", self.collection(object), escape(&object.name))
    }

    /// The path of the objects of this kind beside an object.
    pub(super) fn collection(&self, object: &ObjectRef) -> String {
        let namespace = object.namespace.as_deref().filter(|_| self.scope == KindScope::Namespaced);
        let namespace = namespace.map(|n| format!("/namespaces/{}", escape(n))).unwrap_or_default();
        format!("{}{namespace}/{}", root(&object.api_version), escape(&self.plural))
    }
}

fn root(api_version: &str) -> String {
    match api_version.split_once('/') {
        Some((group, version)) => format!("/apis/{}/{}", escape(group), escape(version)),
        None => format!("/api/{}", escape(api_version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_one_path_each_in_or_outside_namespaces() {
        let object = |api_version: &str, namespace: Option<&str>| ObjectRef {
            api_version: api_version.into(),
            kind: "K".into(),
            namespace: namespace.map(Into::into),
            name: "a:b".into(),
        };
        let inside = Place { plural: "things".into(), scope: KindScope::Namespaced };
        let outside = Place { plural: "things".into(), scope: KindScope::Cluster };
        assert_eq!(inside.path(&object("v1", Some("n"))), "/api/v1/namespaces/n/things/a%3Ab");
        assert_eq!(outside.path(&object("acme.example/v2", None)), "/apis/acme.example/v2/things/a%3Ab");
        assert_eq!(inside.collection(&object("v1", None)), "/api/v1/things");
    }
}
